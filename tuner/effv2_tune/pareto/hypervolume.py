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
#: The reference point is this share of the front's own range beyond it, a usual choice
#: (Ishibuchi et al., "How to Specify a Reference Point in Hypervolume Calculation for Fair
#: Performance Comparison", Evolutionary Computation 26, 2018) ...
_MARGIN = 0.1
#: ... and at least so much of the quality, and this factor of the time, so that a front of one
#: point, or of points close together, has an area too.
_LEAST_QUALITY = 0.01
_LEAST_FACTOR = 1.1


def log_seconds(seconds: float) -> float:
    """Natural logarithm of a duration."""
    return math.log(max(seconds, SHORTEST_SECONDS))


def front_reference(front: Sequence[Measurement], objective: Objective = ACCURACY) -> Measurement:
    """The reference point of a front, relative to its own ends.

    A tenth of the front's range beyond its worst quality, but at least 0.01, and a tenth of its
    range of log seconds beyond its longest time, but at least 10 % of that. So it depends neither
    on the unit of time nor on trials that are not on the front.

    Args:
        front: [n], in any order.
        objective: Of the study.

    Raises:
        ValueError: The front is empty.
    """
    losses = [objective.quality_cost(m.quality) for m in front]
    times = [log_seconds(m.train_seconds) for m in front]
    quality_margin = max(_MARGIN * (max(losses) - min(losses)), _LEAST_QUALITY)
    time_margin = max(_MARGIN * (max(times) - min(times)), math.log(_LEAST_FACTOR))
    return Measurement(
        quality=objective.quality_cost(max(losses) + quality_margin),
        train_seconds=math.exp(max(times) + time_margin),
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
