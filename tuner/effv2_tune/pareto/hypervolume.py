"""Measures the hypervolume of a front: the area of quality and log time that it dominates."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from effv2_tune.pareto.objective import ACCURACY, Objective
from effv2_tune.study.trial import Measurement

if TYPE_CHECKING:
    from collections.abc import Sequence

#: The resolution of the clock: shorter times count as this, so that a logarithm exists.
SHORTEST_SECONDS = 1e-9
_WEEK_SECONDS = 7 * 24 * 3600.0
#: Mean cross-entropy of guessing among a thousand classes.
_GUESSING_LOSS = math.log(1000)


def log_seconds(seconds: float) -> float:
    """Natural logarithm of a duration."""
    return math.log(max(seconds, SHORTEST_SECONDS))


def standard_reference(objective: Objective = ACCURACY) -> Measurement:
    """The reference point that is fixed before a study's first trial.

    A week of training that learns nothing: quality 0, or for a loss that of guessing among 1,000
    classes.
    """
    worst = 0.0 if objective.quality_direction == "maximize" else _GUESSING_LOSS
    return Measurement(quality=worst, train_seconds=_WEEK_SECONDS)


def reference_point(
    measurements: Sequence[Measurement], objective: Objective = ACCURACY
) -> Measurement:
    """A point a little worse than the worst of ``measurements`` on both axes, for a figure.

    A tenth of the range beyond the worst quality, and a tenth more than the longest time.

    Raises:
        ValueError: There are no measurements.
    """
    losses = [objective.quality_cost(m.quality) for m in measurements]
    worst = max(losses) + 0.1 * max(max(losses) - min(losses), 0.01)
    longest = max(m.train_seconds for m in measurements)
    return Measurement(
        quality=objective.quality_cost(worst),
        train_seconds=1.1 * max(longest, SHORTEST_SECONDS),
    )


def hypervolume(
    measurements: Sequence[Measurement], reference: Measurement, objective: Objective = ACCURACY
) -> float:
    """The area that ``measurements`` dominate, down to ``reference``; exact.

    Args:
        measurements: [n], in any order; those not better than the reference on both axes add
            nothing.
        reference: The worst corner of the area.
        objective: Of the study.

    Returns:
        Quality times natural logarithm of time: halving every time adds the same area to any
        front.
    """
    least, longest = objective.quality_cost(reference.quality), log_seconds(reference.train_seconds)
    area = 0.0
    for time, loss in sorted(
        (log_seconds(m.train_seconds), objective.quality_cost(m.quality)) for m in measurements
    ):
        if loss < least and time < longest:
            area += (longest - time) * (least - loss)
            least = loss
    return area
