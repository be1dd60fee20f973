"""Estimates how long a study will still take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

#: The prediction of ``plan`` counts as much as so many trials of this study.
_WEIGHT_OF_PLAN = 2.0


@dataclass(frozen=True)
class Progress:
    """How far a run of a study is.

    Attributes:
        trials_left: That are not begun or still running; None where trials do not limit it.
        budget_left: Seconds of its ``hours`` or ``accelerator_hours``; None where they do not
            limit it.
        workers: That train at the same time.
        running: Seconds since each running trial began in this run.
        ended: Seconds that each trial that ended in this run took.
    """

    trials_left: int | None
    budget_left: float | None
    workers: int
    running: tuple[float, ...] = ()
    ended: tuple[float, ...] = ()


def seconds_left(progress: Progress, predicted: float | None) -> float | None:
    """Seconds until the budget of a study is spent.

    A trial takes the mean of what those of this run took and what was predicted; so the estimate
    is plan's at first, and that of the machine at hand soon after.

    Args:
        progress: How far it is.
        predicted: Seconds that a trial occupies a worker, by the figures of ``plan``; None where
            there are none.

    Returns:
        None where neither is known, or the study ends by what its trials bring.
    """
    limits = [] if progress.budget_left is None else [max(progress.budget_left, 0.0)]
    each = _seconds_each(progress.ended, predicted)
    if progress.trials_left is not None and each is not None:
        spent = sum(min(seconds, each) for seconds in progress.running)
        work = max(each * progress.trials_left - spent, 0.0)
        parallel = max(min(progress.workers, progress.trials_left), 1)
        limits.append(work / parallel)
    return min(limits, default=None)


def _seconds_each(ended: Iterable[float], predicted: float | None) -> float | None:
    """The mean seconds of a trial, of those that ended and of the prediction."""
    measured = list(ended)
    weight = 0.0 if predicted is None else _WEIGHT_OF_PLAN
    if not measured and not weight:
        return None
    return (weight * (predicted or 0.0) + sum(measured)) / (weight + len(measured))
