"""Predicts buckets, memory, disk usage and hours of a whole study."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from effv2_tune.forecast.alternatives import Misfit
from effv2_tune.forecast.buckets import buckets_of
from effv2_tune.forecast.compiled import compiled_forecast
from effv2_tune.forecast.cost import SESSION_HOURS, predict_cost, trial_seconds
from effv2_tune.forecast.disk import UNLIMITED_TRIALS, predict_disk
from effv2_tune.forecast.memory_estimate import (
    image_bytes,
    image_tier,
    predict_memory,
    resident_bytes,
)
from effv2_tune.forecast.placement import placement_cost
from effv2_tune.forecast.times import same_work, step_times
from effv2_tune.forecast.work import work_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from effv2_tune.forecast.alternatives import Alternatives
    from effv2_tune.forecast.buckets import BucketShare
    from effv2_tune.forecast.compiled import CompiledForecast
    from effv2_tune.forecast.cost import StudyCost, TrialSeconds
    from effv2_tune.forecast.disk import DiskForecast
    from effv2_tune.forecast.memory_estimate import MemoryForecast, Tier
    from effv2_tune.forecast.target import Target
    from effv2_tune.forecast.times import KnownTime, StepTime
    from effv2_tune.forecast.work import Work
    from effv2_tune.study.bucket import BucketKey, DataFacts
    from effv2_tune.study.plan import StudyPlan
    from effv2_tune.workers.compilations import Compilation


@dataclass(frozen=True)
class TargetForecast:
    """The forecast of a bucket on the target, where its trials are trained on fewer devices.

    Attributes:
        key: The bucket on the target.
        fits: Whether it fits there: as measured, else as predicted.
        time: Of its step; None if the device is unknown.
        trial: Times of a trial there; likewise.
    """

    key: BucketKey
    fits: bool
    time: StepTime | None
    trial: TrialSeconds | None


@dataclass(frozen=True)
class BucketForecast:
    """The forecast of a bucket.

    Attributes:
        share: The bucket, and its fraction of the trials.
        work: FLOPs, activations and parameters of its step.
        memory: Predicted.
        time: Of its step; None if the device is unknown.
        trial: Times of a trial; likewise.
        timed: Its measurement, if there is one.
        target: On the target; None where its trials are trained there.
        compiled: What the device's compiler made of it, if it was compiled.
        alternatives: What is predicted to fit in its place; None if it fits.
    """

    share: BucketShare
    work: Work
    memory: MemoryForecast
    time: StepTime | None
    trial: TrialSeconds | None
    timed: KnownTime | None
    target: TargetForecast | None = None
    compiled: CompiledForecast | None = None
    alternatives: Alternatives | None = None

    @property
    def is_large(self) -> bool:
        """Whether it fits the target alone, which trains its trials one after another."""
        return not self.fits and self.target is not None and self.target.fits

    @property
    def fits(self) -> bool:
        """Whether it fits: as measured, else as compiled, else as predicted."""
        if self.timed is not None:
            return self.timed.step_seconds is not None
        return self.memory.fits if self.compiled is None else self.compiled.fits

    @property
    def needed_memory(self) -> float:
        """Bytes of one device: as measured, else as compiled, else as predicted."""
        if self.timed is not None and self.timed.memory_bytes is not None:
            return self.timed.memory_bytes
        return self.memory.total if self.compiled is None else self.compiled.memory

    @property
    def train_flops(self) -> float:
        """Operations of one image's training step: as compiled, else as counted."""
        compiled = None if self.compiled is None else self.compiled.flops
        return self.work.train_flops if compiled is None else compiled


@dataclass(frozen=True)
class StudyForecast:
    """The forecast of a study.

    Attributes:
        target: The device.
        data: The images.
        image_bytes: Of all images as stored.
        tier: Where they are stored during training.
        buckets: All buckets of its trials, the cheapest first.
        disk: Peak usage.
        cost: In hours; None if the device is unknown.
        final: The target, where trials are trained on fewer devices.
    """

    target: Target
    data: DataFacts
    image_bytes: int
    tier: Tier
    buckets: tuple[BucketForecast, ...]
    disk: DiskForecast
    cost: StudyCost | None
    final: Target | None = None


