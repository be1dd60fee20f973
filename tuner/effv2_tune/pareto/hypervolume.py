"""How much of the plane of quality and log time a front covers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from effv2_tune.pareto.front import QualityDirection, merit
from effv2_tune.study.trial import Measurement

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Shorter times than the clock's grain are taken for it, so that a logarithm exists.
SHORTEST_SECONDS = 1e-9
_WEEK_SECONDS = 7 * 24 * 3600.0
#: Mean cross-entropy of guessing among a thousand classes.
_GUESSING_LOSS = math.log(1000)


def log_seconds(seconds: float) -> float:
    """Natural logarithm of a duration."""
    return math.log(max(seconds, SHORTEST_SECONDS))


def standard_reference(quality_direction: QualityDirection = "maximize") -> Measurement:
    """The reference point that is fixed before a study's first trial.

    A week of training that learns nothing: quality 0, or for a loss that of guessing among 1,000
    classes.
    """
    worst = 0.0 if quality_direction == "maximize" else _GUESSING_LOSS
    return Measurement(quality=worst, train_seconds=_WEEK_SECONDS)


def reference_point(
    measurements: Sequence[Measurement], *, quality_direction: QualityDirection = "maximize"
) -> Measurement:
    """A point a little worse than the worst of ``measurements`` on both axes, for a picture.

    A tenth of the range beyond the worst quality, and a tenth more than the longest time.

    Raises:
        ValueError: There are no measurements.
    """
    merits = [merit(m.quality, quality_direction) for m in measurements]
    worst = min(merits) - 0.1 * max(max(merits) - min(merits), 0.01)
    quality = merit(worst, quality_direction)
    longest = max(m.train_seconds for m in measurements)
    return Measurement(quality=quality, train_seconds=1.1 * max(longest, SHORTEST_SECONDS))


def hypervolume(
    measurements: Sequence[Measurement],
    reference: Measurement,
    *,
    quality_direction: QualityDirection = "maximize",
) -> float:
    """The area that ``measurements`` dominate, down to ``reference``; exact.

    Args:
        measurements: [n], in any order; what is not better than the reference on both axes adds
            nothing.
        reference: The worst corner of the area.
        quality_direction: ``minimize`` where the quality is a loss.

    Returns:
        Quality times natural logarithm of time: halving every time adds the same, wherever the
        front lies.
    """
    floor = merit(reference.quality, quality_direction)
    wall = log_seconds(reference.train_seconds)
    points = sorted(
        (log_seconds(m.train_seconds), -merit(m.quality, quality_direction)) for m in measurements
    )
    area = 0.0
    highest = floor
    for cost, loss in points:
        if -loss > highest and cost < wall:
            area += (wall - cost) * (-loss - highest)
            highest = -loss
    return area
