"""Configs as Optuna's trials hold them: drawn from one, or as one would have drawn them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from effv2_tune.search.engines.samplers import choice_labels
from effv2_tune.study.space import ChoiceParameter, FloatParameter

if TYPE_CHECKING:
    from collections.abc import Mapping

    import optuna
    from optuna.distributions import BaseDistribution

    from effv2_tune.study.space import Config, Dimension, Space


def suggest_config(trial: optuna.Trial, space: Space) -> Config:
    """Draw a config of ``space`` from an Optuna trial; a second call gives the same again."""
    drawn: dict[str, Any] = {}
    for dimension in space.dimensions():
        if dimension.is_active(space.decode(drawn)):
            # What suggest_float and its siblings call, without taking the range apart again.
            label = trial._suggest(dimension.name, distribution_of(dimension))  # noqa: SLF001
            drawn[dimension.name] = _unlabelled(dimension, label)
    return space.decode(drawn)


def drawn_by(
    space: Space, config: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, BaseDistribution]]:
    """What a sampler would have drawn for ``config``, and from which distributions, by name.

    Raises:
        ValueError: The config does not lie in the space.
    """
    drawn = space.encode(config)
    axes = [dimension for dimension in space.dimensions() if dimension.name in drawn]
    labels = {axis.name: _labelled(axis, drawn[axis.name]) for axis in axes}
    return labels, {axis.name: distribution_of(axis) for axis in axes}


def config_of_params(space: Space, params: Mapping[str, Any]) -> Config:
    """The config that the parameters of an Optuna trial stand for."""
    axes = [dimension for dimension in space.dimensions() if dimension.name in params]
    return space.decode({axis.name: _unlabelled(axis, params[axis.name]) for axis in axes})


def distribution_of(dimension: Dimension) -> BaseDistribution:
    """The distribution that Optuna draws a dimension from."""
    parameter = dimension.parameter
    if isinstance(parameter, ChoiceParameter):
        return CategoricalDistribution(choice_labels(dimension))
    log = parameter.scale == "log"
    if isinstance(parameter, FloatParameter):
        return FloatDistribution(parameter.low, parameter.high, log=log)
    return IntDistribution(parameter.low, parameter.high, log=log, step=parameter.step)


def _labelled(dimension: Dimension, value: Any) -> Any:
    if not isinstance(dimension.parameter, ChoiceParameter):
        return value
    return choice_labels(dimension)[_place(dimension.parameter.values, value)]


def _unlabelled(dimension: Dimension, label: Any) -> Any:
    if not isinstance(dimension.parameter, ChoiceParameter):
        return label
    return dimension.parameter.values[_place(choice_labels(dimension), label)]


def _place(values: list[Any], value: Any) -> int:
    """Where ``value`` stands, with ``True`` told from ``1``; a number of another type counts."""
    same = [p for p, one in enumerate(values) if one == value and type(one) is type(value)]
    return same[0] if same else values.index(value)
