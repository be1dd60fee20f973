"""Reports that the work of this process advances, to a supervisor that replaces hung workers.

Long loops call :func:`advance`. No thread does: it would go on while the work hangs.
"""

from __future__ import annotations

import logging
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_log = logging.getLogger(__name__)

#: The least time between two reports.
_INTERVAL_SECONDS = 5.0


class _Heart:
    """The listeners of this process, and when the first one was last called."""

    def __init__(self) -> None:
        self.report: Callable[[bool], None] = lambda _: None
        self.note: Callable[[str], None] = _log.warning
        self.reported_at = -_INTERVAL_SECONDS


_HEART = _Heart()


def listen(report: Callable[[bool], None]) -> None:
    """Set the listener of this process.

    Args:
        report: Called by the main thread; with True where it begins to wait for another process.
    """
    _HEART.report = report


def listen_to_notes(show: Callable[[str], None]) -> None:
    """Set the listener to notes, which are logged otherwise; called by any thread."""
    _HEART.note = show


@contextmanager
def notes_shown(show: Callable[[str], None]) -> Iterator[None]:
    """Let a listener have the notes of a block: it may show nothing any more after that."""
    before = _HEART.note
    listen_to_notes(show)
    try:
        yield
    finally:
        listen_to_notes(before)


def note(text: str) -> None:
    """Inform the user what this process waits for."""
    _HEART.note(text)


def advance() -> None:
    """Report that the main thread advances; other threads may work while it hangs."""
    now = time.monotonic()
    if now - _HEART.reported_at >= _INTERVAL_SECONDS and _is_main():
        _HEART.reported_at = now
        _HEART.report(False)


@contextmanager
def waiting() -> Iterator[None]:
    """Report that the main thread waits for another process, however long."""
    if not _is_main():
        yield
        return
    _HEART.report(True)
    try:
        yield
    finally:
        _HEART.report(False)


def _is_main() -> bool:
    return threading.current_thread() is threading.main_thread()
