"""Mirrors a running study: a thread copies it to a remote folder while it is trained."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import queue
import threading
import time
from dataclasses import dataclass
from functools import partial
from typing import IO, TYPE_CHECKING, Any, Self

from effv2_tune.errors import TuneError
from effv2_tune.files.cached_features import FEATURE_PATH, finished_features
from effv2_tune.files.locks import try_lock
from effv2_tune.files.remote import RemoteError
from effv2_tune.files.versions import VersionWriter
from effv2_tune.search.events import (
    MirrorFailed,
    MirrorRecovered,
    MirrorStopped,
    TrialEnded,
    WorkerReady,
)
from effv2_tune.search.mirror.restoration import fetch_checkpoint, remember_writer, writer_name

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from effv2_tune.files.remote import RemoteFolder
    from effv2_tune.files.versions import Content
    from effv2_tune.search.events import Event
    from effv2_tune.search.mirror.contents import Contents

_log = logging.getLogger(__name__)

#: Seconds between two versions, while no trial ends.
INTERVAL_SECONDS = 60.0
#: Seconds that the last version may take: after the end of a study, and after an interruption. A
#: machine that is taken away leaves 30 seconds.
END_SECONDS, INTERRUPTED_SECONDS = 600.0, 20.0
#: Seconds before a failed version is retried, doubled from the first to the last.
_FIRST_RETRY, _LAST_RETRY = 5.0, 300.0

_LOCK = "mirror.lock"


@dataclass(frozen=True)
class StudyIdentity:
    """Which study a mirror is of.

    Attributes:
        identity: Distinguishes it from all other studies, also of the same name.
        name: Of the study.
        plan: As JSON.
        is_whole: Whether it is in one folder. Otherwise its database is elsewhere, and every
            supervisor mirrors its own checkpoints.
    """

    identity: str
    name: str
    plan: str
    is_whole: bool


class _UrgentError(RemoteError):
    """A version is wanted at once."""


class Mirror:
    """Copies a study, or a final training, to a mirror; a context manager that ends its thread.

    Args:
        folder: The mirror.
        out: Folder of the study.
        study: Which one.
        contents: What is copied of it.
        interval_seconds: Between two versions, while no trial ends.
    """

    def __init__(
        self,
        folder: RemoteFolder,
        out: Path,
        *,
        study: StudyIdentity,
        contents: Contents,
        interval_seconds: float = INTERVAL_SECONDS,
    ) -> None:
        self._folder = folder
        self._out = out
        self._study = study
        self._contents = contents
        self._interval = interval_seconds
        self._lock: IO[Any] | None = None
        self._writer: VersionWriter | None = None
        self._copied: dict[str, tuple[tuple[int, ...], Content]] = {}
        self._data_digest: str | None = None
        self._missing: list[tuple[str, Path]] = []
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="mirror", daemon=True)
        # Shared with the thread.
        self._changed = threading.Condition()
        self._wanted = self._tried = 0
        self._is_urgent = self._is_stopped = False
        self._failed_at: float | None = None

    @property
    def is_whole(self) -> bool:
        """Whether it holds the study's database, too."""
        return self._study.is_whole

    def open(self) -> None:
        """Check that the mirror is this folder's, if it can be reached.

        Raises:
            TuneError: It holds another study, or this one was continued elsewhere.
        """
        try:
            self._writer_name()
        except RemoteError as error:
            self._fail(error)

    def __enter__(self) -> Self:
        """Start the thread, which writes a version at once."""
        self._request()
        self._thread.start()
        return self

    def __exit__(self, exception: type[BaseException] | None, *_: object) -> None:
        """Write a last version after an interruption, and end the thread."""
        try:
            if exception is not None and not self._flush(INTERRUPTED_SECONDS):
                _log.warning("The mirror %s lacks the end of this run.", self._folder.uri)
        finally:
            with self._changed:
                self._is_stopped = True
                self._changed.notify_all()
            # It is idle, unless it hangs in the network: then it ends with the process.
            self._thread.join(1.0)

    def following(self, stream: Iterator[Event]) -> Iterator[Event]:
        """Yield the events of a study, and those of its mirror; a version is written at the end."""
        for event in stream:
            yield event
            if isinstance(event, TrialEnded):
                self._request()
            elif isinstance(event, WorkerReady):
                self._data_digest = event.data.digest
            yield from self.new_events()
        yield from self.finish()

    def finish(self) -> Iterator[Event]:
        """Write a last version, and yield the events of the mirror."""
        if not self._flush(END_SECONDS):
            self._events.put(
                MirrorFailed(reason="its last version was not written; the same command retries")
            )
        yield from self.new_events()

    def fetch(self, trial: int, into: Path) -> threading.Thread:
        """Fetch the newest checkpoint of a trial, unless the newest is here.

        Args:
            trial: Its number.
            into: The folder of its checkpoints.

        Returns:
            A running thread, which ends once that is done or has failed.
        """

        def fetch() -> None:
            try:
                fetch_checkpoint(self._folder, self._study.identity, into)
            except (RemoteError, OSError) as error:
                reason = f"the checkpoint of trial {trial} was not fetched: {error}"
                self._events.put(MirrorFailed(reason=reason))

        thread = threading.Thread(target=fetch, name="fetch", daemon=True)
        thread.start()
        return thread

    # The thread.

    def _run(self) -> None:
        pause = self._interval if self._failed_at is None else _FIRST_RETRY
        while (goal := self._wait(pause)) is not None:
            try:
                self._write_version()
                self._recover()
                pause = 0.0 if self._missing else self._interval
            except TuneError as error:
                self._events.put(MirrorStopped(reason=str(error)))
                self._is_stopped = True
            except Exception as error:
                pause = _FIRST_RETRY if self._failed_at is None else min(2 * pause, _LAST_RETRY)
                self._fail(error)
            with self._changed:
                self._tried = goal
                self._changed.notify_all()
        if self._lock is not None:
            self._lock.close()

    def _wait(self, pause: float) -> int | None:
        """Wait until a version is due; returns what was requested, None at the end."""

        def is_due() -> bool:
            is_requested = self._wanted > self._tried and self._failed_at is None
            return self._is_stopped or self._is_urgent or is_requested

        with self._changed:
            self._changed.wait_for(is_due, pause)
            self._is_urgent = False
            return None if self._is_stopped else self._wanted

    def _write_version(self) -> None:
        """Write a version, unless another supervisor of this folder does it."""
        writer = self._claim()
        if writer is None:
            return
        writer.begin()
        files, ended = self._contents.put(partial(self._put, writer))
        files |= self._copied_features(writer)
        study = {"id": self._study.identity, "name": self._study.name}
        writer.commit({"study": study, "ended": ended, "plan": self._study.plan}, files)
        if self._study.is_whole:
            writer.remove_older_writers()
        self._put_missing_feature(writer)

    def _copied_features(self, writer: VersionWriter) -> dict[str, Content]:
        """The files of the study's feature sets that are in the mirror; notes which are not."""
        files, self._missing = {}, []
        for name, path in finished_features(self._data_digest).items():
            with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
                known = self._known(writer, name, file)
                if known is None:
                    self._missing.append((name, path))
                else:
                    files[name] = known
        return files

    def _put_missing_feature(self, writer: VersionWriter) -> None:
        """Copy a file for the next version, unless one is wanted at once.

        Features are large and can be computed again: they delay no version.
        """
        for name, path in self._missing[:1]:
            try:
                self._check_urgent()
                with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
                    self._put(writer, name, file)
            except _UrgentError:
                return
            except RemoteError as error:
                # There may be no room for them, and still for the study.
                self._missing, self._data_digest = [], None
                self._events.put(MirrorFailed(reason=f"features are left out: {error}"))

    def _check_urgent(self) -> None:
        if self._is_urgent or self._is_stopped:
            raise _UrgentError

    def _known(self, writer: VersionWriter, name: str, file: IO[bytes]) -> Content | None:
        """The content of a file that is in the mirror already and was not changed since."""
        if name not in self._copied:  # or it is no file on disk
            return None
        state, content = self._copied[name]
        return content if state == _state(file) and writer.has(content) else None

    def _put(self, writer: VersionWriter, name: str, file: IO[bytes]) -> Content:
        """Copy a file, unless it is there."""
        if known := self._known(writer, name, file):
            return known
        # Only a feature set is given up.
        is_feature = FEATURE_PATH.fullmatch(name)
        content = writer.put(file, self._check_urgent if is_feature else lambda: None)
        if isinstance(file, io.BufferedReader):
            self._copied[name] = (_state(file), content)
        return content

    def _claim(self) -> VersionWriter | None:
        """Become the writer of the mirror, or check that this folder still is.

        Returns:
            None where another supervisor of this folder is.

        Raises:
            TuneError: The mirror holds another study, or this one was continued elsewhere.
            RemoteError: It cannot be reached.
        """
        if self._writer is None:
            if not self._has_lock():
                return None
            name = self._writer_name()
            remember_writer(self._out, name)
            self._writer = VersionWriter(self._folder, name)
        elif self._study.is_whole and (host := self._writer.newer_host()) is not None:
            raise TuneError(
                f"The study was continued from the mirror {self._folder.uri} on {host}.",
                hint="End one of the two.",
            )
        return self._writer

    def _writer_name(self) -> str:
        self._folder.check()
        return writer_name(
            self._folder,
            self._out,
            identity=self._study.identity,
            name=self._study.name,
            ended=self._contents.ended(),
        )

    def _has_lock(self) -> bool:
        if self._lock is None:
            file = (self._out / _LOCK).open("w")
            if not try_lock(file):
                file.close()
                return False
            self._lock = file
        return True

    # Requests and events.

    def _request(self) -> int:
        with self._changed:
            self._wanted += 1
            self._changed.notify_all()
            return self._wanted

    def _flush(self, seconds: float) -> bool:
        """Write a version now; whether it is complete, or not this one's business, in time."""
        goal = self._request()
        with self._changed:
            self._is_urgent = True
            self._changed.notify_all()
            in_time = self._changed.wait_for(
                lambda: self._tried >= goal or self._is_stopped, seconds
            )
        return in_time and self._failed_at is None

    def report(self, event: Event) -> None:
        """Put an event before those of the thread."""
        self._events.put(event)

    def new_events(self) -> Iterator[Event]:
        """Yield the events of the mirror since the last call."""
        with contextlib.suppress(queue.Empty):
            while True:
                yield self._events.get_nowait()

    def _fail(self, error: Exception) -> None:
        """Report the first of several failures in a row."""
        if self._failed_at is None:
            self._failed_at = time.monotonic()
            self._events.put(MirrorFailed(reason=str(error) or type(error).__name__))

    def _recover(self) -> None:
        if self._failed_at is not None:
            seconds = time.monotonic() - self._failed_at
            self._failed_at = None
            self._events.put(MirrorRecovered(seconds=round(seconds, 1)))


def _state(file: IO[bytes]) -> tuple[int, ...]:
    """What changes with the content of a file on disk."""
    facts = os.fstat(file.fileno())
    return facts.st_ino, facts.st_mtime_ns, facts.st_size
