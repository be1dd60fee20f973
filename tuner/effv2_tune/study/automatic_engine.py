"""Chooses the search engine of a study by its search space."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from effv2_tune.study.space import ChoiceParameter

if TYPE_CHECKING:
    from effv2_tune.study.space import Dimension, Space

#: Coordinates up to which a Gaussian process learns from some dozens of trainings.
MOST_COORDINATES = 15
#: Of the dimensions, that may be conditional, or choices of three or more names.
MOST_SHARE = 1 / 3


def automatic_engine(space: Space) -> Literal["freeze_thaw", "tpe"]:
    """The engine that ``auto`` stands for.

    ``freeze_thaw`` where the space has at most 15 coordinates, and at most a third of its
    dimensions are conditional or choices without order; ``tpe`` for any other. A number, a choice
    between numbers and one between two values have one coordinate each; any other choice has one
    for each value.
    """
    dimensions = space.dimensions()
    coordinates = sum(map(_coordinates, dimensions))
    unordered = sum(one.parameter.when is not None or _coordinates(one) > 1 for one in dimensions)
    is_numeric = unordered <= MOST_SHARE * len(dimensions)
    return "freeze_thaw" if is_numeric and 0 < coordinates <= MOST_COORDINATES else "tpe"


def _coordinates(dimension: Dimension) -> int:
    parameter = dimension.parameter
    if isinstance(parameter, ChoiceParameter) and not parameter.is_on_a_line:
        return len(parameter.values)
    return 1
