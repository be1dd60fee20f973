"""The record of a trial that is over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from effv2_tune.study.trial import Measurement

if TYPE_CHECKING:
    from datetime import datetime

    from effv2_tune.search.workload import BucketTime
    from effv2_tune.study.recipe import Quality
    from effv2_tune.study.trial import Scores, Trial, TrialState


def ended(trial: Trial, state: TrialState, reason: str) -> Trial:
    """The trial in its last state."""
    return trial.model_copy(update={"state": state, "reason": reason})


def timed(trial: Trial, cost: BucketTime | None) -> Trial:
    """The trial with its bucket's step time beside its own, and a remark where they differ.

    Args:
        trial: As its worker left it.
        cost: What its bucket costs, where it has one.
    """
    if cost is None:
        return trial
    times = trial.times.model_copy(update={"step_bucket": cost.step_seconds})
    share = times.step_excess
    remark = f"its steps took {abs(share):.0%} {'more' if share > 0 else 'less'} than its bucket's"
    notes = (*trial.notes, remark) if times.is_timing_outlier else trial.notes
    return trial.model_copy(update={"times": times, "notes": notes})


def measured(
    trial: Trial,
    scores: Scores,
    selected_epoch: int | None,
    *,
    quality: Quality,
    seconds: float,
) -> Trial:
    """The trial with its measurement.

    Args:
        trial: As its worker left it.
        scores: Of the selected weights.
        selected_epoch: The epoch of those weights.
        quality: Which of the scores the study compares.
        seconds: Training seconds of the standard run.
    """
    changes = {
        "measurement": Measurement(quality=scores.value_of(quality), train_seconds=seconds),
        "scores": scores,
        "selected_epoch": selected_epoch,
    }
    return trial.model_copy(update=changes)


def answered(trial: Trial, twin: Trial, now: datetime) -> Trial:
    """A duplicate with what its twin came to; curve and rungs stay the twin's alone."""
    changes = {
        "number": trial.number,
        "curve": (),
        "rungs": (),
        "attempts": 0,
        "times": trial.times,
        "started": trial.started,
        "ended": now,
        "notes": trial.notes,
    }
    return twin.model_copy(update=changes)
