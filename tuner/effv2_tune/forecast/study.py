"""The forecast of a whole study: its buckets, its disk, its hours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from effv2_tune.forecast.buckets import buckets_of
from effv2_tune.forecast.cost import SESSION_HOURS, predict_cost, trial_seconds
from effv2_tune.forecast.disk import predict_disk
from effv2_tune.forecast.memory_estimate import image_bytes, image_tier, predict_memory
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
    """What a bucket of a study will take.

    Attributes:
        share: The bucket, and how many of the trials fall into it.
        work: What its step computes, moves and keeps.
        memory: What it is predicted to need.
        time: Of its step; None where nothing is known of the device.
        trial: What a trial takes; likewise.
        timed: Where it was timed, all that is known from there.
    """

    share: BucketShare
    work: Work
    memory: MemoryForecast
    time: StepTime | None
    trial: TrialSeconds | None
    timed: KnownTime | None

    @property
    def fits(self) -> bool:
        """Whether it fits: as it turned out where it was timed, else as predicted."""
        if self.timed is None:
            return self.memory.fits
        return self.timed.step_seconds is not None


@dataclass(frozen=True)
class StudyForecast:
    """What a study will take.

    Attributes:
        target: On which device.
        data: With which images.
        image_bytes: What the images take as stored.
        tier: Where they lie while they are trained on.
        buckets: Each that a trial may fall into, the cheapest first.
        disk: At the worst moment.
        cost: In hours; None where nothing is known of the device.
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
        feature_limit: Bytes that cached features may take together.
        known: Buckets that were timed, by the digest of `times.same_work`.
        session_hours: Length of a session.
    """
    nbytes = image_bytes(data)
    tier = image_tier(nbytes, target, on_disk=on_disk)
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
    buckets.sort(key=lambda one: one.work.train_flops * one.share.key.batch)
    return StudyForecast(
        target=target,
        data=data,
        image_bytes=nbytes,
        tier=tier,
        buckets=tuple(buckets),
        disk=predict_disk(
            plan,
            [(one.share, one.work) for one in buckets],
            data,
            store_bytes=nbytes if on_disk else 0,
            feature_limit=feature_limit,
        ),
        cost=_cost(plan, buckets, target, session_hours),
    )


def _cost(
    plan: StudyPlan, buckets: list[BucketForecast], target: Target, session_hours: float
) -> StudyCost | None:
    # A trial that does not fit is told at once, and takes no time.
    trained = [(one.share, one.trial) for one in buckets if one.fits and one.trial is not None]
    if not trained:
        return None
    starts = [None if one.timed is None else one.timed.start_seconds for one in buckets if one.fits]
    seconds = [start for start in starts if start is not None]
    # Each has a GPU, or its share of the processors; a TPU has one worker.
    side_by_side = 1 if target.kind == "tpu" else plan.workers
    return predict_cost(
        plan,
        trained,
        start_seconds=sum(seconds) if len(seconds) == len(starts) else None,
        side_by_side=side_by_side,
        devices=plan.workers * target.placement.device_count,
        session_hours=session_hours,
    )
