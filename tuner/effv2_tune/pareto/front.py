"""Finds the Pareto front: the trials that no other trial dominates on quality and time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from effv2_tune.pareto.objective import ACCURACY, Objective, QualityDirection

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from effv2_tune.study.trial import Measurement, Trial


def dominates(one: Measurement, other: Measurement, objective: Objective = ACCURACY) -> bool:
    """Whether ``one`` is at least as good and at least as fast, and better in one of the two."""
    mine, theirs = objective.costs(one), objective.costs(other)
    return mine[0] <= theirs[0] and mine[1] <= theirs[1] and mine != theirs


def front_of(trials: Iterable[Trial], objective: Objective) -> list[Trial]:
    """The measured trials that no other one dominates, fastest first, then by number."""
    measured = [(trial, trial.measurement) for trial in trials if trial.measurement is not None]
    marks = mark_front([objective.costs(measurement) for _, measurement in measured])
    front = [pair for pair, on_front in zip(measured, marks, strict=True) if on_front]
    front.sort(key=lambda pair: (pair[1].train_seconds, pair[0].number))
    return [trial for trial, _ in front]


def pareto_front(
    measurements: Sequence[Measurement], *, quality_direction: QualityDirection = "maximize"
) -> list[bool]:
    """Mark the measurements that no other one dominates.

    One measurement dominates another if it is at least as good and at least as fast, and better
    in one of the two. Equal measurements do not dominate each other, so ties all stay.

    Args:
        measurements: [n], in any order.
        quality_direction: ``minimize`` where the quality is a loss.

    Returns:
        [n], in the same order.
    """
    return mark_front([Objective(quality_direction).costs(m) for m in measurements])


def mark_front(costs: Sequence[tuple[float, float]]) -> list[bool]:
    """As :func:`pareto_front`, for pairs of costs [n]: less is better in both."""
    marks = [False] * len(costs)
    least_before = math.inf
    least_here, second_here = math.inf, -math.inf
    for position in sorted(range(len(costs)), key=lambda p: (costs[p][1], costs[p][0])):
        first, second = costs[position]
        if second > second_here:
            # The first of those with an equal second cost is the best of them.
            least_before, least_here, second_here = min(least_before, least_here), first, second
        marks[position] = first == least_here and first < least_before
    return marks
