"""Picks a point of the Pareto front: the fastest, the most accurate, or the knee."""

from __future__ import annotations

from typing import TYPE_CHECKING

from effv2_tune.pareto.front import mark_front
from effv2_tune.pareto.hypervolume import log_seconds
from effv2_tune.pareto.objective import ACCURACY, Objective

if TYPE_CHECKING:
    from collections.abc import Sequence

    from effv2_tune.study.trial import Measurement


def most_accurate(
    measurements: Sequence[Measurement], objective: Objective = ACCURACY
) -> int | None:
    """Position of the best quality; among equals the fastest, then the first. None if empty."""
    costs = [objective.costs(measurement) for measurement in measurements]
    return min(range(len(costs)), key=costs.__getitem__, default=None)


def fastest(measurements: Sequence[Measurement], objective: Objective = ACCURACY) -> int | None:
    """Position of the shortest time; among equals the best, then the first. None if empty."""
    costs = [objective.costs(measurement)[::-1] for measurement in measurements]
    return min(range(len(costs)), key=costs.__getitem__, default=None)


def knee(measurements: Sequence[Measurement], objective: Objective = ACCURACY) -> int | None:
    """Position of the point where the front bends most. None if empty.

    On axes of quality and log time, each scaled to the front's own range, it is the point of the
    front farthest above the line from the fastest to the best point (Das, "On characterizing the
    knee of the Pareto curve", 1999). Where no point is above that line, it is the best one.
    """
    costs = [objective.costs(measurement) for measurement in measurements]
    front = [position for position, on_front in enumerate(mark_front(costs)) if on_front]
    if not front:
        return None
    losses = {position: costs[position][0] for position in front}
    times = {position: log_seconds(costs[position][1]) for position in front}
    most_loss, least_time = max(losses.values()), min(times.values())
    loss_span = (most_loss - min(losses.values())) or 1.0
    time_span = (max(times.values()) - least_time) or 1.0

    def above_the_line(position: int) -> tuple[float, float]:
        gained = (most_loss - losses[position]) / loss_span
        spent = (times[position] - least_time) / time_span
        # Both ends are on the line itself: rounding must not decide between them.
        return round(gained - spent, 12), -losses[position]

    return max(front, key=above_the_line)


def within(
    measurements: Sequence[Measurement],
    objective: Objective = ACCURACY,
    *,
    max_seconds: float | None = None,
    min_quality: float | None = None,
) -> list[int]:
    """Positions of the measurements within both limits.

    Args:
        measurements: [n].
        objective: Of the study.
        max_seconds: The longest training time; None for no limit.
        min_quality: The least quality (of a loss: the greatest); None for no limit.
    """
    worst = None if min_quality is None else objective.quality_cost(min_quality)
    return [
        position
        for position, measurement in enumerate(measurements)
        if (max_seconds is None or measurement.train_seconds <= max_seconds)
        and (worst is None or objective.quality_cost(measurement.quality) <= worst)
    ]