def forecast_study(
    plan: StudyPlan,
    data: DataFacts,
    target: Target,
    *,
    on_disk: bool,
    feature_limit: int,
    known: Mapping[str, KnownTime] | None = None,
    compiled: Mapping[str, Compilation] | None = None,
    session_hours: float = SESSION_HOURS,
    final: Target | None = None,
    devices: int | None = None,
) -> StudyForecast:
    """Forecast a study.

    Args:
        plan: The study.
        data: Its images.
        target: The devices of a worker.
        on_disk: Whether the images were decoded into a store on disk.
        feature_limit: Size limit of all cached features.
        known: Measured buckets, by the digest of `times.same_work`.
        compiled: Compiled buckets, by the digest of their key.
        session_hours: Length of a session.
        final: The target of the study, where that is another placement.
        devices: Of the machine; those of all workers if left out.
    """
    nbytes = image_bytes(data)
    tier = image_tier(resident_bytes(data, target), target, on_disk=on_disk)
    shares = buckets_of(plan, data, target.placement)
    known = known or {}
    works = [work_of(share.key) for share in shares]
    times = step_times(
        [(share.key, work) for share, work in zip(shares, works, strict=True)],
        target,
        known,
        images=data.train,
    )
    on_target: list[TargetForecast] | list[None] = [None] * len(shares)
    if final is not None:
        on_target = _on_target(shares, works, final, data, known=known, tier=tier)
    compiled = compiled or {}
    machine = devices or plan.worker_count * target.placement.device_count
    buckets = []
    for share, work, time, there in zip(shares, works, times, on_target, strict=True):
        bucket = BucketForecast(
            share=share,
            work=work,
            memory=predict_memory(work, share.key, target, data, tier=tier),
            time=time,
            trial=None if time is None else trial_seconds(share, work, time, data),
            timed=known.get(same_work(share.key).digest),
            target=there,
        )
        bucket = _compiled(bucket, compiled.get(share.key.digest), target, data, tier=tier)
        if not bucket.fits:
            bucket = _with_alternatives(bucket, target, data, tier=tier, machine=machine)
        buckets.append(bucket)
    buckets.sort(key=lambda bucket: bucket.work.train_flops * bucket.share.key.batch)
    return StudyForecast(
        target=target,
        data=data,
        image_bytes=nbytes,
        tier=tier,
        buckets=tuple(buckets),
        disk=predict_disk(
            plan,
            [(bucket.share, bucket.work) for bucket in buckets],
            data,
            store_bytes=nbytes if on_disk else 0,
            feature_limit=feature_limit,
        ),
        cost=_cost(plan, buckets, target, session_hours),
        final=final,
    )


def _compiled(
    bucket: BucketForecast,
    compilation: Compilation | None,
    target: Target,
    data: DataFacts,
    *,
    tier: Tier,
) -> BucketForecast:
    """A bucket with what its compiler made of it, if it was compiled."""
    if compilation is None:
        return bucket
    found = compiled_forecast(
        compilation, key=bucket.share.key, work=bucket.work, data=data, tier=tier, target=target
    )
    return replace(bucket, compiled=found)


def _with_alternatives(
    bucket: BucketForecast, target: Target, data: DataFacts, *, tier: Tier, machine: int
) -> BucketForecast:
    """A bucket that does not fit, with what would."""
    key, there = bucket.share.key, bucket.target
    misfit = Misfit(
        key=key,
        target=target,
        data=data,
        tier=tier,
        machine=machine,
        divisor=max(key.device_count, 1 if there is None else there.key.device_count),
        known=None if bucket.compiled is None else bucket.compiled.known_memory,
    )
    return replace(bucket, alternatives=misfit.alternatives())


def _on_target(
    shares: Sequence[BucketShare],
    works: Sequence[Work],
    final: Target,
    data: DataFacts,
    *,
    known: Mapping[str, KnownTime],
    tier: Tier,
) -> list[TargetForecast]:
    """The buckets on the target, in the same order."""
    count = final.placement.device_count
    keys = [share.key.model_copy(update={"device_count": count}) for share in shares]
    times = step_times(list(zip(keys, works, strict=True)), final, known, images=data.train)
    timed = [known.get(same_work(key).digest) for key in keys]
    return [
        TargetForecast(
            key,
            predict_memory(work, key, final, data, tier=tier).fits
            if one is None
            else one.step_seconds is not None,
            time,
            None if time is None else trial_seconds(share, work, time, data),
        )
        for share, work, key, time, one in zip(shares, works, keys, times, timed, strict=True)
    ]


def _seconds_in_study(bucket: BucketForecast, workers: int) -> TrialSeconds | None:
    """Times of a trial, as of one of so many side by side; None where it is not trained."""
    if bucket.fits:
        return bucket.trial
    if not bucket.is_large or bucket.target is None or bucket.target.trial is None:
        return None  # it fails at once
    # While it is trained on the target, no worker trains.
    trial = bucket.target.trial
    return replace(trial, epoch=workers * trial.epoch, evaluation=workers * trial.evaluation)


def _cost(
    plan: StudyPlan, buckets: list[BucketForecast], target: Target, session_hours: float
) -> StudyCost | None:
    seconds_of = [(one, _seconds_in_study(one, plan.worker_count)) for one in buckets]
    fitting = [one for one, seconds in seconds_of if one.fits or seconds is not None]
    trained = [(one.share, seconds) for one, seconds in seconds_of if seconds is not None]
    if not trained:
        return None
    placement = None
    if any(one.target is not None for one in fitting):
        placement = placement_cost(
            [(one.share.share, one.is_large) for one in fitting],
            trials=UNLIMITED_TRIALS if plan.trials is None else plan.trials,
            workers=plan.worker_count,
        )
    starts = [None if bucket.timed is None else bucket.timed.start_seconds for bucket in fitting]
    seconds = [start for start in starts if start is not None]
    return predict_cost(
        plan,
        trained,
        start_seconds=sum(seconds) if len(seconds) == len(starts) else None,
        # Each worker has devices of its own, or its share of the processors.
        parallel_trials=plan.worker_count,
        devices=plan.worker_count * target.placement.device_count,
        session_hours=session_hours,
        placement=placement,
    )
