"""Computes one step of any optimizer as a pure function."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from keras import ops

from effv2_tune.optimizers import rules
from effv2_tune.optimizers.schedules import scheduled
from effv2_tune.optimizers.static_config import RULE_DEFAULTS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from effv2_tune.optimizers.static_config import StaticConfig
    from effv2_tune.tensor import Tensor

State: TypeAlias = dict[str, Any]
"""State of an optimizer by name: `iterations` (a scalar), `hyperparameters` (a vector), and for
each moment, and `weight_average`, a list of arrays."""

Coefficients: TypeAlias = (
    rules.AdaBeliefCoefficients | rules.AdamWCoefficients | rules.SGDCoefficients
)


def coefficients(
    config: StaticConfig,
    *,
    iterations: Tensor,
    learning_rate: Tensor,
    hyperparameters: Mapping[str, Tensor],
) -> Coefficients:
    """Compute the scalars that the update of all weights shares.

    Args:
        config: Names the update rule.
        iterations: Steps so far.
        learning_rate: Of this step, float32.
        hyperparameters: Of the update rule, by name; a missing weight decay or threshold is 0.
    """
    names = (*RULE_DEFAULTS[config.kind], "weight_decay")
    values = {name: hyperparameters.get(name, 0.0) for name in names}
    values["learning_rate"] = learning_rate
    if config.kind == "sgd":
        return rules.sgd_coefficients(**values)
    step = ops.cast(iterations, "float32") + 1.0
    if config.kind == "adamw":
        return rules.adamw_coefficients(step=step, **values)
    return rules.adabelief_coefficients(step=step, rectify=config.rectify, **values)


def weight_change(
    config: StaticConfig, gradient: Tensor, moments: tuple[Tensor, ...], shared: Coefficients
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Compute what to subtract from a weight (before decay), and its new moments."""
    if isinstance(shared, rules.SGDCoefficients):
        return rules.sgd_step(gradient, moments, shared, nesterov=config.nesterov)
    if isinstance(shared, rules.AdamWCoefficients):
        return rules.adamw_step(gradient, moments, shared)
    return rules.adabelief_step(gradient, moments, shared)


def unpacked(config: StaticConfig, state: Mapping[str, Any]) -> dict[str, Tensor]:
    """Unpack the hyperparameters in a state, by name."""
    values = ops.unstack(state["hyperparameters"])
    return dict(zip(config.hyperparameter_names, values, strict=True))


def update(
    config: StaticConfig,
    state: State,
    gradients: Sequence[Tensor],
    weights: Sequence[Tensor],
    decays: Sequence[Any],
) -> tuple[list[Tensor], State]:
    """Compute the next weights and the next state, all float32.

    Args:
        config: What is part of the trace.
        state: With arrays in the shapes of the weights.
        gradients: One for each weight.
        weights: Arrays.
        decays: For each weight 1 where weight decay applies and 0 where not, or None for nowhere.
    """
    hyperparameters, iterations = unpacked(config, state), state["iterations"]
    if config.clip:
        gradients = rules.clip_by_global_norm(list(gradients), hyperparameters["global_clipnorm"])
    rate = scheduled(config.schedule, iterations, hyperparameters)
    shared = coefficients(
        config, iterations=iterations, learning_rate=rate, hyperparameters=hyperparameters
    )
    names = config.moment_names
    updated = []
    for index, (gradient, weight, decay) in enumerate(zip(gradients, weights, decays, strict=True)):
        moments = tuple(state[name][index] for name in names)
        change, moments = weight_change(config, gradient, moments, shared)
        if decay is not None:
            change = change + weight * (shared.decay * decay)
        updated.append((weight - change, *moments))
    new_weights, *new_moments = (list(column) for column in zip(*updated, strict=True))
    new_state = dict(state) | dict(zip(names, new_moments, strict=True))
    if config.average:
        momentum = hyperparameters["ema_momentum"]
        if config.average_warms_up:
            momentum = rules.warming_momentum(momentum, iterations)
        new_state["weight_average"] = [
            rules.moving_average(average, weight, momentum, iterations)
            for average, weight in zip(state["weight_average"], new_weights, strict=True)
        ]
    new_state["iterations"] = iterations + 1
    return new_weights, new_state
