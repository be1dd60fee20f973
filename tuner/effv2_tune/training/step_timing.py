"""How long one optimizer step of a bucket takes, measured while nothing else trains here."""

from __future__ import annotations

import fcntl
import math
import os
import statistics
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from effv2_tune.errors import EXIT_FAILED, TuneError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: A window is long against the clock's grain, and short enough to notice a NaN or a signal soon.
WINDOW_SECONDS = 0.3
_BUDGET_SECONDS = 3.0
_FEWEST_WINDOWS = 3
_MOST_WINDOWS = 15


class MachineLock:
    """Lets many train at a time, or one measure.

    Two files, after the turnstile of the readers-writers problem: whoever wants to measure holds
    the gate, so that no new training window starts while the last ones end. The kernel releases
    the locks of a process that dies.

    Args:
        folder: Where the two files lie; the same for all processes of this user.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = runtime_folder() if folder is None else folder
        self._gate = _open(self._folder / "gate")
        self._lock = _open(self._folder / "lock")

    @contextmanager
    def training(self) -> Iterator[None]:
        """Hold while the device is used; others may hold it too."""
        with _held(self._gate, fcntl.LOCK_SH):
            fcntl.flock(self._lock, fcntl.LOCK_SH)
        try:
            yield
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    @contextmanager
    def measuring(self) -> Iterator[None]:
        """Hold while a step is timed; nobody else holds anything."""
        with _held(self._gate, fcntl.LOCK_EX), _held(self._lock, fcntl.LOCK_EX):
            yield


def runtime_folder() -> Path:
    """A folder of this user alone, gone after a restart of the machine.

    Raises:
        TuneError: The folder in the shared temporary folder belongs to somebody else.
    """
    # Not XDG_RUNTIME_DIR: a login shell has it, a service of the same user does not, and each
    # would measure while the other trains.
    folder = Path(tempfile.gettempdir()) / f"effv2-tune-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise TuneError(
            f"The folder {folder} belongs to another user.",
            hint="Remove it, or set TMPDIR to a folder of your own.",
            exit_code=EXIT_FAILED,
        )
    return folder


def measure_step(
    run: Callable[[int], None], *, now: Callable[[], float] = time.perf_counter
) -> float:
    """Measure the time of one step, in seconds: the median over windows of about 0.3 s.

    Args:
        run: Does so many steps and returns when the device is done with them. It has been called
            before: compilation is over.
        now: The clock.

    Returns:
        Seconds per step. Windows at the start are discarded; the whole takes about three seconds,
        or three windows where a single step is longer.
    """

    def window(steps: int) -> float:
        before = now()
        run(steps)
        return (now() - before) / steps

    started = now()
    window(1)
    estimate = window(1)
    steps = max(1, math.ceil(WINDOW_SECONDS / max(estimate, 1e-6)))
    if steps > 1:
        window(steps)
    times = [window(steps) for _ in range(_FEWEST_WINDOWS)]
    while now() - started < _BUDGET_SECONDS and len(times) < _MOST_WINDOWS:
        times.append(window(steps))
    return statistics.median(times)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


@contextmanager
def _held(descriptor: int, kind: int) -> Iterator[None]:
    fcntl.flock(descriptor, kind)
    try:
        yield
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
