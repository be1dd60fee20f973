"""Predicts buckets, memory, disk usage and hours of a whole study."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from effv2_tune.forecast.buckets import buckets_of
from effv2_tune.forecast.cost import SESSION_HOURS, predict_cost, trial_seconds
from effv2_tune.forecast.disk import predict_disk
from effv2_tune.forecast.memory_estimate import (
    image_bytes,
    image_tier,
    predict_memory,
    resident_bytes,
)
from effv2_tune.forecast.times import same_work, step_times
from effv2_tune.forecast.work import work_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from effv2_tune.forecast.buckets import BucketShare
    from effv2_tune.forecast.cost import StudyCost, TrialSeconds
    from effv2_tune.forecast.disk import DiskForecast
    from effv2_tune.forecast.memory_estimate import MemoryForecast, Tier
    from effv2_tune.forecast.target import Target
    from effv2_tune.forecast.times import KnownTime, StepTime
    from effv2_tune.forecast.work import Work
    from effv2_tune.study.bucket import DataFacts
    from effv2_tune.study.plan import StudyPlan


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
    """

    share: BucketShare
    work: Work
    memory: MemoryForecast
    time: StepTime | None
    trial: TrialSeconds | None
    timed: KnownTime | None

    @property
    def fits(self) -> bool:
        """Whether it fits: as measured, else as predicted."""
        if self.timed is None:
            return self.memory.fits
        return self.timed.step_seconds is not None


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
    """

    target: Target
    data: DataFacts
    image_bytes: int
    tier: Tier
    buckets: tuple[BucketForecast, ...]
    disk: DiskForecast
    cost: StudyCost | None


def forecast_study(
    plan: StudyPlan,
    data: DataFacts,
    target: Target,
    *,
    on_disk: bool,
    feature_limit: int,
    known: Mapping[str, KnownTime] | None = None,
    session_hours: float = SESSION_HOURS,
) -> StudyForecast:
    """Forecast a study.

    Args:
        plan: The study.
        data: Its images.
        target: The device.
        on_disk: Whether the images were decoded into a store on disk.
        feature_limit: Size limit of all cached features.
        known: Measured buckets, by the digest of `times.same_work`.
        session_hours: Length of a session.
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
    buckets = [
        BucketForecast(
            share=share,
            work=work,
            memory=predict_memory(work, share.key, target, data, tier=tier),
            time=time,
            trial=None if time is None else trial_seconds(share, work, time, data),
            timed=known.get(same_work(share.key).digest),
        )
        for share, work, time in zip(shares, works, times, strict=True)
    ]
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
    )


def _cost(
    plan: StudyPlan, buckets: list[BucketForecast], target: Target, session_hours: float
) -> StudyCost | None:
    # A trial that does not fit fails at once, and takes no time.
    fitting = [bucket for bucket in buckets if bucket.fits]
    trained = [(bucket.share, bucket.trial) for bucket in fitting if bucket.trial is not None]
    if not trained:
        return None
    starts = [None if bucket.timed is None else bucket.timed.start_seconds for bucket in fitting]
    seconds = [start for start in starts if start is not None]
    # Each worker has one GPU, or its share of the processors; a TPU has one worker.
    parallel_trials = 1 if target.kind == "tpu" else plan.workers
    return predict_cost(
        plan,
        trained,
        start_seconds=sum(seconds) if len(seconds) == len(starts) else None,
        parallel_trials=parallel_trials,
        devices=plan.workers * target.placement.device_count,
        session_hours=session_hours,
    )
