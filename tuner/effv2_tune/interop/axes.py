"""What Optuna draws in place of each hyperparameter of Keras Tuner."""

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
        name: The hyperparameter's; with its conditions, where it has some, because one name may
            stand for several ranges there, and for Optuna it may not.
        distribution: What is drawn from.
        value_of: The hyperparameter's value for what was drawn.
        drawn_for: The inverse.
    """

    name: str
    distribution: BaseDistribution
    value_of: Callable[[Any], Any]
    drawn_for: Callable[[Any], Any]


def axis_of(hyperparameter: Any) -> Axis | None:
    """The axis of a hyperparameter; None for a fixed one, which nothing is drawn for.

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
            "Optuna cannot draw.",
            hint="Use Float, Int, Choice, Boolean or Fixed.",
        )
    if hyperparameter.step is not None and not _counts_up(hyperparameter):
        return _position_in_list(name, list(hyperparameter.values))
    if hyperparameter.sampling == "reverse_log":
        return Axis(
            name,
            FloatDistribution(0.0, 1.0),
            lambda share: _inside(hyperparameter, hyperparameter.prob_to_value(share)),
            hyperparameter.value_to_prob,
        )
    low, high = hyperparameter.min_value, hyperparameter.max_value
    log = hyperparameter.sampling == "log"
    if isinstance(hyperparameter, kinds.Float):
        return Axis(name, FloatDistribution(low, high, log=log), _same, _same)
    step = hyperparameter.step or 1
    reached = high - (high - low) % step
    return Axis(name, IntDistribution(low, reached, log=log, step=step), _same, _same)


def axis_name(hyperparameter: Any) -> str:
    """What Optuna calls a hyperparameter."""
    conditions = [
        f"{condition.name}={'|'.join(str(value) for value in condition.values)}"
        for condition in hyperparameter.conditions
    ]
    name = str(hyperparameter.name)
    return f"{name} [{', '.join(conditions)}]" if conditions else name


def _counts_up(hyperparameter: Any) -> bool:
    """Whether it is a whole number in equal steps, as Optuna has it too.

    Steps of a real number, which Optuna reckons in decimals, and factors, which it does not have,
    are drawn as places in the list of values.
    """
    return isinstance(hyperparameter, kinds.Int) and hyperparameter.sampling == "linear"


def _position_in_list(name: str, values: list[Any]) -> Axis:
    return Axis(
        name,
        IntDistribution(0, len(values) - 1),
        values.__getitem__,
        lambda value: min(range(len(values)), key=lambda place: abs(values[place] - value)),
    )


def _inside(hyperparameter: Any, value: Any) -> Any:
    return min(max(value, hyperparameter.min_value), hyperparameter.max_value)


def _same(value: Any) -> Any:
    return value
