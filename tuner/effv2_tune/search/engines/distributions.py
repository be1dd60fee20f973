"""Converts between configs and the parameters and distributions of Optuna's trials."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from effv2_tune.search.engines.samplers import choice_labels
from effv2_tune.study.space import ChoiceParameter, FloatParameter, IntParameter

if TYPE_CHECKING:
    from collections.abc import Mapping

    import optuna
    from optuna.distributions import BaseDistribution

    from effv2_tune.study.space import Config, Dimension, Space


def suggest_config(trial: optuna.Trial, space: Space) -> Config:
    """Sample a config of ``space`` from an Optuna trial; repeated calls return the same one."""
    values: dict[str, Any] = {}
    for dimension in space.dimensions():
        if dimension.parameter.is_active(space.decode(values)):
            values[dimension.name] = _suggest(trial, dimension)
    return space.decode(values)


def params_of_config(
    space: Space, config: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, BaseDistribution]]:
    """The parameters and distributions of an Optuna trial with ``config``, by name.

    Raises:
        ValueError: The config is not in the space.
    """
    values = space.encode(config)
    axes = [dimension for dimension in space.dimensions() if dimension.name in values]
    params = {axis.name: _label(axis, values[axis.name]) for axis in axes}
    return params, {axis.name: distribution_of(axis) for axis in axes}


def config_of_params(space: Space, params: Mapping[str, Any]) -> Config:
    """The config of an Optuna trial with the given parameters."""
    axes = [dimension for dimension in space.dimensions() if dimension.name in params]
    return space.decode({axis.name: _value(axis, params[axis.name]) for axis in axes})


def distribution_of(dimension: Dimension) -> BaseDistribution:
    """Optuna's distribution of a dimension."""
    parameter = dimension.parameter
    if isinstance(parameter, ChoiceParameter):
        return CategoricalDistribution(choice_labels(dimension))
    log = parameter.scale == "log"
    if isinstance(parameter, FloatParameter):
        return FloatDistribution(parameter.low, parameter.high, log=log)
    return IntDistribution(parameter.low, parameter.high, log=log, step=parameter.step)


def _suggest(trial: optuna.Trial, dimension: Dimension) -> Any:
    parameter, name = dimension.parameter, dimension.name
    if isinstance(parameter, FloatParameter):
        log = parameter.scale == "log"
        return trial.suggest_float(name, parameter.low, parameter.high, log=log)
    if isinstance(parameter, IntParameter):
        log = parameter.scale == "log"
        return trial.suggest_int(name, parameter.low, parameter.high, step=parameter.step, log=log)
    return _value(dimension, trial.suggest_categorical(name, choice_labels(dimension)))


def _label(dimension: Dimension, value: Any) -> Any:
    """Optuna's label of a value."""
    if not isinstance(dimension.parameter, ChoiceParameter):
        return value
    return choice_labels(dimension)[_index(dimension.parameter.values, value)]


def _value(dimension: Dimension, label: Any) -> Any:
    """The inverse of :func:`_label`."""
    if not isinstance(dimension.parameter, ChoiceParameter):
        return label
    return dimension.parameter.values[_index(choice_labels(dimension), label)]


def _index(values: list[Any], value: Any) -> int:
    """The index of ``value``; ``True`` differs from ``1``, but 1.0 is found as 1."""
    same = [index for index, v in enumerate(values) if v == value and type(v) is type(value)]
    return same[0] if same else values.index(value)
