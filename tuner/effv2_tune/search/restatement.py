"""Restates the step time of a bucket, and the training seconds that follow from it."""

from __future__ import annotations

import functools
import math
import operator
from typing import TYPE_CHECKING, Any

from effv2_tune.pareto import training_seconds
from effv2_tune.pareto.estimates import Z90
from effv2_tune.search.trial_updates import steps_matter, with_step_time
from effv2_tune.search.workload import mean_time
from effv2_tune.study.batches import planned_steps
from effv2_tune.study.step_time import StepTime, speed_error
from effv2_tune.study.trial import STEP_TIME_TOLERANCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from effv2_tune.search.workload import BucketTime
    from effv2_tune.study.bucket import BucketKey, DataFacts
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
#: Relative standard error of the step time of one undisturbed window; and of the wall time that
#: belongs to a second of processor time, where that is another trial's.
_WINDOW_ERROR = 0.05
_BORROWED_ERROR = 0.05
#: A new version is worth its place in the record if the step time changes by this much, or if the
#: interval is so much narrower.
_LEAST_CHANGE = 0.02
_NARROWER = 0.75


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


def with_trials(known: BucketTime, ended: Sequence[Trial], studied: Iterable[Trial]) -> BucketTime:
    """The step time of a bucket, averaged with that of its trials' own steps.

    A trial samples the speed of the machine for longer than a measurement, and some of its windows
    may be undisturbed. Where none is, what counts on a CPU is the processor time of its steps,
    which neighbours change little: in proportion to that of other trials of the bucket or, without
    any, of the variant, the wall time of the undisturbed windows of those. Where few are, the less
    of both: what others used is known to a few percent only, and they never shorten a window.

    Args:
        known: The newest version.
        ended: The trials of the bucket whose training has ended.
        studied: All trials, of which those of the same variant count.

    Returns:
        ``known`` where nothing new matters. A trial that contradicts the others is left out.
    """
    version, borrowed = known, None
    for trial in ended:
        times = trial.times
        is_new = trial.number not in known.trials and steps_matter(trial, known)
        if not is_new or not times.step_work or times.train < _LEAST_SECONDS:
            continue
        if _is_disturbed(trial) and borrowed is None:
            borrowed = _wall_of_work(ended) or _wall_of_work(_of_variant(studied, trial))
        time = _own_step_time(trial, borrowed)
        if time is not None:
            version = _with_trial(version, time, trial.number)
    return version if _matters(known, version) else known


def _of_variant(trials: Iterable[Trial], like: Trial) -> list[Trial]:
    """The trials whose network differs in resolution or batch at most."""
    if like.recipe is None:
        return []
    variant = like.recipe.variant
    return [one for one in trials if one.recipe is not None and one.recipe.variant == variant]


def _is_disturbed(trial: Trial) -> bool:
    """Whether most of a trial's steps were disturbed."""
    quiet = trial.times.step_undisturbed
    return not quiet or trial.times.step_median > (1 + STEP_TIME_TOLERANCE) * quiet


def _wall_of_work(trials: Iterable[Trial]) -> float | None:
    """The wall time of undisturbed steps, relative to the processor time of all steps.

    Neighbours shorten the processor time a little: threads that are not running do not wait for
    each other. So that of undisturbed windows alone would be no measure for a trial without any.
    """
    known = [trial.times for trial in trials]
    known = [times for times in known if times.step_undisturbed and times.step_work]
    if not known:
        return None
    windows = sum(times.undisturbed for times in known)
    logs = (t.undisturbed * math.log(t.step_undisturbed / t.step_work) for t in known)
    return math.exp(sum(logs) / windows)


def _own_step_time(trial: Trial, borrowed: float | None) -> StepTime | None:
    """The step time of a trial's bucket by its own steps; None where these do not tell it.

    Args:
        trial: Trained on a CPU.
        borrowed: The wall time that belongs to processor time, where it was mostly disturbed.
    """
    times = trial.times
    known = []
    if times.step_undisturbed:
        known.append((times.step_undisturbed, _WINDOW_ERROR / math.sqrt(times.undisturbed)))
    if _is_disturbed(trial) and borrowed is not None:
        known.append((times.step_work * borrowed, _BORROWED_ERROR))
    if not known:
        return None
    seconds, seen = min(known)
    seconds *= times.speed
    error = math.exp(Z90 * math.hypot(speed_error(times.train), seen))
    return StepTime(
        seconds=seconds,
        low=seconds / error,
        high=seconds * error,
        is_quiet=bool(times.step_undisturbed),
        reference_seconds=0.0,
    )


def _with_trial(version: BucketTime, time: StepTime, number: int) -> BucketTime:
    """A version that another trial's steps are averaged into, unless they contradict others'."""
    averaged = next_version(version, time)
    if version.trials and version.is_quiet and averaged.step_seconds == time.seconds:
        return version
    counts = {"measurements": version.measurements, "trials": (*version.trials, number)}
    return averaged.model_copy(update=counts)


def _matters(known: BucketTime, version: BucketTime) -> bool:
    """Whether a new version is worth its place in the record."""
    if version.is_quiet and not known.is_quiet:
        return True
    if abs(math.log(version.step_seconds / known.step_seconds)) > _LEAST_CHANGE:
        return True
    return _half_width(version) < _NARROWER * _half_width(known)


def _half_width(time: BucketTime) -> float:
    """Half of the 90 % interval of a step time, relative; infinite where there is none."""
    if time.low is None or time.high is None:
        return math.inf
    return math.log(time.high / time.low) / 2


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
        digest
        for digest, versions in times.items()
        if len({version.step_seconds for version in versions}) > 1
    }
    newest = {digest: versions[-1] for digest, versions in times.items()}
    return _each(_with_newest_time, trials, newest, data, among=restated)


def with_intervals(
    trials: Sequence[Trial], times: Mapping[str, BucketTime], data: DataFacts | None
) -> list[Trial]:
    """The trials, with the 90 % intervals of their training seconds where these are known.

    Args:
        trials: With the newest step times.
        times: The newest step time of each bucket, by its digest.
        data: As of :func:`with_newest_times`.
    """
    known = {digest for digest, time in times.items() if time.low is not None}
    return _each(_with_interval, trials, times, data, among=known)


def _each(
    change: Callable[[Trial, BucketTime, int], Trial],
    trials: Sequence[Trial],
    times: Mapping[str, BucketTime],
    data: DataFacts | None,
    *,
    among: AbstractSet[str],
) -> list[Trial]:
    """Change the trials of some buckets, given their step time and their planned steps.

    Args:
        change: Returns the changed trial.
        trials: All of them.
        times: Of each bucket, by its digest.
        data: Facts of the images.
        among: Digests; a trial is changed if any of its stages is of one of these buckets.
    """
    if not among or data is None:
        return list(trials)

    def changed(trial: Trial) -> Trial:
        digests = [_digest(bucket) for bucket in trial.buckets]
        known = [times[digest] for digest in digests if digest in times]
        is_meant = any(digest in among for digest in digests)
        if (
            not is_meant
            or len(known) < len(digests)
            or trial.bucket is None
            or trial.recipe is None
        ):
            return trial
        time = mean_time(known, trial.recipe.stage_epochs)
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
