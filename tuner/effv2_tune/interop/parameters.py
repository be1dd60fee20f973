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

    from effv2_tune.study.space import Config, Dimension, Parameter, Space


def to_hyperparameters(space: Space) -> keras_tuner.HyperParameters:
    """Convert a search space for Keras Tuner: the same axes, scales, steps and conditions.

    Axes have the names of :meth:`effv2_tune.study.space.Space.dimensions`, so the lower of two
    ordered learning rates is a position from 0 to 1 below the upper one. A choice with values that
    Keras Tuner cannot mix (None, sizes per device, numbers and strings) has their JSON.
    :func:`config_of` is the inverse.
    """
    hyperparameters = keras_tuner.HyperParameters()
    # Fixed parameters are not axes, but others may depend on them.
    waiting: list[Dimension | _Fixed] = [*_fixed(space), *space.dimensions()]
    while waiting:
        ready = next(one for one in waiting if _parents_ready(one, hyperparameters, waiting))
        waiting.remove(ready)
        _register(hyperparameters, space, ready)
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
    parameters = {one.name: one.parameter for one in space.dimensions()}
    drawn = {name: _label(parameters[name], value) for name, value in space.encode(config).items()}
    fixed = {
        name: _label(parameter, parameter.value)
        for name, parameter in space.parameters.items()
        if isinstance(parameter, FixedParameter) and name in config
    }
    return drawn | fixed


class _Fixed:
    """A fixed parameter with the attributes of a dimension."""

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


def _parents_ready(
    one: Dimension | _Fixed,
    hyperparameters: keras_tuner.HyperParameters,
    waiting: list[Dimension | _Fixed],
) -> bool:
    """Whether all parents of ``one`` are registered, or will never be."""
    known = {hp.name for hp in hyperparameters.space}
    pending = {other.name for other in waiting}
    return all(parent in known or parent not in pending for parent, _ in one.when)


def _register(
    hyperparameters: keras_tuner.HyperParameters, space: Space, one: Dimension | _Fixed
) -> None:
    known = {hp.name for hp in hyperparameters.space}
    conditions = []
    for parent, values in one.when:
        parameter = space.parameters[parent]
        labels = [_label(parameter, value) for value in values if contains(parameter, value)]
        if parent not in known or not labels:
            return  # never active
        conditions.append(Parent(parent, labels))
    # Not by the methods of `hyperparameters`: they support no nested conditions, and make a tuner
    # build the hypermodel again for every condition.
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
