"""Computes one step of any optimizer as a pure function."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from keras import ops

from effv2_tune.optimizers import rules
from effv2_tune.optimizers.schedules import scheduled
from effv2_tune.optimizers.static_config import RULE_DEFAULTS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from effv2_tune.optimizers.flat_variables import Masks
    from effv2_tune.optimizers.static_config import StaticConfig
    from effv2_tune.tensor import Tensor

State: TypeAlias = dict[str, Any]
"""State of an optimizer by name: `iterations` (a scalar), `hyperparameters` (a vector), and for
each moment, and `weight_average`, a list of arrays."""

Coefficients: TypeAlias = (
    rules.AdaBeliefCoefficients
    | rules.AdamWCoefficients
    | rules.SGDCoefficients
    | rules.RMSPropCoefficients
    | rules.LionCoefficients
    | rules.ScheduleFreeCoefficients
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
    if config.kind == "lion":
        return rules.lion_coefficients(**values)
    step = ops.cast(iterations, "float32") + 1.0
    if config.kind == "rmsprop":
        return rules.rmsprop_coefficients(step=step, **values)
    if config.kind == "schedule_free":
        share = rules.squared_share(
            iterations,
            learning_rate,
            initial=hyperparameters.get("initial_learning_rate", learning_rate),
            maximal=hyperparameters.get("maximal_learning_rate", learning_rate),
            warmup_steps=hyperparameters.get("warmup_steps", 0.0),
        )
        return rules.schedule_free_coefficients(step=step, share=share, **values)
    if config.kind == "adamw":
        return rules.adamw_coefficients(step=step, **values)
    return rules.adabelief_coefficients(step=step, rectify=config.rectify, **values)


def weight_change(
    config: StaticConfig,
    gradient: Tensor,
    moments: tuple[Tensor, ...],
    shared: Coefficients,
    decaying: Tensor | float = 0.0,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Compute what to subtract from a weight, and its new moments.

    Args:
        config: Names the update rule.
        gradient: Of the weight.
        moments: Of the weight.
        shared: From :func:`coefficients`.
        decaying: The weight where it decays, zeros elsewhere. Only a rule whose decay is part of
            its moments takes it; for all others the caller adds the decay to the change.
    """
    if isinstance(shared, rules.ScheduleFreeCoefficients):
        return rules.schedule_free_step(gradient, moments, shared, decaying)
    if isinstance(shared, rules.SGDCoefficients):
        return rules.sgd_step(gradient, moments, shared, nesterov=config.nesterov)
    if isinstance(shared, rules.RMSPropCoefficients):
        return rules.rmsprop_step(gradient, moments, shared)
    if isinstance(shared, rules.LionCoefficients):
        return rules.lion_step(gradient, moments, shared)
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
    masks: Masks,
    *,
    rate_factors: Callable[[Tensor], Sequence[Tensor | None]],
) -> tuple[list[Tensor], State]:
    """Compute the next weights and the next state, all float32.

    Args:
        config: What is part of the trace.
        state: With arrays in the shapes of the weights.
        gradients: One for each weight.
        weights: Arrays.
        masks: Where weight decay and L2 regularization apply.
        rate_factors: Computes from `layer_decay` what the learning rate of each weight is
            multiplied by, or None for 1.
    """
    hyperparameters, iterations = unpacked(config, state), state["iterations"]
    if masks.regularized is not None:
        gradients = _with_l2(gradients, weights, masks.regularized, hyperparameters["l2"])
    if config.clip:
        gradients = rules.clip_by_global_norm(list(gradients), hyperparameters["global_clipnorm"])
    rate = scheduled(config.schedule, iterations, hyperparameters)
    shared = coefficients(
        config, iterations=iterations, learning_rate=rate, hyperparameters=hyperparameters
    )
    names = config.moment_names
    factors = rate_factors(hyperparameters["layer_decay"])
    updated = []
    for index, (gradient, weight, decay, factor) in enumerate(
        zip(gradients, weights, masks.decays, factors, strict=True)
    ):
        moments = tuple(state[name][index] for name in names)
        decaying = 0.0 if decay is None else weight * decay
        change, moments = weight_change(config, gradient, moments, shared, decaying)
        if decay is not None and not isinstance(shared, rules.ScheduleFreeCoefficients):
            change = change + weight * (shared.decay * decay)
        if factor is not None:
            # Every rule's change is proportional to the learning rates that went into it.
            change = change * factor
        updated.append((weight - change, *moments))
    new_weights, *new_moments = (list(column) for column in zip(*updated, strict=True))
    new_state = dict(state) | dict(zip(names, new_moments, strict=True))
    if config.keeps_average:
        averaged, momentum = new_weights, hyperparameters.get("ema_momentum")
        if isinstance(shared, rules.ScheduleFreeCoefficients):
            averaged, momentum = _ahead(new_weights, new_state["ahead"], factors), 1 - shared.share
        elif config.average_warms_up:
            momentum = rules.warming_momentum(momentum, iterations)
        new_state["weight_average"] = [
            rules.moving_average(average, weight, momentum, iterations)
            for average, weight in zip(state["weight_average"], averaged, strict=True)
        ]
    new_state["iterations"] = iterations + 1
    return new_weights, new_state


def _ahead(
    weights: Sequence[Tensor], ahead: Sequence[Tensor], factors: Sequence[Tensor | None]
) -> list[Tensor]:
    """The weights that Schedule-Free AdamW makes its steps from."""
    return [
        weight + (difference if factor is None else difference * factor)
        for weight, difference, factor in zip(weights, ahead, factors, strict=True)
    ]


def _with_l2(
    gradients: Sequence[Tensor], weights: Sequence[Tensor], regularized: Sequence[Any], l2: Tensor
) -> list[Tensor]:
    """Add the gradients of L2 regularization: half of `l2` times the squared norm of weights."""
    return [
        gradient if chosen is None else gradient + weight * (l2 * chosen)
        for gradient, weight, chosen in zip(gradients, weights, regularized, strict=True)
    ]
