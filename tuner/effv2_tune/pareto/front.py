"""Which trials no other trial beats on both quality and time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from effv2_tune.study.trial import Measurement

QualityDirection = Literal["maximize", "minimize"]


def merit(quality: float, quality_direction: QualityDirection) -> float:
    """Quality turned so that more is better, whichever way the study reads it."""
    return quality if quality_direction == "maximize" else -quality


def dominates(
    one: Measurement, other: Measurement, *, quality_direction: QualityDirection = "maximize"
) -> bool:
    """Whether ``one`` is at least as good and at least as fast, and better in one of the two."""
    mine, theirs = merit(one.quality, quality_direction), merit(other.quality, quality_direction)
    no_worse = mine >= theirs and one.train_seconds <= other.train_seconds
    return no_worse and (mine > theirs or one.train_seconds < other.train_seconds)


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
    points = [(merit(m.quality, quality_direction), m.train_seconds) for m in measurements]
    return mark_front(points)


def mark_front(points: Sequence[tuple[float, float]]) -> list[bool]:
    """As :func:`pareto_front`, for (merit, cost) pairs: more merit is better, less cost is."""
    marks = [False] * len(points)
    best_so_far = -math.inf
    best_here, cost_here = -math.inf, -math.inf
    for position in sorted(range(len(points)), key=lambda p: (points[p][1], -points[p][0])):
        merit_, cost = points[position]
        if cost > cost_here:
            # The first of those that cost the same is the best of them.
            best_so_far, best_here, cost_here = max(best_so_far, best_here), merit_, cost
        marks[position] = merit_ == best_here and merit_ > best_so_far
    return marks
