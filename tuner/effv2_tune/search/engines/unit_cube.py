"""Maps the configs of a search space to points of the unit cube, and back."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from effv2_tune.search.engines.cube_axes import axis_of
from effv2_tune.study.space import POSITION, FixedParameter

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from effv2_tune.search.engines.cube_axes import Column
    from effv2_tune.study.space import Config, Parameter, Space

    Floats = NDArray[np.float64]
    Booleans = NDArray[np.bool_]

#: Of an inactive dimension.
_MIDDLE = 0.5


class UnitCube:
    """The unit cube of a search space: a coordinate for each number, on the scale of its parameter.

    The values of a choice are evenly spaced on one coordinate if they are numbers, or two; else
    each has a coordinate of its own. Coordinates of inactive parameters are in the middle.

    Args:
        space: The search space.
    """

    def __init__(self, space: Space) -> None:
        self._space = space
        self._axes = [axis_of(dimension) for dimension in space.dimensions()]
        self._ends = list(itertools.accumulate(axis.width for axis in self._axes))
        #: Of the axes, by the names of their dimensions.
        self._places = {one.name: place for place, one in enumerate(space.dimensions())}
        self.dimensions = self._ends[-1] if self._ends else 0

    def config(self, point: Floats) -> Config:
        """The config nearest to a point [d]."""
        return self.configs(point[None])[0]

    def configs(self, points: Floats) -> list[Config]:
        """The configs nearest to points [m, d]."""
        columns = self._columns(points)
        values = [axis.values(column) for axis, column in zip(self._axes, columns, strict=True)]
        rows = [dict(zip(self._places, row, strict=True)) for row in zip(*values, strict=True)]
        for name, active in self._activities(columns).items():
            for place in np.flatnonzero(~active):
                rows[place].pop(name, None)
        return [self._space.decode(row) for row in rows]

    def point(self, config: Mapping[str, Any]) -> Floats:
        """The point [d] of a config.

        Raises:
            ValueError: The config is not in the space.
        """
        values = self._space.encode(config)
        coordinates = [
            axis.points(axis.column_of(values[name]))[0]
            if name in values
            else np.full(axis.width, _MIDDLE)
            for name, axis in zip(self._places, self._axes, strict=True)
        ]
        return np.concatenate(coordinates)

    def coordinates(self, name: str, value: Any) -> tuple[int, Floats]:
        """The first coordinate of a dimension, and all of its coordinates at a value."""
        place = self._places[name]
        axis = self._axes[place]
        return self._ends[place] - axis.width, axis.points(axis.column_of(value))[0]

    def snap(self, points: Floats) -> Floats:
        """Points [m, d] moved to those of the nearest configs."""
        columns = self._columns(points)
        nearest = [axis.points(column) for axis, column in zip(self._axes, columns, strict=True)]
        for name, active in self._activities(columns).items():
            if name in self._places:
                nearest[self._places[name]][~active] = _MIDDLE
        return np.hstack(nearest)

    def kinds(self, points: Floats) -> NDArray[Any]:
        """Rows [m, axes] that are equal where configs differ in real numbers alone.

        Two that differ in whether a real number is 0, or 1, are different.
        """
        columns = self._columns(points)
        kinds = [axis.kinds(column) for axis, column in zip(self._axes, columns, strict=True)]
        for name, active in self._activities(columns).items():
            if name in self._places:
                place = self._places[name]
                kinds[place] = np.where(active, kinds[place], -1 - np.abs(kinds[place]).max())
        return np.column_stack(kinds)

    def _columns(self, points: Floats) -> list[Column]:
        """What points [m, d] choose on each axis."""
        return [
            axis.column(points[:, end - axis.width : end])
            for axis, end in zip(self._axes, self._ends, strict=True)
        ]

    def _activities(self, columns: Sequence[Column]) -> dict[str, Booleans]:
        """Whether the parameters that have conditions are active [m]; by the dimension's name."""
        everywhere = np.ones(len(columns[0]), np.bool_)
        active: dict[str, Booleans] = {}
        for name in self._space.parents_first:
            parameter = self._space.parameters[name]
            for parent in parameter.conditions:
                allowed = self._allowed(parameter, parent, columns)
                before = active.get(name, everywhere) & active.get(parent, everywhere)
                active[name] = before & allowed
        return {
            name if name in self._places else name + POSITION: one for name, one in active.items()
        }

    def _allowed(self, parameter: Parameter, parent: str, columns: Sequence[Column]) -> Booleans:
        """Whether the value of ``parent`` can activate a parameter [m]."""
        other = self._space.parameters[parent]
        if isinstance(other, FixedParameter):
            return np.full(len(columns[0]), parameter.allows(parent, other.value))
        place = self._places[parent]
        found, members = np.unique(columns[place], return_inverse=True)
        values = self._axes[place].values(found)
        return np.array([parameter.allows(parent, value) for value in values])[members]
