"""Reads how busy other processes keep the processors of this one."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_STAT = Path("/proc/stat")
#: Positions in a line of /proc/stat of the times in which a processor is idle.
_IDLE, _IO_WAIT = 3, 4
#: The columns that count; the later ones are contained in the first two.
_COLUMNS = 8


@dataclass(frozen=True)
class ProcessorTimes:
    """The processor times so far, in seconds.

    Attributes:
        busy: Of the processors of this process: all but idle ones, other guests of the host
            included ("steal"); None where the system does not report it.
        own: Of this process, all of its threads.
        processors: How many there are.
    """

    busy: float | None
    own: float
    processors: int

    @classmethod
    def read(cls) -> Self:
        """Those of now."""
        usable = os.sched_getaffinity(0)
        return cls(_busy_seconds(usable), time.process_time(), len(usable))

    def share_of_others(self, later: Self, seconds: float) -> float:
        """The share of the processors that others used, from 0 to 1.

        Args:
            later: The times after ``seconds``.
            seconds: The length of the interval.

        Returns:
            0 where the system does not report it.
        """
        if self.busy is None or later.busy is None or seconds <= 0:
            return 0.0
        others = (later.busy - self.busy) - (later.own - self.own)
        return min(1.0, max(0.0, others / (seconds * later.processors)))


def _busy_seconds(usable: set[int]) -> float | None:
    """Time in which these processors were not idle, since the machine has started."""
    try:
        lines = _STAT.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    names = {f"cpu{number}" for number in usable}
    ticks = 0
    for name, *columns in map(str.split, lines):
        if name in names:
            counts = list(map(int, columns[:_COLUMNS]))
            ticks += sum(counts) - counts[_IDLE] - counts[_IO_WAIT]
    return ticks / os.sysconf("SC_CLK_TCK")
