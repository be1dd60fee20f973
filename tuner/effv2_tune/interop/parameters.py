"""Converts search spaces and configs to hyperparameters of Keras Tuner and back."""

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

    from effv2_tune.study.space import Config, Parameter, Space


def to_hyperparameters(space: Space) -> keras_tuner.HyperParameters:
    """Convert a search space for Keras Tuner: the same axes, scales, steps and conditions.

    Axes have the names of :meth:`effv2_tune.study.space.Space.dimensions`, so the lower of two
    ordered learning rates is a position from 0 to 1 below the upper one. A choice with values that
    Keras Tuner cannot mix (None, sizes per device, numbers and strings) has their JSON.
    :func:`config_of` is the inverse.
    """
    hyperparameters = keras_tuner.HyperParameters()
    # Fixed parameters are not axes, but others may depend on them.
    waiting: dict[str, Parameter] = {
        name: parameter
        for name, parameter in space.parameters.items()
        if isinstance(parameter, FixedParameter)
    }
    waiting |= {dimension.name: dimension.parameter for dimension in space.dimensions()}
    while waiting:
        ready = next(n for n, p in waiting.items() if waiting.keys().isdisjoint(p.conditions))
        _register(hyperparameters, space, ready, waiting.pop(ready))
    return hyperparameters


def config_of(hyperparameters: keras_tuner.HyperParameters, space: Space) -> Config:
    """Convert hyperparameters of :func:`to_hyperparameters` to a config.

    Args:
        hyperparameters: With a value for each active parameter.
        space: Their space.
    """
    return config_of_values(hyperparameters.values, space)


def config_of_values(values: Mapping[str, Any], space: Space) -> Config:
    """Convert values by name, as in :attr:`keras_tuner.HyperParameters.values`, to a config."""
    drawn = {
        dimension.name: _unlabelled(dimension.parameter, values[dimension.name])
        for dimension in space.dimensions()
        if dimension.name in values
    }
    return space.decode(drawn)


def values_of_config(config: Mapping[str, Any], space: Space) -> dict[str, Any]:
    """The inverse of :func:`config_of_values`, fixed parameters included.

    Raises:
        ValueError: The config is not in the space.
    """
    parameters = {dimension.name: dimension.parameter for dimension in space.dimensions()}
    drawn = {name: _label(parameters[name], value) for name, value in space.encode(config).items()}
    fixed = {
        name: _label(parameter, parameter.value)
        for name, parameter in space.parameters.items()
        if isinstance(parameter, FixedParameter) and name in config
    }
    return drawn | fixed


def _register(
    hyperparameters: keras_tuner.HyperParameters, space: Space, name: str, parameter: Parameter
) -> None:
    """Add a parameter after its parents; one that is never active is left out."""
    known = {hp.name for hp in hyperparameters.space}
    conditions = []
    for parent, values in parameter.conditions.items():
        on = space.parameters[parent]
        labels = [_label(on, value) for value in values if contains(on, value)]
        if parent not in known or not labels:
            return  # never active
        conditions.append(Parent(parent, labels))
    # Not by the methods of `hyperparameters`: they support no nested conditions, and make a tuner
    # build the hypermodel again for every condition.
    hyperparameters.merge([_hyperparameter(name, parameter, conditions)])


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
    """The values of a choice in Keras Tuner: all of one type."""
    values = parameter.values
    kinds = {type(value) for value in values}
    if kinds in ({str}, {int}, {float}) or _is_switch(parameter):
        return list(values)
    if kinds == {int, float} and len({float(value) for value in values}) == len(values):  # type: ignore[arg-type]
        return [float(value) for value in values]  # type: ignore[arg-type]
    return [json.dumps(value, sort_keys=True) for value in values]


def _is_switch(parameter: ChoiceParameter) -> bool:
    # Its Choice treats True as 1.
    return len(parameter.values) == len({True, False}) and all(
        isinstance(value, bool) for value in parameter.values
    )


def _label(parameter: Parameter, value: Any) -> Any:
    """The value in Keras Tuner."""
    if isinstance(parameter, ChoiceParameter):
        return _labels(parameter)[_index(parameter.values, value)]
    if isinstance(parameter, IntParameter):
        return int(value)
    if isinstance(parameter, FloatParameter):
        return float(value)
    return value if isinstance(value, bool | int | float | str) else json.dumps(value)


def _unlabelled(parameter: Parameter, label: Any) -> Any:
    """The inverse of :func:`_label`; numbers are clipped to their range."""
    if isinstance(parameter, ChoiceParameter):
        return parameter.values[_index(_labels(parameter), label)]
    if isinstance(parameter, IntParameter):
        # The upper end of Keras Tuner's Bayesian box is one more than the highest value.
        return min(max(int(label), parameter.low), parameter.high)
    if isinstance(parameter, FloatParameter):
        return parameter.clip(float(label))
    return label


def _index(values: list[Any], value: Any) -> int:
    """Index of ``value``, of the same type if there is one: ``True`` is not ``1``."""
    same = [i for i, other in enumerate(values) if other == value and type(other) is type(value)]
    return same[0] if same else values.index(value)
