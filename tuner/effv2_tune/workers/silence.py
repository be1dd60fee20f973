"""Detects hung workers, which send nothing for many times their own pace."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from effv2_tune.workers.messages import Compiled, EpochEnded, Heartbeat

if TYPE_CHECKING:
    from collections.abc import Callable

    from effv2_tune.workers.messages import FromWorker


@dataclass(frozen=True)
class SilenceLimits:
    """How long a worker may send nothing.

    Attributes:
        unpaced_seconds: While it starts, compiles and trains a first epoch: the compilation of a
            large network for a TPU takes over ten minutes, and sends nothing.
        factor: After the first epoch, how many times its longest silence since the compilation.
        least_seconds: The least limit after the first epoch: a disk may be slow for a while.
    """

    unpaced_seconds: float = 3600.0
    factor: float = 20.0
    least_seconds: float = 600.0


#: The longest time between two looks that counts: a machine that was suspended kept the workers
#: from sending, and a supervisor that waited for its database did not receive.
_LONGEST_LOOK_SECONDS = 30.0


@dataclass
class _Silence:
    """How long a worker that has work has sent nothing."""

    seconds: float = 0.0
    longest: float = 0.0
    is_paced: bool = False
    is_waiting: bool = False

    def end(self, message: FromWorker | Heartbeat) -> None:
        """End it with a message."""
        self.longest = max(self.longest, 0.0 if self.is_waiting else self.seconds)
        self.seconds = 0.0
        self.is_waiting = isinstance(message, Heartbeat) and message.waits
        if isinstance(message, Compiled):
            self.longest = 0.0
        self.is_paced |= isinstance(message, EpochEnded)

    def limit(self, limits: SilenceLimits) -> float:
        if not self.is_paced:
            return limits.unpaced_seconds
        return max(limits.least_seconds, limits.factor * self.longest)


class SilenceWatch:
    """Watches the workers that have work.

    Args:
        limits: How long they may send nothing.
        now: A clock that never goes back.
    """

    def __init__(
        self, limits: SilenceLimits | None = None, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._limits = limits or SilenceLimits()
        self._now = now
        self._looked_at = now()
        self._silences: dict[int, _Silence] = {}

    def begin(self, worker: int) -> None:
        """A worker has new work."""
        self._silences[worker] = _Silence()

    def end(self, worker: int) -> None:
        """A worker has ended, and is not replaced."""
        self._silences.pop(worker, None)

    def forget(self) -> None:
        """All workers have ended."""
        self._silences.clear()

    def resume(self, worker: int) -> None:
        """A worker goes on with the work that it had, at the pace that it had."""
        silence = self._silences.setdefault(worker, _Silence())
        silence.seconds, silence.is_waiting = 0.0, False

    def receive(self, worker: int, message: FromWorker | Heartbeat) -> None:
        """A worker has sent a message; after most of them it waits for the supervisor."""
        silence = self._silences.get(worker)
        if silence is not None:
            silence.end(message)
            if not isinstance(message, Compiled | EpochEnded | Heartbeat):
                silence.is_waiting = True

    def overdue(self) -> dict[int, float]:
        """Seconds of silence of each worker beyond its limit; call this after each look."""
        now = self._now()
        passed = min(now - self._looked_at, _LONGEST_LOOK_SECONDS)
        self._looked_at = now
        for silence in self._silences.values():
            silence.seconds += 0.0 if silence.is_waiting else passed
        return {
            worker: silence.seconds
            for worker, silence in self._silences.items()
            if silence.seconds > silence.limit(self._limits)
        }
