"""Which point of a front to take."""

from __future__ import annotations

from typing import TYPE_CHECKING

from effv2_tune.pareto.front import QualityDirection, merit, pareto_front
from effv2_tune.pareto.hypervolume import log_seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from effv2_tune.study.trial import Measurement


def most_accurate(
    measurements: Sequence[Measurement], *, quality_direction: QualityDirection = "maximize"
) -> int | None:
    """Position of the best quality; among equals the fastest, then the first. None if empty."""

    def standing(position: int) -> tuple[float, float]:
        one = measurements[position]
        return merit(one.quality, quality_direction), -one.train_seconds

    return max(range(len(measurements)), key=standing, default=None)


def fastest(
    measurements: Sequence[Measurement], *, quality_direction: QualityDirection = "maximize"
) -> int | None:
    """Position of the shortest time; among equals the best, then the first. None if empty."""

    def standing(position: int) -> tuple[float, float]:
        one = measurements[position]
        return -one.train_seconds, merit(one.quality, quality_direction)

    return max(range(len(measurements)), key=standing, default=None)


def knee(
    measurements: Sequence[Measurement], *, quality_direction: QualityDirection = "maximize"
) -> int | None:
    """Position of the point where the front bends most. None if empty.

    On axes of quality and log time, each scaled to the front's own range, it is the point of the
    front farthest above the line from the fastest to the best point (Das, "On characterizing the
    knee of the Pareto curve", 1999). Where no point lies above that line, it is the best one.
    """
    marks = pareto_front(measurements, quality_direction=quality_direction)
    front = [position for position, on_front in enumerate(marks) if on_front]
    if not front:
        return None
    merits = {p: merit(measurements[p].quality, quality_direction) for p in front}
    costs = {p: log_seconds(measurements[p].train_seconds) for p in front}
    merit_span = (max(merits.values()) - min(merits.values())) or 1.0
    cost_span = (max(costs.values()) - min(costs.values())) or 1.0

    def above_the_line(position: int) -> tuple[float, float]:
        gained = (merits[position] - min(merits.values())) / merit_span
        spent = (costs[position] - min(costs.values())) / cost_span
        # Both ends lie on the line itself: rounding must not decide between them.
        return round(gained - spent, 12), merits[position]

    return max(front, key=above_the_line)


def within(
    measurements: Sequence[Measurement],
    *,
    max_seconds: float | None = None,
    min_quality: float | None = None,
    quality_direction: QualityDirection = "maximize",
) -> list[int]:
    """Positions of those that keep a budget.

    Args:
        measurements: [n].
        max_seconds: Training may take so long; null for any time.
        min_quality: At least this good (a loss: at most this high); null for any quality.
        quality_direction: ``minimize`` where the quality is a loss.
    """
    return [
        position
        for position, one in enumerate(measurements)
        if (max_seconds is None or one.train_seconds <= max_seconds)
        and (
            min_quality is None
            or merit(one.quality, quality_direction) >= merit(min_quality, quality_direction)
        )
    ]
