"""Defines the measured time of a step: its interval, and what it was measured beside."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import Field

from effv2_tune.study.base import Value

#: Relative standard error of the mean speed of a processor over so many seconds, and the least of
#: one over longer: other guests of the host come and go. Step times measured in three seconds
#: differed by 5 to 24 % between hours, those of trials of half a minute by 5 %.
_SPEED_ERROR, _SPEED_SECONDS, _LEAST_SPEED_ERROR = 0.08, 3.0, 0.02


class StepTime(Value):
    """The time of one optimizer step on a quiet machine, as estimated from a measurement.

    Attributes:
        seconds: The estimate.
        low: Lower end of its 90 % interval.
        high: Upper end.
        is_quiet: Whether nothing disturbed the windows that it was estimated from.
        reference_seconds: Time of the reference kernel beside; on a CPU, its processor time. A
            study keeps that of its first quiet measurement; later ones are on the same scale.
    """

    seconds: Annotated[float, Field(gt=0)]
    low: float
    high: float
    is_quiet: bool
    reference_seconds: float


def speed_error(seconds: float) -> float:
    """Relative standard error of a step time due to the speed of the processors.

    Args:
        seconds: For which the steps were timed; independent errors in each part of it are assumed.
    """
    share = _SPEED_SECONDS / max(seconds, 1e-3)
    return max(_LEAST_SPEED_ERROR, _SPEED_ERROR * math.sqrt(min(1.0, share)))
