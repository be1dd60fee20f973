"""Predicts how often a study changes between its workers and the target, at which cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from effv2_tune.study.plan import TARGET_WAIT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Collection

#: Of one bucket on the target, beside compiling it: about three seconds of windows
#: (`training.step_timing`) and the steps before.
_TIMING_SECONDS = 5.0
#: From the end of some workers to the start of others: they open the devices, map the images, and
#: load what they have compiled before. Assumed.
_CHANGE_SECONDS = 30.0


@dataclass(frozen=True)
class PlacementCost:
    """What the target costs a study whose trials are trained on fewer devices.

    Attributes:
        expected: Buckets that are timed before the first trial.
        unexpected: Buckets with less than one trial by expectation, of which this many are drawn.
        waiting: Trials that wait for the target: those that fit nowhere else, and the first one of
            each unexpected bucket.
        trials: Of the whole study.
        workers: That train trials side by side.
    """

    expected: int
    unexpected: float
    waiting: float
    trials: int
    workers: int

    @property
    def first_seconds(self) -> float:
        """Before the first trial: two changes, and the timing of the expected buckets."""
        return 2 * _CHANGE_SECONDS + _TIMING_SECONDS * self.expected

    def changes_each(self, seconds: float) -> float:
        """Changes for each trial after those before the first one.

        Trials wait until as many do as there are workers, until the first of them has waited for
        half an hour (`search.placement.target_work`), or until nothing else is left. All are then
        served between two changes.

        Args:
            seconds: Of the study for a trial: the mean time of one, divided by the workers.
        """
        if not self.waiting:
            return 0.0
        others = self.workers - 1.0
        if seconds:
            arrivals = self.waiting / self.trials / seconds
            others = min(others, TARGET_WAIT_SECONDS * arrivals)
        served = max(self.waiting / (1 + others), min(self.waiting, 1.0))
        return 2 * served / self.trials

    def seconds_each(self, seconds: float) -> float:
        """Seconds of the study for each trial: its changes, and the timing of unexpected buckets.

        Args:
            seconds: As of `changes_each`.
        """
        timing = _TIMING_SECONDS * self.unexpected / self.trials
        return _CHANGE_SECONDS * self.changes_each(seconds) + timing


def placement_cost(
    shares: Collection[tuple[float, bool]], *, trials: int, workers: int
) -> PlacementCost:
    """What the target costs a study.

    Args:
        shares: Of each bucket that fits somewhere: its fraction of the trials, from 0 to 1, and
            whether it fits the target alone.
        trials: Of the whole study.
        workers: That train trials side by side.
    """
    rare = [(share, is_large) for share, is_large in shares if share * trials < 1]
    drawn = [(1 - (1 - share) ** trials, is_large) for share, is_large in rare]
    return PlacementCost(
        expected=len(shares) - len(rare),
        unexpected=sum(probability for probability, _ in drawn),
        waiting=trials * sum(share for share, is_large in shares if is_large)
        + sum(probability for probability, is_large in drawn if not is_large),
        trials=trials,
        workers=workers,
    )
