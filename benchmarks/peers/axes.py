"""Numbers the values of the axes of a search space, for optimizers with spaces of their own.

A choice is the index of its value, an integer with a step the number of its steps, and any other
parameter itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from effv2_tune.study.space import ChoiceParameter, IntParameter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from effv2_tune.study.space import Config, Parameter, Space


def is_counted(parameter: Parameter) -> bool:
    """Whether a parameter is an integer that is numbered by its steps."""
    return isinstance(parameter, IntParameter) and parameter.step != 1


def decode(space: Space, numbers: Mapping[str, Any]) -> Config:
    """The config of numbers on the axes; those of inactive axes are left out."""
    values: dict[str, Any] = {}
    for dimension in space.dimensions():
        if dimension.name in numbers:
            values[dimension.name] = _value(dimension.parameter, numbers[dimension.name])
    return space.decode(values)


def _value(parameter: Any, number: Any) -> Any:
    if isinstance(parameter, ChoiceParameter):
        return parameter.values[int(number)]
    if isinstance(parameter, IntParameter):
        # An integer without a step counts as itself.
        return (
            parameter.low + parameter.step * int(number) if is_counted(parameter) else int(number)
        )
    return parameter.clip(float(number))
