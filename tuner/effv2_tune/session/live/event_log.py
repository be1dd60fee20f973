"""Reads the events of a study from its log, as they are appended."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

from pydantic import ValidationError

from effv2_tune.search import events as happened

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from effv2_tune.search.events import Event

_CLASSES = {each.__name__: each for each in get_args(happened.Event)}
_STARTS = ("StudyStarted", "ConfirmStarted")
#: Bytes that are read at once.
_CHUNK = 1 << 20


class Logged(NamedTuple):
    """An event and when it happened.

    Attributes:
        at: Seconds since 1970.
        event: The event.
    """

    at: float
    event: Event


class EventLog:
    """The log of a study, from where it was read last.

    Args:
        path: ``events.jsonl`` in the study's folder; it need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._rest = b""

    def skip_earlier_runs(self) -> None:
        """Continue with the newest run of the study, whose start is read next."""
        offset = start = 0
        try:
            with self._path.open("rb") as log:
                for line in log:
                    if any(f'"event": "{name}"'.encode() in line for name in _STARTS):
                        start = offset
                    offset += len(line)
        except FileNotFoundError:
            return
        self._offset = start

    def read(self) -> Iterator[Logged]:
        """The events that were appended since the last call.

        A line that is not complete is read once it is. What is no event of this version is left
        out. A log that became shorter is another one, and is read from its beginning.
        """
        try:
            with self._path.open("rb") as log:
                if self._path.stat().st_size < self._offset:
                    self._offset, self._rest = 0, b""
                log.seek(self._offset)
                while chunk := log.read(_CHUNK):
                    self._offset += len(chunk)
                    *lines, self._rest = (self._rest + chunk).split(b"\n")
                    for line in lines:
                        logged = _parsed(line)
                        if logged is not None:
                            yield logged
        except FileNotFoundError:
            return


def _parsed(line: bytes) -> Logged | None:
    try:
        facts: dict[str, Any] = json.loads(line)
        at = datetime.fromisoformat(facts.pop("time")).timestamp()
        return Logged(at, _CLASSES[facts.pop("event")].from_plain(facts))
    except (ValueError, KeyError, TypeError, AttributeError, ValidationError):
        return None  # torn by a crash, or of another version
