"""Maps hyperparameters of Keras Tuner to Optuna distributions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from keras_tuner.engine import hyperparameters as kinds
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from effv2_tune.errors import TuneError

if TYPE_CHECKING:
    from collections.abc import Callable

    from optuna.distributions import BaseDistribution


@dataclass(frozen=True)
class Axis:
    """One parameter of an Optuna study.

    Attributes:
        name: The hyperparameter's; with its conditions, if any, because in Keras Tuner one name may
            have several ranges, and in Optuna it may not.
        distribution: Of the parameter.
        value_of: Maps a parameter to the hyperparameter's value.
        drawn_for: The inverse.
    """

    name: str
    distribution: BaseDistribution
    value_of: Callable[[Any], Any]
    drawn_for: Callable[[Any], Any]


def axis_of(hyperparameter: Any) -> Axis | None:
    """Return the axis of a hyperparameter; None for a fixed one.

    Raises:
        TuneError: A kind of hyperparameter that Keras Tuner 1.4.8 does not have.
    """
    if isinstance(hyperparameter, kinds.Fixed):
        return None
    name = axis_name(hyperparameter)
    if isinstance(hyperparameter, kinds.Boolean | kinds.Choice):
        values = list(hyperparameter.values)
        return Axis(name, CategoricalDistribution(values), _same, _same)
    if not isinstance(hyperparameter, kinds.Float | kinds.Int):
        raise TuneError(
            f"Hyperparameter {hyperparameter.name!r} is a {type(hyperparameter).__name__}, which "
            "Optuna cannot sample.",
            hint="Use Float, Int, Choice, Boolean or Fixed.",
        )
    if hyperparameter.step is not None and not _counts_up(hyperparameter):
        return _index_of_values(name, list(hyperparameter.values))
    if hyperparameter.sampling == "reverse_log":
        return Axis(
            name,
            FloatDistribution(0.0, 1.0),
            lambda fraction: _clipped(hyperparameter, hyperparameter.prob_to_value(fraction)),
            hyperparameter.value_to_prob,
        )
    low, high = hyperparameter.min_value, hyperparameter.max_value
    log = hyperparameter.sampling == "log"
    if isinstance(hyperparameter, kinds.Float):
        return Axis(name, FloatDistribution(low, high, log=log), _same, _same)
    step = hyperparameter.step or 1
    last = high - (high - low) % step
    return Axis(name, IntDistribution(low, last, log=log, step=step), _same, _same)


def axis_name(hyperparameter: Any) -> str:
    """Return the name of a hyperparameter in Optuna."""
    conditions = [
        f"{condition.name}={'|'.join(str(value) for value in condition.values)}"
        for condition in hyperparameter.conditions
    ]
    name = str(hyperparameter.name)
    return f"{name} [{', '.join(conditions)}]" if conditions else name


def _counts_up(hyperparameter: Any) -> bool:
    """Whether it is an integer in equal steps, as in Optuna.

    Steps of a float, which Optuna rounds to decimals, and factors, which it does not have, are
    sampled as indices of the list of values.
    """
    return isinstance(hyperparameter, kinds.Int) and hyperparameter.sampling == "linear"


def _index_of_values(name: str, values: list[Any]) -> Axis:
    return Axis(
        name,
        IntDistribution(0, len(values) - 1),
        values.__getitem__,
        lambda value: min(range(len(values)), key=lambda index: abs(values[index] - value)),
    )


def _clipped(hyperparameter: Any, value: Any) -> Any:
    return min(max(value, hyperparameter.min_value), hyperparameter.max_value)


def _same(value: Any) -> Any:
    return value
