"""A search space as Keras Tuner's hyperparameters, and their values as a config."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import keras_tuner
from keras_tuner.engine import hyperparameters as kinds

# Public by no other path in 1.4.8.
from keras_tuner.src.engine.conditions import Parent

from effv2_tune.study.space import (
    ChoiceParameter,
    FixedParameter,
    FloatParameter,
    IntParameter,
    contains,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from effv2_tune.study.space import Config, Dimension, Parameter, Space


def to_hyperparameters(space: Space) -> keras_tuner.HyperParameters:
    """A search space for Keras Tuner: the same axes, scales, steps and conditions.

    An axis is called as :meth:`effv2_tune.study.space.Space.dimensions` calls it, so the lower of
    two ordered learning rates is a position from 0 to 1 below the upper one. A choice whose values
    Keras Tuner cannot hold together (None, sizes per device, numbers beside words) holds their
    JSON. :func:`config_of` undoes all of it.
    """
    hyperparameters = keras_tuner.HyperParameters()
    # Fixed parameters are no axes, but others may depend on them; they stand among their parents.
    waiting: list[Dimension | _Fixed] = [*_fixed(space), *space.dimensions()]
    while waiting:
        ready = next(one for one in waiting if _parents_stand(one, hyperparameters, waiting))
        waiting.remove(ready)
        _register(hyperparameters, space, ready)
    return hyperparameters


def config_of(hyperparameters: keras_tuner.HyperParameters, space: Space) -> Config:
    """The config that hyperparameters of :func:`to_hyperparameters` stand for.

    Args:
        hyperparameters: With a value for each active parameter.
        space: The space that they were made of.
    """
    return config_of_values(hyperparameters.values, space)


def config_of_values(values: Mapping[str, Any], space: Space) -> Config:
    """The config of values by name, as :attr:`keras_tuner.HyperParameters.values` holds them."""
    drawn = {
        dimension.name: _unlabelled(dimension.parameter, values[dimension.name])
        for dimension in space.dimensions()
        if dimension.name in values
    }
    return space.decode(drawn)


def values_of_config(config: Mapping[str, Any], space: Space) -> dict[str, Any]:
    """The inverse of :func:`config_of_values`, fixed parameters included.

    Raises:
        ValueError: The config does not lie in the space.
    """
    parameters = {one.name: one.parameter for one in space.dimensions()}
    drawn = {name: _label(parameters[name], value) for name, value in space.encode(config).items()}
    fixed = {
        name: _label(parameter, parameter.value)
        for name, parameter in space.parameters.items()
        if isinstance(parameter, FixedParameter) and name in config
    }
    return drawn | fixed


class _Fixed:
    """A fixed parameter, in the shape of a dimension."""

    def __init__(self, name: str, parameter: FixedParameter) -> None:
        self.name = name
        self.parameter = parameter
        self.when = tuple(
            (parent, tuple(values) if isinstance(values, list) else (values,))
            for parent, values in (parameter.when or {}).items()
        )


def _fixed(space: Space) -> list[_Fixed]:
    return [
        _Fixed(name, parameter)
        for name, parameter in space.parameters.items()
        if isinstance(parameter, FixedParameter)
    ]


def _parents_stand(
    one: Dimension | _Fixed,
    hyperparameters: keras_tuner.HyperParameters,
    waiting: list[Dimension | _Fixed],
) -> bool:
    """Whether all that ``one`` depends on is registered, or will never be."""
    known = {hp.name for hp in hyperparameters.space}
    to_come = {other.name for other in waiting}
    return all(parent in known or parent not in to_come for parent, _ in one.when)


def _register(
    hyperparameters: keras_tuner.HyperParameters, space: Space, one: Dimension | _Fixed
) -> None:
    known = {hp.name for hp in hyperparameters.space}
    conditions = []
    for parent, values in one.when:
        parameter = space.parameters[parent]
        labels = [_label(parameter, value) for value in values if contains(parameter, value)]
        if parent not in known or not labels:
            return  # no config ever brings it to life
        conditions.append(Parent(parent, labels))
    # Not by the methods of `hyperparameters`: under a condition they know no parent that has
    # another one, and they let a tuner build a hypermodel anew for every condition.
    hyperparameters.merge([_hyperparameter(one.name, one.parameter, conditions)])


def _hyperparameter(name: str, parameter: Parameter, conditions: list[Any]) -> Any:
    if isinstance(parameter, FloatParameter):
        return kinds.Float(
            name,
            parameter.low,
            parameter.high,
            sampling=parameter.scale,
            conditions=conditions,
        )
    if isinstance(parameter, IntParameter):
        return kinds.Int(
            name,
            parameter.low,
            parameter.high,
            step=None if parameter.scale == "log" else parameter.step,
            sampling=parameter.scale,
            conditions=conditions,
        )
    if isinstance(parameter, FixedParameter):
        return kinds.Fixed(name, _label(parameter, parameter.value), conditions=conditions)
    if _is_switch(parameter):
        return kinds.Boolean(name, default=bool(parameter.values[0]), conditions=conditions)
    return kinds.Choice(name, _labels(parameter), ordered=False, conditions=conditions)


def _labels(parameter: ChoiceParameter) -> list[Any]:
    """What Keras Tuner calls the values of a choice: all of one type."""
    values = parameter.values
    kinds = {type(value) for value in values}
    if kinds in ({str}, {int}, {float}) or _is_switch(parameter):
        return list(values)
    if kinds == {int, float} and len({float(value) for value in values}) == len(values):  # type: ignore[arg-type]
        return [float(value) for value in values]  # type: ignore[arg-type]
    return [json.dumps(value, sort_keys=True) for value in values]


def _is_switch(parameter: ChoiceParameter) -> bool:
    # Its Choice takes True for 1.
    return len(parameter.values) == len({True, False}) and all(
        isinstance(value, bool) for value in parameter.values
    )


def _label(parameter: Parameter, value: Any) -> Any:
    """What Keras Tuner calls a value."""
    if isinstance(parameter, ChoiceParameter):
        return _labels(parameter)[_place(parameter.values, value)]
    if isinstance(parameter, IntParameter):
        return int(value)
    if isinstance(parameter, FloatParameter):
        return float(value)
    return value if isinstance(value, bool | int | float | str) else json.dumps(value)


def _unlabelled(parameter: Parameter, label: Any) -> Any:
    """The inverse of :func:`_label`; a number is moved inside its range."""
    if isinstance(parameter, ChoiceParameter):
        return parameter.values[_place(_labels(parameter), label)]
    if isinstance(parameter, IntParameter):
        # An end of Keras Tuner's Bayesian box stands for one more than the highest number.
        return min(max(int(label), parameter.low), parameter.high)
    if isinstance(parameter, FloatParameter):
        return parameter.clip(float(label))
    return label


def _place(values: list[Any], value: Any) -> int:
    """Where ``value`` stands, with ``True`` told from ``1``; a number of another type counts."""
    same = [p for p, one in enumerate(values) if one == value and type(one) is type(value)]
    return same[0] if same else values.index(value)
