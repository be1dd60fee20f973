"""Follows the growth of the Pareto front over the trials of a search, without its noise.

The definitions that a study's ``stop_when`` and its report share.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from effv2_tune.pareto.estimates import standard_error_of
from effv2_tune.pareto.front import dominates
from effv2_tune.pareto.hypervolume import front_reference, hypervolume
from effv2_tune.pareto.objective import ACCURACY, Objective

if TYPE_CHECKING:
    from collections.abc import Sequence

    from effv2_tune.study.recipe import Quality
    from effv2_tune.study.trial import Measurement, Trial


@dataclass(frozen=True)
class Outcome:
    """The objectives of a complete trial, with the noise of its quality.

    Attributes:
        measurement: Quality and training seconds.
        standard_error: Of the quality; 0 where it is unknown.
    """

    measurement: Measurement
    standard_error: float = 0.0


@dataclass(frozen=True)
class FrontGrowth:
    """How the front grew over the finished trials of a search.

    Attributes:
        is_new_point: Whether each trial added a point to the front, [n].
        shares: The hypervolume after each trial as a share of that after the last one, [n]; 0
            before the first complete trial.
        reference: The reference point of all of them; None before the first complete trial.
    """

    is_new_point: tuple[bool, ...]
    shares: tuple[float, ...]
    reference: Measurement | None

    def added_by_last(self, trials: int) -> float:
        """The share of the present hypervolume that the last ``trials`` added, from 0 to 1."""
        before = len(self.shares) - trials
        return 1.0 - self.shares[before - 1] if before > 0 else 1.0

    @property
    def since_new_point(self) -> int | None:
        """How many trials ended after the last that added a point; None where none has."""
        if not any(self.is_new_point):
            return None
        return self.is_new_point[::-1].index(True)


def outcome_of(trial: Trial, quality: Quality, images: int | None) -> Outcome | None:
    """The outcome of a complete trial; None for any other.

    Args:
        trial: The trial.
        quality: Of the study.
        images: That the quality was measured on, for records without standard errors.
    """
    if trial.state != "complete" or trial.measurement is None:
        return None
    return Outcome(trial.measurement, standard_error_of(trial, quality, images) or 0.0)


def front_growth(ended: Sequence[Outcome | None], objective: Objective = ACCURACY) -> FrontGrowth:
    """Follow the front over the finished trials.

    A trial *adds a point* to the front if its quality exceeds that of every point so far that is
    at most as slow, by more than one standard error of the difference. The standard error of the
    difference is the root of the sum of the squares of both, as for two sets of images; on the
    same images it is smaller, so this is cautious. A trial within the noise of the front adds
    nothing. The points that it is compared with stay, so that a series of small gains counts once
    they exceed the noise together.

    The hypervolume is that of the points so far, down to the :func:`front_reference` of the points
    after the last trial.

    Args:
        ended: The finished trials, in the order of their ends, [n]; None for those that are not
            complete.
        objective: Of the study.
    """
    is_new: list[bool] = []
    fronts: list[list[Outcome]] = [[]]
    for outcome in ended:
        is_new.append(outcome is not None and _adds_a_point(outcome, fronts[-1], objective))
        if outcome is not None and is_new[-1]:
            fronts.append(_with_point(outcome, fronts[-1], objective))
    if len(fronts) == 1:
        return FrontGrowth(tuple(is_new), (0.0,) * len(is_new), None)
    measured = [[point.measurement for point in front] for front in fronts]
    reference = front_reference(measured[-1], objective)
    areas = [hypervolume(points, reference, objective) for points in measured]
    shares = tuple(areas[points] / areas[-1] for points in itertools.accumulate(is_new))
    return FrontGrowth(tuple(is_new), shares, reference)


def _adds_a_point(outcome: Outcome, front: Sequence[Outcome], objective: Objective) -> bool:
    """Whether an outcome is better than every point at most as slow, by more than the noise."""
    loss, seconds = objective.costs(outcome.measurement)
    return all(
        objective.quality_cost(point.measurement.quality) - loss
        > math.hypot(outcome.standard_error, point.standard_error)
        for point in front
        if point.measurement.train_seconds <= seconds
    )


def _with_point(outcome: Outcome, front: Sequence[Outcome], objective: Objective) -> list[Outcome]:
    """The front with a new point, without those that it dominates."""
    kept = (
        point for point in front if not dominates(outcome.measurement, point.measurement, objective)
    )
    return [*kept, outcome]
