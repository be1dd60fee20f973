"""Locks files between processes; the kernel releases the locks of a process that dies."""

from __future__ import annotations

import fcntl
import os
import threading
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING, Any

from effv2_tune.files.lock_holders import lock_holders
from effv2_tune.heartbeat import note, waiting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

#: An open file, or its descriptor.
Lockable = IO[Any] | int
#: Seconds of waiting after which the holders of a lock are named.
NOTE_SECONDS = 10.0


def lock(file: Lockable, *, shared: bool = False) -> None:
    """Wait for the lock of an open file; ``shared`` excludes only holders that are not.

    If that takes long, the processes that hold it are named: they may be suspended.
    """
    how = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        with waiting(), _holders_named(file):
            fcntl.flock(file, how)


@contextmanager
def _holders_named(file: Lockable) -> Iterator[None]:
    """Note who holds a lock that is waited for, once that takes long."""
    descriptor = file if isinstance(file, int) else file.fileno()

    def name_holders() -> None:
        holders = "; ".join(map(str, lock_holders(descriptor))) or "another process"
        note(f"waiting for the lock {_path_of(descriptor)} of {holders}")

    timer = threading.Timer(NOTE_SECONDS, name_holders)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _path_of(descriptor: int) -> str:
    with suppress(OSError):
        return os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115 - a text to show
    return "of a file"


def try_lock(file: Lockable) -> bool:
    """Lock an open file exclusively without waiting; False if another holder has the lock."""
    with suppress(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def unlock(file: Lockable) -> None:
    """Release the lock of an open file."""
    fcntl.flock(file, fcntl.LOCK_UN)


@contextmanager
def locked(file: Lockable, *, shared: bool = False) -> Iterator[None]:
    """Hold the lock of an open file."""
    lock(file, shared=shared)
    try:
        yield
    finally:
        unlock(file)


@contextmanager
def exclusive_lock(path: Path, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold the lock file ``path``, which is created if need be.

    Args:
        path: The lock file. A holder may remove it: whoever waits then locks the new one.
        on_wait: Called if another process holds it.

    Raises:
        OSError: The file cannot be written.
    """
    while True:
        with path.open("w") as file:
            if not try_lock(file):
                on_wait()
                lock(file)
            if is_at(path, file):
                yield
                return


def is_at(path: Path, file: IO[Any]) -> bool:
    """Whether ``path`` is still the name of an open file, and not of a newer one or of none."""
    try:
        return path.stat().st_ino == os.fstat(file.fileno()).st_ino
    except FileNotFoundError:
        return False
