"""Coordinates the processes of one user on one machine: many train at a time, or one measures."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from effv2_tune.errors import EXIT_FAILED, TuneError
from effv2_tune.files.locks import lock, locked, unlock

if TYPE_CHECKING:
    from collections.abc import Iterator


class MachineLock:
    """Lets many processes train at a time, or one measure.

    Two files, after the turnstile of the readers-writers problem: the process that measures holds
    the gate, so that no new training window starts while the last ones end. The kernel releases
    the locks of a process that dies.

    Args:
        folder: Of the two files; the same for all processes of this user.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = runtime_folder() if folder is None else folder
        self._gate = _open(self._folder / "gate")
        self._lock = _open(self._folder / "lock")

    @contextmanager
    def training(self) -> Iterator[None]:
        """Hold while the device is used; other processes may hold it too."""
        with locked(self._gate, shared=True):
            lock(self._lock, shared=True)
        try:
            yield
        finally:
            unlock(self._lock)

    @contextmanager
    def measuring(self) -> Iterator[None]:
        """Hold while a step is timed; no other process holds anything."""
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
