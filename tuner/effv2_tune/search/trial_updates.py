"""Updates the record of a trial when it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from effv2_tune.study.trial import LEAST_STEP_SHARE

if TYPE_CHECKING:
    from datetime import datetime

    from effv2_tune.search.workload import BucketTime
    from effv2_tune.study.trial import Trial, TrialState


_OUTLIER_NOTE = "its steps took"


def with_state(trial: Trial, state: TrialState, reason: str) -> Trial:
    """The trial in its last state."""
    return trial.model_copy(update={"state": state, "reason": reason})


def with_step_time(trial: Trial, cost: BucketTime | None) -> Trial:
    """The trial with its bucket's step time, and a note where its own is an outlier.

    Args:
        trial: At the end of its training.
        cost: Of its bucket, where it has one.
    """
    if cost is None:
        return trial
    times = trial.times.model_copy(update={"step_bucket": cost.step_seconds})
    excess = times.step_excess
    notes = tuple(note for note in trial.notes if not note.startswith(_OUTLIER_NOTE))
    if times.is_timing_outlier and steps_matter(trial, cost):
        amount = f"{abs(excess):.0%} {'more' if excess > 0 else 'less'}"
        notes = (*notes, f"{_OUTLIER_NOTE} {amount} than its bucket's")
    return trial.model_copy(update={"times": times, "notes": notes})


def steps_matter(trial: Trial, cost: BucketTime) -> bool:
    """Whether the steps, and not a frozen backbone's extraction, make the training time."""
    steps = trial.times.train
    return steps >= LEAST_STEP_SHARE * (steps + cost.extraction_seconds)


def as_duplicate(trial: Trial, original: Trial, now: datetime) -> Trial:
    """A duplicate with the outcome of the original trial, but not its curve and rungs."""
    changes = {
        "number": trial.number,
        "curve": (),
        "rungs": (),
        "rung_times": (),
        "pause": None,
        "attempts": 0,
        "times": trial.times,
        "started": trial.started,
        "ended": now,
        "notes": trial.notes,
        "retry_of": trial.retry_of,
    }
    return original.model_copy(update=changes)
