"""The record of a trial that is over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from effv2_tune.study.trial import Measurement

if TYPE_CHECKING:
    from datetime import datetime

    from effv2_tune.search.workload import BucketTime
    from effv2_tune.study.recipe import Quality
    from effv2_tune.study.trial import Scores, Times, Trial, TrialState

#: A trial's own step time may differ from its bucket's by this share without a remark.
STRAYING = 0.1


def ended(trial: Trial, state: TrialState, reason: str) -> Trial:
    """The trial in its last state."""
    return trial.model_copy(update={"state": state, "reason": reason})


def measured(
    trial: Trial,
    scores: Scores,
    selected_epoch: int | None,
    *,
    quality: Quality,
    seconds: float,
    cost: BucketTime | None,
) -> Trial:
    """The trial with its measurement.

    Args:
        trial: As its worker left it.
        scores: Of the selected weights.
        selected_epoch: The epoch of those weights.
        quality: Which of the scores the study compares.
        seconds: Training seconds of the standard run.
        cost: What its bucket costs, where it has one.
    """
    times = trial.times
    if cost is not None:
        times = times.model_copy(update={"step_bucket": cost.step_seconds})
    changes = {
        "measurement": Measurement(quality=float(getattr(scores, quality)), train_seconds=seconds),
        "scores": scores,
        "selected_epoch": selected_epoch,
        "times": times,
        "notes": (*trial.notes, *_remarks(times)),
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


def _remarks(times: Times) -> tuple[str, ...]:
    if times.step_bucket <= 0 or times.step_median <= 0:
        return ()
    share = times.step_median / times.step_bucket - 1
    if abs(share) <= STRAYING:
        return ()
    return (f"its steps took {abs(share):.0%} {'more' if share > 0 else 'less'} than its bucket's",)
