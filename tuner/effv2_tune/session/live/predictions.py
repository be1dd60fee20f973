"""Predicts the seconds of a study's trials with the figures of ``plan``, from its first worker."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from effv2_tune.forecast.study import forecast_study
from effv2_tune.forecast.target import target_of
from effv2_tune.forecast.times import same_work
from effv2_tune.host import usable_bytes
from effv2_tune.session.known_times import known_times
from effv2_tune.training.features.cache import limit_bytes
from effv2_tune.workers.accelerators import recognise

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from effv2_tune.forecast.times import KnownTime
    from effv2_tune.search.events import WorkerReady
    from effv2_tune.study import StudyPlan
    from effv2_tune.study.bucket import BucketKey

HOUR = 3600.0


@dataclass(frozen=True)
class Prediction:
    """What is predicted of the trials of a study.

    Attributes:
        trial_seconds: Seconds that a trial occupies a worker, on average over the search space: the
            mean of one that is trained to the end and one that is pruned as early as can be. None
            if the device is unknown.
        known: Buckets that were measured on this machine before, by the digest of ``same_work``.
    """

    trial_seconds: float | None = None
    known: Mapping[str, KnownTime] = field(default_factory=dict)

    def start_seconds(self, bucket: BucketKey) -> float | None:
        """Seconds of building and compiling a bucket; None if that was not measured."""
        known = self.known.get(same_work(bucket).digest)
        return None if known is None else known.start_seconds


def predict(plan: StudyPlan, ready: WorkerReady, out: Path) -> Prediction:
    """Predict the trials of a study.

    Args:
        plan: The study.
        ready: Its first worker, with its device and its images.
        out: The study's folder.
    """
    where = ready.environment
    known = known_times(where.backend, threads=where.threads, out=out)
    target = target_of(
        recognise(where.device_kind),
        kind=where.hardware or "cpu",
        backend=where.backend,
        device_kind=where.device_kind,
        count=where.device_count,
        precision=where.precision,
        memory=usable_bytes() / plan.worker_count,
        cores=where.threads,
    )
    cost = forecast_study(
        plan, ready.data, target, on_disk=False, feature_limit=limit_bytes(), known=known
    ).cost
    if cost is None or not cost.trials:
        return Prediction(known=known)
    hours = (cost.hours + cost.fewest_hours) / 2
    return Prediction(hours * HOUR * plan.worker_count / cost.trials, known)


def predict_or_not(plan: StudyPlan, out: Path, ready: WorkerReady) -> Prediction:
    """The same; nothing where it fails, as no error of a forecast may end a study."""
    try:
        return predict(plan, ready, out)
    except Exception:
        return Prediction()
