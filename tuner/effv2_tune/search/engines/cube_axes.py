"""Maps the values of one dimension of a search space to coordinates from 0 to 1, and back."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from effv2_tune.search.engines.samplers import numbers_at
from effv2_tune.study.space import ChoiceParameter, FloatParameter

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from effv2_tune.study.space import Dimension, IntParameter

    Floats = NDArray[np.float64]
    #: What points choose on an axis [m]: the indexes of a choice's values, whole numbers, or the
    #: shares of the scale of a real number.
    Column = NDArray[Any]


class Axis(Protocol):
    """A dimension of the space, with the coordinates of its values.

    Attributes:
        width: How many coordinates a value has.
    """

    @property
    def width(self) -> int: ...  # noqa: D102 - an attribute

    def column(self, coordinates: Floats) -> Column:
        """What coordinates [m, width] choose."""

    def column_of(self, value: Any) -> Column:
        """What chooses a value [1]."""

    def values(self, column: Column) -> list[Any]:
        """The values that are chosen."""

    def points(self, column: Column) -> Floats:
        """The coordinates [m, width] of what is chosen."""

    def kinds(self, column: Column) -> Column:
        """Numbers [m] that are equal for equal values, and for real ones except 0 and 1."""


def axis_of(dimension: Dimension) -> Axis:
    """The axis of a dimension."""
    parameter = dimension.parameter
    if isinstance(parameter, FloatParameter):
        return _RealAxis(parameter)
    if not isinstance(parameter, ChoiceParameter):
        return _WholeAxis(parameter)
    values = parameter.values
    if not parameter.is_on_a_line:
        return _OneHotAxis(values)
    numbers = [float(one) for one in values if isinstance(one, int | float)]
    places = range(len(values))
    # Two values that are not numbers are on one line in any order.
    is_sorted = len(numbers) == len(values)
    return _OrderedAxis(
        values, tuple(sorted(places, key=numbers.__getitem__) if is_sorted else places)
    )


@dataclass(frozen=True)
class _RealAxis:
    """A real number; its coordinate is its share of the scale."""

    parameter: FloatParameter
    width: int = 1

    def column(self, coordinates: Floats) -> Column:
        return np.clip(coordinates[:, 0], 0.0, 1.0)

    def column_of(self, value: Any) -> Column:
        low, high = self.parameter.low, self.parameter.high
        return np.array([_share(float(value), low, high, self.parameter.scale)])

    def values(self, column: Column) -> list[Any]:
        return numbers_at(self.parameter, column)

    def points(self, column: Column) -> Floats:
        return np.array(column[:, None])

    def kinds(self, column: Column) -> Column:
        is_first = (column == 0) & (self.parameter.low in (0, 1))
        is_last = (column == 1) & (self.parameter.high in (0, 1))
        return np.where(is_first, 0, np.where(is_last, 2, 1))


@dataclass(frozen=True)
class _WholeAxis:
    """A whole number, whose coordinate is in the middle of its part of the scale."""

    parameter: IntParameter
    width: int = 1

    def column(self, coordinates: Floats) -> Column:
        return np.array(numbers_at(self.parameter, np.clip(coordinates[:, 0], 0.0, 1.0)))

    def column_of(self, value: Any) -> Column:
        return np.array([int(value)])

    def values(self, column: Column) -> list[Any]:
        return list(column.tolist())

    def points(self, column: Column) -> Floats:
        half = self.parameter.step / 2
        low, high = self.parameter.low - half, self.parameter.high + half
        found, members = np.unique(column, return_inverse=True)
        shares = [_share(value, low, high, self.parameter.scale) for value in found.tolist()]
        return np.array(shares)[members][:, None]

    def kinds(self, column: Column) -> Column:
        return column


@dataclass(frozen=True)
class _OrderedAxis:
    """Values evenly spaced on one coordinate.

    Attributes:
        choices: The values.
        order: Their places on the coordinate.
    """

    choices: list[Any]
    order: tuple[int, ...]
    width: int = 1

    def column(self, coordinates: Floats) -> Column:
        count = len(self.order)
        places = np.clip(coordinates[:, 0], 0.0, 1.0) * count
        chosen = np.minimum(places.astype(int), count - 1)
        return np.asarray(np.array(self.order)[chosen])

    def column_of(self, value: Any) -> Column:
        return np.array([_index(self.choices, value)])

    def values(self, column: Column) -> list[Any]:
        return [self.choices[index] for index in column]

    def points(self, column: Column) -> Floats:
        return np.array((np.argsort(self.order)[column] + 0.5) / len(self.order))[:, None]

    def kinds(self, column: Column) -> Column:
        return column


@dataclass(frozen=True)
class _OneHotAxis:
    """Values with one coordinate each, the largest of which chooses."""

    choices: list[Any]

    @property
    def width(self) -> int:
        return len(self.choices)

    def column(self, coordinates: Floats) -> Column:
        return np.asarray(np.argmax(coordinates, axis=1))

    def column_of(self, value: Any) -> Column:
        return np.array([_index(self.choices, value)])

    def values(self, column: Column) -> list[Any]:
        return [self.choices[index] for index in column]

    def points(self, column: Column) -> Floats:
        return np.eye(len(self.choices))[column]

    def kinds(self, column: Column) -> Column:
        return column


def _share(value: float, low: float, high: float, scale: str) -> float:
    """The share of a scale, from 0 to 1, at which a value is."""
    if scale == "log":
        value, low, high = math.log(value), math.log(low), math.log(high)
    return min(max((value - low) / (high - low), 0.0), 1.0)


def _index(values: list[Any], value: Any) -> int:
    """The index of a value; True differs from 1."""
    same = [k for k, one in enumerate(values) if one == value and type(one) is type(value)]
    return same[0] if same else values.index(value)
