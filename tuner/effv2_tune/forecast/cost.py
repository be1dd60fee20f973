"""Predicts the hours of a study, and the number of sessions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from effv2_tune.forecast.disk import UNLIMITED_TRIALS
from effv2_tune.forecast.memory_estimate import feature_rows
from effv2_tune.pareto import training_seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from effv2_tune.forecast.buckets import BucketShare
    from effv2_tune.forecast.placement import PlacementCost
    from effv2_tune.forecast.times import StepTime
    from effv2_tune.forecast.work import Work
    from effv2_tune.study.bucket import DataFacts
    from effv2_tune.study.plan import ConfirmSpec, StudyPlan

HOUR = 3600.0
#: Length of a session on Kaggle (9 hours with a TPU; docs/plan.md).
SESSION_HOURS = 9.0


@dataclass(frozen=True)
class TrialSeconds:
    """Average times of a trial of a bucket, in seconds.

    Attributes:
        epoch: Training steps of an epoch.
        evaluation: The validation pass after an epoch.
        extraction: One pass of a frozen backbone over all views of the training images; 0 for any
            other.
        extraction_once: The same with the validation images: only its first trial waits for it.
        whole: ``train_seconds``: steps of one training, and the extraction.
        epochs: Of one training.
        fewest_epochs: Of all trainings of a trial, if halving prunes as many as it can at every
            rung.
        trainings: Of a trial that is not pruned: one for each fold.
    """

    epoch: float
    evaluation: float
    extraction: float
    extraction_once: float
    whole: float
    epochs: float
    fewest_epochs: float
    trainings: int = 1

    @property
    def longest(self) -> float:
        """Seconds that the trial occupies a worker if it is trained to the end."""
        return self.trainings * self.epochs * (self.epoch + self.evaluation)

    @property
    def shortest(self) -> float:
        """Likewise if halving prunes as many as it can."""
        return self.fewest_epochs * (self.epoch + self.evaluation)


@dataclass(frozen=True)
class StudyCost:
    """The cost of a study.

    Attributes:
        trials: Their number, if all are trained to the end.
        hours: If every trial is trained to the end; never above the study's own limits of time.
        fewest_hours: If halving prunes as many as it can.
        device_hours: ``hours`` times the number of devices.
        start_hours: Of ``hours``, building and compiling; None if that was not measured.
        timing_hours: Of ``hours``, timing buckets on the target while nothing else runs, and
            changing between it and the workers; 0 where trials are timed where they are trained.
        placement_changes: How often the study changes between them, those before the first trial
            included.
        confirm_hours: Beyond ``hours``, confirming the picks (``search: confirm``): at most, as it
            ends once they are clear. Sessions are counted with it.
        limited_by: What ends the study: ``trials``, ``hours``, ``accelerator_hours``, or
            ``stop_when``, for which ``trials`` is an assumption.
        sessions: Of ``session_hours``, for ``hours``.
        fewest_sessions: Likewise for ``fewest_hours``.
        session_hours: As given.
    """

    trials: int
    hours: float
    fewest_hours: float
    device_hours: float
    start_hours: float | None
    limited_by: str
    sessions: int
    fewest_sessions: int
    session_hours: float
    timing_hours: float = 0.0
    placement_changes: float = 0.0
    confirm_hours: float = 0.0

    @property
    def trials_per_hour(self) -> float:
        """How many trials are trained to the end in an hour."""
        return self.trials / self.hours if self.hours else 0.0


def trial_seconds(share: BucketShare, work: Work, time: StepTime, data: DataFacts) -> TrialSeconds:
    """Average times of a trial of a bucket."""
    batch = share.key.batch
    evaluated = math.ceil(data.validation / batch) * batch
    extraction = time.extraction_seconds * work.feature_views * data.train
    rows = feature_rows(work, data)
    epoch = share.epoch_steps * time.step_seconds
    return TrialSeconds(
        epoch=epoch,
        evaluation=work.evaluated_views * evaluated * time.evaluation_seconds,
        extraction=extraction,
        extraction_once=time.extraction_seconds * (rows["train"] + rows["validation"]),
        whole=training_seconds(1, share.epochs * epoch, extraction_seconds=extraction),
        epochs=share.epochs,
        fewest_epochs=share.fewest_epochs,
        trainings=data.folds,
    )


def predict_cost(
    plan: StudyPlan,
    buckets: Sequence[tuple[BucketShare, TrialSeconds]],
    *,
    start_seconds: float | None,
    parallel_trials: int,
    devices: int,
    session_hours: float = SESSION_HOURS,
    placement: PlacementCost | None = None,
) -> StudyCost:
    """Predict the cost of a study: the expectation over its search space.

    Args:
        plan: The study.
        buckets: Its buckets, each with the times of a trial.
        start_seconds: Building and compiling all of them once; None if that was not measured.
        parallel_trials: Trials trained at the same time, each at full speed.
        devices: Their number.
        session_hours: Length of a session.
        placement: Of the target; None where trials are trained there.
    """
    total = sum(share.share for share, _ in buckets)
    longest = sum(share.share * trial.longest for share, trial in buckets) / total
    shortest = sum(share.share * trial.shortest for share, trial in buckets) / total
    # Of the study for a trial: trained to the end, and pruned as early as can be.
    full_each, fewest_each = longest / parallel_trials, shortest / parallel_trials
    changes_each = timing_each = first_seconds = 0.0
    if placement is not None:
        first_seconds = placement.first_seconds
        changes_each = placement.changes_each(full_each)
        timing_each = placement.seconds_each(full_each)
        full_each += timing_each
        fewest_each += placement.seconds_each(fewest_each)
    sets: dict[tuple[str | int, ...], float] = {}
    for share, trial in buckets:
        sets[share.features] = max(sets.get(share.features, 0.0), trial.extraction_once)
    once = sum(sets.values()) + (start_seconds or 0.0) + first_seconds
    limit_name, limit = _time_limit(plan, devices)
    trials, counted_by = plan.trials, "trials"
    if trials is None and math.isinf(limit):
        trials, counted_by = UNLIMITED_TRIALS, "stop_when"
    full = fewest = limit
    if trials is not None:
        full = (once + trials * full_each) / HOUR
        fewest = (once + trials * fewest_each) / HOUR
    if full >= limit:
        trials = int(max(limit * HOUR - once, 0.0) / full_each)
    hours = min(full, limit)
    fewest_hours = min(fewest, limit)
    trials = trials or 0
    confirm_hours = _confirm_hours(plan.search.confirm, trials, full_each / HOUR)
    return StudyCost(
        trials=trials,
        hours=hours,
        fewest_hours=fewest_hours,
        device_hours=hours * devices,
        start_hours=None if start_seconds is None else start_seconds / HOUR,
        limited_by=counted_by if full < limit else limit_name,
        sessions=count_sessions(hours + confirm_hours, session_hours),
        fewest_sessions=count_sessions(fewest_hours, session_hours),
        session_hours=session_hours,
        timing_hours=(first_seconds + trials * timing_each) / HOUR,
        placement_changes=0.0 if placement is None else 2 + trials * changes_each,
        confirm_hours=confirm_hours,
    )


def _time_limit(plan: StudyPlan, devices: int) -> tuple[str, float]:
    """The limit of time that ends a study first, and its hours; infinite without any."""
    limits = [("hours", plan.hours)]
    if plan.accelerator_hours is not None:
        limits.append(("accelerator_hours", plan.accelerator_hours / devices))
    return min(
        ((name, hours) for name, hours in limits if hours is not None),
        key=lambda limit: limit[1],
        default=("", math.inf),
    )


def _confirm_hours(spec: ConfirmSpec | None, trials: int, training_hours: float) -> float:
    """The most that replicates can take, after so many trials that each take that long."""
    if spec is None:
        return 0.0
    hours = math.inf if spec.hours is None else spec.hours
    if spec.trials is not None:
        return min(hours, spec.trials * training_hours)
    return trials * training_hours if math.isinf(hours) else hours


def count_sessions(hours: float, session_hours: float) -> int:
    """The number of sessions of a length for so many hours; at least one."""
    return max(1, math.ceil(hours / session_hours))
