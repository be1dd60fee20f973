"""Defines the real and the simulated clock of the loop."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

_BEGINNING = datetime(2000, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """A source of time."""

    def now(self) -> float:
        """Seconds since an arbitrary moment; never decreases."""

    def utc(self) -> datetime:
        """The date, for the record."""


class SystemClock:
    """The clock of this machine."""

    def now(self) -> float:
        """Seconds since an arbitrary moment; unaffected by changes of the date."""
        return time.monotonic()

    def utc(self) -> datetime:
        """The date, for the record."""
        return datetime.now(UTC)


@dataclass
class SimulatedClock:
    """A clock that is moved by assignment to ``seconds``.

    Attributes:
        seconds: Since the beginning of the simulation.
    """

    seconds: float = 0.0

    def now(self) -> float:
        """Seconds since the beginning."""
        return self.seconds

    def utc(self) -> datetime:
        """The beginning (1 January 2000) plus the seconds since."""
        return _BEGINNING + timedelta(seconds=self.seconds)
