"""Defines the measured time of a step: its interval, and what it was measured beside."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from effv2_tune.study.base import Value


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
