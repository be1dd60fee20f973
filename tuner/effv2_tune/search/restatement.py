"""Restates the step time of a bucket, and the training seconds that follow from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from effv2_tune.pareto import training_seconds
from effv2_tune.search.trial_updates import steps_matter, with_step_time
from effv2_tune.study.steps import planned_steps
from effv2_tune.study.trial import STEP_TIME_TOLERANCE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from effv2_tune.search.workload import BucketTime
    from effv2_tune.study.bucket import DataFacts
    from effv2_tune.study.step_time import StepTime
    from effv2_tune.study.trial import Trial

#: How often a bucket is measured because of a busy machine, or because a trial was faster than it
#: can be.
_MOST_MEASUREMENTS = 4
#: Likewise because trials were slower: most of them are, on a busy machine.
_MOST_FOR_SLOWER = 2
#: Relative half-width of the interval of a step time that has none.
_UNKNOWN_ERROR = 0.05


def is_doubtful(time: BucketTime, trials: Iterable[Trial]) -> bool:
    """Whether the step time of a bucket is to be measured again.

    A trial that was faster proves that it is too high. One that was slower may itself have been
    disturbed, unless not even its fastest steps were as fast.

    Args:
        time: The newest version.
        trials: Those of the bucket whose training has ended.
    """
    if time.measurements >= _MOST_MEASUREMENTS:
        return False
    if not time.is_quiet:
        return True
    known = [one.times for one in trials if one.times.step_median and steps_matter(one, time)]
    if any(one.step_median < (1 - STEP_TIME_TOLERANCE) * time.step_seconds for one in known):
        return True
    slow = (1 + STEP_TIME_TOLERANCE) * time.step_seconds
    return time.measurements < _MOST_FOR_SLOWER and any(one.step_least > slow for one in known)


def next_version(known: BucketTime, measured: StepTime) -> BucketTime:
    """The step time of a bucket after another measurement: the new one where it differs.

    Args:
        known: The version before.
        measured: The new measurement.
    """
    low = known.step_seconds / (1 + _UNKNOWN_ERROR) if known.low is None else known.low
    high = known.step_seconds * (1 + _UNKNOWN_ERROR) if known.high is None else known.high
    agrees = low <= measured.seconds <= high
    if not measured.is_quiet:
        agrees |= measured.low <= known.step_seconds <= measured.high
    counted = known.model_copy(update={"measurements": known.measurements + 1})
    if agrees and known.is_quiet >= measured.is_quiet:
        return counted
    changes = {
        "step_seconds": measured.seconds,
        "low": measured.low,
        "high": measured.high,
        "is_quiet": measured.is_quiet,
    }
    return counted.model_copy(update=changes)


def with_newest_times(
    trials: Sequence[Trial],
    times: Mapping[str, Sequence[BucketTime]],
    data: DataFacts | None,
) -> list[Trial]:
    """The trials, with the training seconds of the newest step times, and their intervals.

    Args:
        trials: As recorded.
        times: The versions of the step time of each bucket, the newest last; by its digest.
        data: Facts of the images; None before the first worker was ready.
    """
    if data is None:
        return list(trials)
    return [
        _with_newest_time(trial, times.get(trial.bucket.digest, ()), data)
        if trial.bucket is not None
        else trial
        for trial in trials
    ]


def _with_newest_time(trial: Trial, versions: Sequence[BucketTime], data: DataFacts) -> Trial:
    if not versions or trial.recipe is None or trial.bucket is None:
        return trial
    newest = versions[-1]
    is_restated = any(one.step_seconds != newest.step_seconds for one in versions)
    if not is_restated and (trial.measurement is None or newest.low is None):
        return trial
    steps = planned_steps(trial.recipe, data, trial.bucket.device_count)

    def seconds(step: float | None) -> float | None:
        if step is None:
            return None
        return training_seconds(steps, step, extraction_seconds=newest.extraction_seconds)

    whole = {"train_seconds": seconds(newest.step_seconds)} if is_restated else {}
    if trial.measurement is not None:
        ends = {"seconds_low": seconds(newest.low), "seconds_high": seconds(newest.high)}
        measurement = trial.measurement.model_copy(update=whole | ends)
        trial = trial.model_copy(update={"measurement": measurement})
    if not is_restated:
        return trial
    projected = {"projected_seconds": whole["train_seconds"]}
    rungs = tuple(rung.model_copy(update=projected) for rung in trial.rungs)
    trial = trial.model_copy(update={"rungs": rungs})
    # A duplicate was never trained, and has no step time of its own.
    return with_step_time(trial, newest) if trial.times.step_bucket else trial
