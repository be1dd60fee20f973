"""Coordinates the processes of one user on one machine: many train at a time, or one measures.

A process that has devices of its own, while others train on other devices, measures as soon as
nothing else uses these.
"""

from __future__ import annotations

import os
import re
import tempfile
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from effv2_tune.errors import EXIT_FAILED, TuneError
from effv2_tune.files.locks import lock, locked, unlock

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class MachineLock:
    """Lets many processes train at a time, or one measure.

    Args:
        folder: Of the files; the same for all processes of this user.
        devices: Names of the devices that this process alone is limited to; none if it uses all,
            or the processors.
    """

    def __init__(self, folder: Path | None = None, devices: Sequence[str] = ()) -> None:
        folder = runtime_folder() if folder is None else folder
        self._machine = _Turnstile(folder)
        # Every process takes the machine first, then devices in this order: none waits in a circle.
        self._devices = [_Turnstile(folder, f"-{name}") for name in sorted(devices)]

    @contextmanager
    def training(self) -> Iterator[None]:
        """Hold while the device is used; other processes may hold it too."""
        with ExitStack() as held:
            for turnstile in (self._machine, *self._devices):
                held.enter_context(turnstile.shared())
            yield

    @contextmanager
    def measuring(self) -> Iterator[None]:
        """Hold while a step is timed; no other process uses the same devices."""
        with ExitStack() as held:
            if not self._devices:
                held.enter_context(self._machine.exclusive())
            else:
                held.enter_context(self._machine.shared())
            for turnstile in self._devices:
                held.enter_context(turnstile.exclusive())
            yield


class _Turnstile:
    """Two files, after the turnstile of the readers-writers problem.

    The process that measures holds the gate, so that no new training window starts while the last
    ones end. The kernel releases the locks of a process that dies.
    """

    def __init__(self, folder: Path, suffix: str = "") -> None:
        suffix = re.sub(r"[^A-Za-z0-9.-]", "_", suffix)
        self._gate = _open(folder / f"gate{suffix}")
        self._lock = _open(folder / f"lock{suffix}")

    @contextmanager
    def shared(self) -> Iterator[None]:
        with locked(self._gate, shared=True):
            lock(self._lock, shared=True)
        try:
            yield
        finally:
            unlock(self._lock)

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        with locked(self._gate), locked(self._lock):
            yield


def runtime_folder() -> Path:
    """A folder that only this user can access, removed when the machine restarts.

    Raises:
        TuneError: There is a file in its place, or it belongs to another user.
    """
    # Not XDG_RUNTIME_DIR: a login shell has it, a service of the same user does not, and each
    # would measure while the other trains.
    folder = Path(tempfile.gettempdir()) / f"effv2-tune-{os.getuid()}"
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    is_folder = folder.is_dir() and not folder.is_symlink()
    if not is_folder or folder.stat().st_uid != os.getuid():
        problem = "belongs to another user" if is_folder else "is not a folder"
        raise TuneError(
            f"{folder} {problem}.",
            hint="Remove it, or set TMPDIR to a folder of your own.",
            exit_code=EXIT_FAILED,
        )
    return folder


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
