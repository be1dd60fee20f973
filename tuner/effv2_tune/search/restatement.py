"""Restates the step time of a bucket, and the training seconds that follow from it."""

from __future__ import annotations

import functools
import math
import operator
from typing import TYPE_CHECKING, Any

from effv2_tune.pareto import training_seconds
from effv2_tune.pareto.estimates import Z90
from effv2_tune.search.trial_updates import steps_matter, with_step_time
from effv2_tune.study.steps import planned_steps
from effv2_tune.study.trial import STEP_TIME_TOLERANCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from effv2_tune.search.workload import BucketTime
    from effv2_tune.study.bucket import BucketKey, DataFacts
    from effv2_tune.study.step_time import StepTime
    from effv2_tune.study.trial import Trial

#: How often a bucket is measured because of a busy machine, or because a trial was faster than it
#: can be.
_MOST_MEASUREMENTS = 4
#: Likewise because trials were slower: most of them are, on a busy machine.
_MOST_FOR_SLOWER = 2
#: Training seconds of a trial below which its bucket is not worth the seconds of a measurement.
_LEAST_SECONDS = 3.0
#: Relative half-width of the interval of a step time that has none.
_UNKNOWN_ERROR = 0.05
#: The least of one that has an interval.
_LEAST_ERROR = 1e-3
#: Standard errors by which two measurements differ, if neither was disturbed.
_MOST_DEVIATIONS = 3.0


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
    known = [one.times for one in trials if one.times.step_median and steps_matter(one, time)]
    if all(one.train < _LEAST_SECONDS for one in known):
        return False
    if not time.is_quiet:
        return True
    fast = (1 - STEP_TIME_TOLERANCE) * time.step_seconds
    if any(one.step_median * one.speed < fast for one in known):
        return True
    slow = (1 + STEP_TIME_TOLERANCE) * time.step_seconds
    return time.measurements < _MOST_FOR_SLOWER and any(
        one.step_least * one.speed > slow for one in known
    )


def next_version(known: BucketTime, measured: StepTime) -> BucketTime:
    """The step time of a bucket after another measurement.

    A quiet measurement replaces those of a busy machine, and counts where a busy one does not
    contradict it. All others are averaged: by their precision, on a logarithmic scale, and with
    the Birge ratio (Birge, Phys. Rev. 40, 1932): if they differ by more than their intervals say,
    the interval of their average is wider by as much. If they differ by far more, one was
    disturbed, and the new one counts: it was taken because trials contradict the other.

    Args:
        known: The version before.
        measured: The new measurement.
    """
    counted = known.model_copy(update={"measurements": known.measurements + 1})
    low = known.step_seconds / (1 + _UNKNOWN_ERROR) if known.low is None else known.low
    high = known.step_seconds * (1 + _UNKNOWN_ERROR) if known.high is None else known.high
    if measured.is_quiet and not known.is_quiet:
        seconds, low, high = measured.seconds, measured.low, measured.high
    elif known.is_quiet and not measured.is_quiet and _overlap((low, high), measured):
        return counted
    else:
        low, seconds, high = _average((low, known.step_seconds, high), measured)
    changes = {"step_seconds": seconds, "low": low, "high": high, "is_quiet": measured.is_quiet}
    return counted.model_copy(update=changes)


def _overlap(known: tuple[float, float], measured: StepTime) -> bool:
    return known[0] <= measured.high and measured.low <= known[1]


def _average(known: tuple[float, float, float], measured: StepTime) -> tuple[float, float, float]:
    """Two step times as one, and its interval.

    Args:
        known: Lower end, value, and upper end.
        measured: The other one.
    """
    both = [known, (measured.low, measured.seconds, measured.high)]
    errors = [max(_LEAST_ERROR, math.log(high / low) / 2) for low, _, high in both]
    logs = [math.log(value) for _, value, _ in both]
    weights = [1 / error**2 for error in errors]
    middle = sum(map(operator.mul, weights, logs)) / sum(weights)
    birge_ratio = Z90 * abs(logs[1] - logs[0]) / math.hypot(*errors)
    if birge_ratio > _MOST_DEVIATIONS:
        return both[1]
    error = max(1.0, birge_ratio) / math.sqrt(sum(weights))
    return math.exp(middle - error), math.exp(middle), math.exp(middle + error)


def with_newest_times(
    trials: Sequence[Trial],
    times: Mapping[str, Sequence[BucketTime]],
    data: DataFacts | None,
) -> list[Trial]:
    """The trials, with the training seconds of the newest step times where these were restated.

    Args:
        trials: As recorded.
        times: The versions of the step time of each bucket, the newest last; by its digest.
        data: Facts of the images; None before the first worker was ready.
    """
    restated = {
        digest: versions[-1]
        for digest, versions in times.items()
        if len({version.step_seconds for version in versions}) > 1
    }
    return _each(_with_newest_time, trials, restated, data)


def with_intervals(
    trials: Sequence[Trial], times: Mapping[str, BucketTime], data: DataFacts | None
) -> list[Trial]:
    """The trials, with the 90 % intervals of their training seconds where these are known.

    Args:
        trials: With the newest step times.
        times: The newest step time of each bucket, by its digest.
        data: As of :func:`with_newest_times`.
    """
    known = {digest: time for digest, time in times.items() if time.low is not None}
    return _each(_with_interval, trials, known, data)


def _each(
    change: Callable[[Trial, BucketTime, int], Trial],
    trials: Sequence[Trial],
    times: Mapping[str, BucketTime],
    data: DataFacts | None,
) -> list[Trial]:
    """Change the trials whose bucket has a time, given their planned steps."""
    if not times or data is None:
        return list(trials)

    def changed(trial: Trial) -> Trial:
        time = None if trial.bucket is None else times.get(_digest(trial.bucket))
        if time is None or trial.bucket is None or trial.recipe is None:
            return trial
        return change(trial, time, planned_steps(trial.recipe, data, trial.bucket.device_count))

    return [changed(trial) for trial in trials]


#: The records are read many times, and a study has few buckets.
@functools.cache
def _digest(bucket: BucketKey) -> str:
    return bucket.digest


def _with_newest_time(trial: Trial, time: BucketTime, steps: int) -> Trial:
    seconds = _seconds(time, time.step_seconds, steps)
    rungs = [rung.model_copy(update={"projected_seconds": seconds}) for rung in trial.rungs]
    changes: dict[str, Any] = {"rungs": tuple(rungs)}
    if trial.measurement is not None:
        measured = trial.measurement.model_copy(update={"train_seconds": seconds})
        changes["measurement"] = measured
    trial = trial.model_copy(update=changes)
    # A duplicate was never trained, and has no step time of its own.
    return with_step_time(trial, time) if trial.times.step_bucket else trial


def _with_interval(trial: Trial, time: BucketTime, steps: int) -> Trial:
    if trial.measurement is None or time.low is None or time.high is None:
        return trial
    ends = {
        "seconds_low": _seconds(time, time.low, steps),
        "seconds_high": _seconds(time, time.high, steps),
    }
    return trial.model_copy(update={"measurement": trial.measurement.model_copy(update=ends)})


def _seconds(time: BucketTime, step_seconds: float, steps: int) -> float:
    return training_seconds(steps, step_seconds, extraction_seconds=time.extraction_seconds)
