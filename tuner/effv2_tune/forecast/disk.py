"""Predicts the peak disk usage of a study."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from effv2_tune.forecast.memory_estimate import feature_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from effv2_tune.forecast.buckets import BucketShare
    from effv2_tune.forecast.work import Work
    from effv2_tune.study.bucket import DataFacts
    from effv2_tune.study.plan import StudyPlan

#: Two are kept, and a third is written before the oldest is removed.
_CHECKPOINTS = 3
_KEPT = 2
#: A trial's record, its rows in Optuna's tables and the copy of the database; an epoch of its
#: curve. Measured on studies of this tool.
_TRIAL_BYTES = 20_000
_EPOCH_BYTES = 1_000
_COPIES = 2
#: Assumed number of trials of a study without a limit on trials.
UNLIMITED_TRIALS = 100


@dataclass(frozen=True)
class DiskForecast:
    """Peak bytes on disk, by purpose.

    Attributes:
        checkpoints: Of concurrent trials, for the largest network.
        paused: Checkpoints of paused trials, if all trials were paused at once.
        kept_weights: Selected weights of finished trials, according to ``keep:``.
        database: Trials, their curves, the events, and the copy of the database.
        features: Of frozen backbones, in the cache.
        store: Decoded images, in the cache.
        front: Number of trials whose weights are kept.
    """

    checkpoints: float
    paused: float
    kept_weights: float
    database: float
    features: float
    store: float
    front: int

    @property
    def out(self) -> float:
        """Bytes in the study's folder."""
        return self.checkpoints + self.paused + self.kept_weights + self.database

    @property
    def cache(self) -> float:
        """Bytes in the user's cache."""
        return self.features + self.store

    @property
    def total(self) -> float:
        """All bytes."""
        return self.out + self.cache


def predict_disk(
    plan: StudyPlan,
    buckets: Sequence[tuple[BucketShare, Work]],
    data: DataFacts,
    *,
    store_bytes: int,
    feature_limit: int,
) -> DiskForecast:
    """Predict the peak disk usage of a study.

    Args:
        plan: The study.
        buckets: Its buckets, each with its work.
        data: Its images.
        store_bytes: Of its images decoded to disk.
        feature_limit: Size limit of all cached features.
    """
    trials = plan.trials or UNLIMITED_TRIALS
    selects = {share.recipe.select for share, _ in buckets}
    is_larger = selects != {"last"}
    sizes = [
        (share.share, work.checkpoint_bytes + is_larger * work.weight_bytes)
        for share, work in buckets
    ]
    largest = max(size for _, size in sizes)
    mean = sum(share * size for share, size in sizes)
    mean_weights = sum(share.share * work.weight_bytes for share, work in buckets)
    mean_epochs = sum(share.share * share.epochs for share, _ in buckets)
    kept = kept_trials(plan.keep, trials)
    sets: dict[tuple[str | int, ...], int] = {}
    for share, work in buckets:
        if work.caches_features:
            most = max(sets.get(share.features, 0), feature_bytes(work, data))
            sets[share.features] = most
    return DiskForecast(
        checkpoints=min(plan.worker_count, trials) * _CHECKPOINTS * largest,
        paused=max(0, trials - plan.worker_count) * _KEPT * mean if plan.pauses else 0.0,
        kept_weights=kept * mean_weights,
        database=_COPIES * trials * (_TRIAL_BYTES + mean_epochs * _EPOCH_BYTES),
        features=min(sum(sets.values()), feature_limit),
        store=store_bytes,
        front=kept,
    )


def kept_trials(keep: str, trials: int) -> int:
    """The number of trials whose weights are kept.

    Of ``trials`` independent random points in two objectives, 1 + 1/2 + ... + 1/trials are on the
    Pareto front on average (Barndorff-Nielsen and Sobel 1966). Quality and time of a study are
    correlated: longer training improves quality. Hence three times that.
    """
    if keep == "none":
        return 0
    if keep == "all":
        return trials
    return min(trials, round(3 * sum(1 / count for count in range(1, trials + 1))))
