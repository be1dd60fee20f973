"""Names the processes that hold the lock of a file, as Linux lists them."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterator

_PROC = Path("/proc")
_LONGEST_COMMAND = 80
#: States of /proc/PID/stat: SIGSTOP or a debugger, and a wait that no signal ends.
_SUSPENDED, _IN_THE_KERNEL = "Tt", "D"


@dataclass(frozen=True)
class LockHolder:
    """A process that holds a lock.

    Attributes:
        pid: Process ID.
        command: Command line, shortened.
        started: When it started, in seconds since the epoch.
        state: The kernel's letter for its state.
    """

    pid: int
    command: str
    started: float
    state: str

    @classmethod
    def read(cls, pid: int) -> Self:
        """Read it from /proc.

        Raises:
            OSError: It has exited.
        """
        process = _PROC / str(pid)
        command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        # The name of the program, in parentheses, may contain spaces.
        fields = (process / "stat").read_text().rpartition(")")[2].split()
        ticks, booted = int(fields[19]), time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
        started = booted + ticks / os.sysconf("SC_CLK_TCK")
        return cls(pid, command.strip()[:_LONGEST_COMMAND], started, fields[0])

    def __str__(self) -> str:
        """Who it is, since when, and how it is resumed where it is suspended."""
        state = "running"
        if self.state in _SUSPENDED:
            state = f"suspended: 'kill -CONT {self.pid}' resumes it"
        elif self.state == _IN_THE_KERNEL:
            state = "waiting for a disk or device"
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.started))
        return f"process {self.pid} ({self.command}), since {since}, {state}"


def lock_holders(descriptor: int) -> list[LockHolder]:
    """The processes that hold the lock of an open file; none where Linux does not list them."""
    holders = []
    with suppress(OSError):
        file = os.fstat(descriptor)
        device = f"{os.major(file.st_dev):02x}:{os.minor(file.st_dev):02x}:{file.st_ino}"
        for pid in sorted(set(_pids(device))):
            with suppress(OSError):
                holders.append(LockHolder.read(pid))
    return holders


def _pids(device: str) -> Iterator[int]:
    """Of the holders, by flock or lockf; those that wait are marked with an arrow."""
    for line in (_PROC / "locks").read_text().splitlines():
        fields = line.split()
        if fields[1] in ("FLOCK", "POSIX") and fields[5] == device:
            yield int(fields[4])
