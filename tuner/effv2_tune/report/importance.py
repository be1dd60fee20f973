"""Estimates how much each hyperparameter matters for an objective, with PED-ANOVA."""

from __future__ import annotations

import math
import random
import warnings
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from effv2_tune.report.quantities import short, spans_decades

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

Goal = Literal["quality", "time"]

#: Complete trials below which nothing is said. PED-ANOVA compares the best trials with all of them,
#: and its authors ask for five of the best or more.
FEWEST_TRIALS = 20
_FEWEST_BEST = 5
_BEST_SHARE = 0.1
#: The interval comes from so many bootstrap samples of the trials.
_SAMPLES = 24
_LOW, _HIGH = 0.05, 0.95


class Importance(NamedTuple):
    """The importance of a hyperparameter for an objective.

    Attributes:
        parameter: Its name.
        share: Of the importance of all hyperparameters; from 0 to 1.
        low: Lower end of the 90 % bootstrap interval of that share.
        high: Upper end.
        trials: Complete trials that have the hyperparameter: fewer than all where it exists only
            under a condition.
    """

    parameter: str
    share: float
    low: float
    high: float
    trials: int


def best_share(trials: int) -> float:
    """The share of the trials that count as the best: a tenth, and at least five trials."""
    return max(_BEST_SHARE, min(0.5, _FEWEST_BEST / trials))


def importances(configs: Sequence[Mapping[str, Any]], costs: Sequence[float]) -> list[Importance]:
    """The importance of each hyperparameter for low costs, the largest first.

    PED-ANOVA (Watanabe et al. 2023) measures how much the values of the best trials differ from
    those of all trials. Hyperparameters that only some trials have are rated by its conditional
    form (as of Optuna 5).

    Args:
        configs: Of the complete trials [n].
        costs: The value of an objective for each trial [n], lower is better.

    Returns:
        Empty with fewer than ``FEWEST_TRIALS`` trials, or where they all have one config.
    """
    distributions = _distributions(configs)
    if len(configs) < FEWEST_TRIALS or not distributions:
        return []
    params = [_params(config, distributions) for config in configs]
    trials = _frozen_trials(params, costs, distributions)
    chance = random.Random(0)  # noqa: S311 - resampling
    shares = _shares(trials)
    samples = [_shares(chance.choices(trials, k=len(trials))) for _ in range(_SAMPLES)]
    found = [
        Importance(
            name,
            share,
            *_interval([one.get(name, 0.0) for one in samples]),
            trials=sum(name in one for one in params),
        )
        for name, share in shares.items()
    ]
    return sorted(found, key=lambda one: -one.share)


def _interval(values: Sequence[float]) -> tuple[float, float]:
    ordered = sorted(values)
    last = len(ordered) - 1
    return ordered[round(_LOW * last)], ordered[round(_HIGH * last)]


def _frozen_trials(
    params: Sequence[Mapping[str, Any]],
    costs: Sequence[float],
    distributions: Mapping[str, BaseDistribution],
) -> list[FrozenTrial]:
    """Complete trials of Optuna with one cost, of which lower ones are better."""
    from optuna.trial import FrozenTrial, TrialState

    moment = datetime.fromtimestamp(0, UTC)
    return [
        FrozenTrial(
            number=number,
            trial_id=number,
            state=TrialState.COMPLETE,
            value=cost,
            params=dict(one),
            distributions={name: distributions[name] for name in one},
            datetime_start=moment,
            datetime_complete=moment,
            user_attrs={},
            system_attrs={},
            intermediate_values={},
        )
        for number, (one, cost) in enumerate(zip(params, costs, strict=True))
    ]


def _shares(trials: Sequence[FrozenTrial]) -> dict[str, float]:
    """Optuna's PED-ANOVA of the costs of trials, some of them repeated; the shares sum to 1."""
    import optuna
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
    from optuna.storages import InMemoryStorage

    class Sample(InMemoryStorage):
        """Has these trials: adding them one by one would copy each several times."""

        def get_all_trials(self, *_: object, **__: object) -> list[FrozenTrial]:
            return list(trials)

    with _quiet_optuna():
        study = optuna.create_study(storage=Sample(), direction="minimize")
        evaluator = PedAnovaImportanceEvaluator(target_quantile=best_share(len(trials)))
        return get_param_importances(study, evaluator=evaluator)


@contextmanager
def _quiet_optuna() -> Iterator[None]:
    """Without the log lines of studies that are created in memory, and warnings of rare choices.

    The number of trials that have a hyperparameter is shown instead.
    """
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)


def _distributions(configs: Sequence[Mapping[str, Any]]) -> dict[str, BaseDistribution]:
    """A distribution over the observed values of each hyperparameter that has several."""
    found = {}
    for name in dict.fromkeys(key for config in configs for key in config):
        distribution = _distribution([config[name] for config in configs if name in config])
        if distribution is not None:
            found[name] = distribution
    return found


def _distribution(values: Sequence[Any]) -> BaseDistribution | None:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if is_numeric(values):
        low, high = min(values), max(values)
        if low == high:
            return None
        log = spans_decades([float(value) for value in values])
        if all(isinstance(value, int) for value in values):
            return IntDistribution(low, high, log=log)
        return FloatDistribution(float(low), float(high), log=log)
    choices = list(dict.fromkeys(map(short, values)))
    return CategoricalDistribution(choices) if choices[1:] else None


def is_numeric(values: Sequence[Any]) -> bool:
    """Whether all values are finite numbers; Booleans are choices."""
    return all(
        isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        for value in values
    )


def _params(
    config: Mapping[str, Any], distributions: Mapping[str, BaseDistribution]
) -> dict[str, Any]:
    """A config as Optuna's parameters; choices as their text."""
    from optuna.distributions import CategoricalDistribution

    return {
        name: short(config[name]) if isinstance(one, CategoricalDistribution) else config[name]
        for name, one in distributions.items()
        if name in config
    }
