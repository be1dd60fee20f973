"""Collects the candidates of a study, and estimates what to expect of each trial's config."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from effv2_tune.pareto import Candidate, estimates, front_probabilities, standard_error_of
from effv2_tune.pareto.certainty import DRAWS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from effv2_tune.pareto import Estimate, Objective
    from effv2_tune.study.recipe import Quality
    from effv2_tune.study.trial import Measurement, Trial

#: A complete trial off the front is marked if it is truly on it with at least this probability.
POSSIBLE = 0.1
#: With many trials fewer draws are made, so that a table takes well under a second: 1,000 draws
#: give a probability to 0.016.
_FEWEST_DRAWS, _MOST_NUMBERS = 1000, 400_000


@dataclass(frozen=True)
class Expectation:
    """What to expect of a trial's config, on other images and with other seeds.

    Attributes:
        standard_error: Of its measured quality, as an estimate for all images.
        estimate: Of its quality, by all trials of the study on this kind of device.
        on_front: Probability of being on the true Pareto front.
    """

    standard_error: float
    estimate: Estimate
    on_front: float


def candidates_of(
    trials: Sequence[Trial],
    others: Iterable[Trial],
    *,
    quality: Quality,
    validation: int | None,
) -> list[Candidate]:
    """The candidate of each complete trial [n]; none where the errors are not known.

    Args:
        trials: Complete ones, without replicates.
        others: Trials on the same kind of device; of these, complete replicates count.
        quality: The score that is traded against time.
        validation: How many validation images there are, where that is known.
    """
    repeated: dict[str, list[float]] = {}
    for trial in others:
        is_complete = trial.state == "complete" and trial.replicate_of is not None
        if is_complete and trial.measurement is not None:
            repeated.setdefault(config_key(trial), []).append(trial.measurement.quality)
    found = []
    for trial in trials:
        error = standard_error_of(trial, quality, validation)
        if error is None or trial.measurement is None:
            return []
        low, high = _interval(trial.measurement)
        found.append(
            Candidate(
                qualities=(trial.measurement.quality, *repeated.get(config_key(trial), ())),
                standard_error=error,
                seconds=trial.measurement.train_seconds,
                seconds_low=low,
                seconds_high=high,
                time_group="" if trial.bucket is None else trial.bucket.digest,
                images=validation or 0,
            )
        )
    return found


def expectations(
    trials: Sequence[Trial], candidates: Sequence[Candidate], objective: Objective
) -> dict[int, Expectation]:
    """What to expect of each trial [n], by its number; from its candidate [n].

    Duplicates, which have the outcome of another trial, count once.
    """
    if not candidates:
        return {}
    by_config = _distinct(trials, candidates)
    distinct = list(by_config.values())
    draws = min(DRAWS, max(_FEWEST_DRAWS, _MOST_NUMBERS // len(distinct)))
    expected = {
        config: Expectation(candidate.standard_error, estimate, on_front)
        for (config, candidate), estimate, on_front in zip(
            by_config.items(),
            estimates(distinct, objective),
            front_probabilities(distinct, objective, draws=draws),
            strict=True,
        )
    }
    return {trial.number: expected[config_key(trial)] for trial in trials}


def estimates_of(
    trials: Sequence[Trial], candidates: Sequence[Candidate], objective: Objective
) -> list[Estimate]:
    """The estimate of each trial [n], from its candidate [n]; duplicates count once."""
    by_config = _distinct(trials, candidates)
    found = dict(zip(by_config, estimates(list(by_config.values()), objective), strict=True))
    return [found[config_key(trial)] for trial in trials]


def _distinct(trials: Sequence[Trial], candidates: Sequence[Candidate]) -> dict[str, Candidate]:
    return {config_key(trial): one for trial, one in zip(trials, candidates, strict=True)}


def config_key(trial: Trial) -> str:
    """Equal for trials of the same config: duplicates and replicates."""
    return json.dumps(trial.config, sort_keys=True)


def _interval(measurement: Measurement) -> tuple[float, float]:
    """The 90 % interval of the training seconds; where it is not known, they count as exact."""
    low, high = measurement.seconds_low, measurement.seconds_high
    if low is None or high is None:
        return measurement.train_seconds, measurement.train_seconds
    return low, high
