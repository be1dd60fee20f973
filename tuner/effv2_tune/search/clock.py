"""What time it is: an argument of the loop, so that a simulation can run the same code."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

_BEGINNING = datetime(2000, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """Tells the time, in two ways."""

    def now(self) -> float:
        """Seconds since some moment; never goes back."""

    def utc(self) -> datetime:
        """The date, for the record."""


class SystemClock:
    """The clock of this machine."""

    def now(self) -> float:
        """Seconds since some moment; unmoved by corrections of the date."""
        return time.monotonic()

    def utc(self) -> datetime:
        """The date, for the record."""
        return datetime.now(UTC)


@dataclass
class SimulatedClock:
    """A clock that moves when it is told to.

    Attributes:
        seconds: Since the beginning.
    """

    seconds: float = 0.0

    def now(self) -> float:
        """Seconds since the beginning."""
        return self.seconds

    def utc(self) -> datetime:
        """The beginning (1 January 2000) plus the seconds since."""
        return _BEGINNING + timedelta(seconds=self.seconds)
