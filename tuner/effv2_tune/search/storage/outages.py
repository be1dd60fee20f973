"""Retries operations on a database during an outage."""

from __future__ import annotations

import functools
import sqlite3
import time
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar, cast

import sqlalchemy as sa
from optuna.exceptions import StorageInternalError

from effv2_tune.errors import EXIT_FAILED, TuneError
from effv2_tune.search.events import DatabaseAvailable, DatabaseUnavailable
from effv2_tune.search.storage.database_errors import reason_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from optuna.storages import BaseStorage

    from effv2_tune.search.events import Event

_P = ParamSpec("_P")
_T = TypeVar("_T")
_S = TypeVar("_S", bound="_Retrying")

#: How long a database may be unavailable before the run ends.
RETRY_SECONDS = 600.0
#: The same for a run that is ending for another reason.
ENDING_SECONDS = 5.0
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 10.0
_SLICE_SECONDS = 0.5
#: Parts of a server's refusals that no retry changes; drivers give no code for them.
_PERMANENT = (
    "authentication failed",
    "no password supplied",
    "no pg_hba.conf entry",
    "does not exist",
    "failed to resolve host",
    "could not translate host name",
    "access denied",
    "unknown database",
)


class Retries:
    """Repeats the operations of one supervisor with back-off until the database is available.

    An operation inside another one is not repeated by itself: it may be part of a transaction.

    Args:
        place: The database, for messages.
        seconds: How long the database may be unavailable.

    Attributes:
        seconds: As given.
        announce: Receives the events of the database: while an operation waits, the loop yields
            none.
        is_stopping: Whether the run was asked to stop, and waits no longer than it has to.
        on_failure: Called before each repetition.
    """

    def __init__(self, place: str, *, seconds: float = RETRY_SECONDS) -> None:
        self.seconds = seconds
        self.announce: Callable[[Event], None] = lambda _: None
        self.is_stopping: Callable[[], bool] = lambda: False
        self.on_failure: Callable[[], None] = lambda: None
        self._place = place
        self._unavailable_since: float | None = None
        self._is_nested = False

    def __call__(self, operation: Callable[[], _T]) -> _T:
        """Repeat an operation until it succeeds, or fails for another reason.

        Args:
            operation: Safe to repeat: the answer to a commit may be lost with the connection.

        Raises:
            TuneError: The database was unavailable for too long.
            KeyboardInterrupt: It is, and the run was asked to stop.
        """
        if self._is_nested:
            return operation()
        self._is_nested = True
        try:
            return self._repeat(operation)
        finally:
            self._is_nested = False

    def _repeat(self, operation: Callable[[], _T]) -> _T:
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                result = operation()
            except (sa.exc.SQLAlchemyError, StorageInternalError) as error:
                if not is_temporary(error):
                    raise
                self._wait_or_raise(error, pause)
            else:
                self._end_outage()
                return result
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    def _wait_or_raise(self, error: Exception, pause: float) -> None:
        reason, now = reason_of(error) or str(error), time.monotonic()
        self.on_failure()
        if self._unavailable_since is None:
            self._unavailable_since = now
            self.announce(DatabaseUnavailable(database=self._place, reason=reason))
        for seconds in _slices(pause):
            self._check_limit(reason, error)
            time.sleep(seconds)

    def _check_limit(self, reason: str, error: Exception) -> None:
        since = time.monotonic() - (self._unavailable_since or 0.0)
        if self.is_stopping() and since >= min(self.seconds, ENDING_SECONDS):
            raise KeyboardInterrupt
        if since >= self.seconds:
            raise TuneError(
                f"The database {self._place} has been unavailable for {since:.0f} seconds: "
                f"{reason}.",
                hint="Once it is available, rerun the same command to resume.",
                exit_code=EXIT_FAILED,
            ) from error

    def _end_outage(self) -> None:
        if self._unavailable_since is not None:
            seconds = time.monotonic() - self._unavailable_since
            self._unavailable_since = None
            self.announce(DatabaseAvailable(database=self._place, seconds=round(seconds, 1)))


def _slices(seconds: float) -> Iterator[float]:
    """Short parts of a pause, between which a request to stop is seen."""
    while seconds > 0:
        yield min(seconds, _SLICE_SECONDS)
        seconds -= _SLICE_SECONDS


class _Retrying(Protocol):
    retries: Retries


def retried(method: Callable[Concatenate[_S, _P], _T]) -> Callable[Concatenate[_S, _P], _T]:
    """A method that is repeated while the database is unavailable; see :class:`Retries`."""

    @functools.wraps(method)
    def repeat(self: _S, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        return self.retries(lambda: method(self, *args, **kwargs))

    return repeat


def retried_storage(storage: BaseStorage, retries: Retries) -> BaseStorage:
    """Optuna's storage with all operations repeated while the database is unavailable.

    All that the search calls are reads, or write the same when they are repeated.
    """
    return cast("BaseStorage", _RetriedStorage(storage, retries))


class _RetriedStorage:
    def __init__(self, storage: BaseStorage, retries: Retries) -> None:
        self._storage = storage
        self._retries = retries

    def __getattr__(self, name: str) -> Any:
        operation = getattr(self._storage, name)
        return lambda *args, **kwargs: self._retries(lambda: operation(*args, **kwargs))


def is_permanent(error: Exception) -> bool:
    """Whether a server refuses a connection in a way that no retry changes."""
    text = (reason_of(error) or "").lower()
    return any(part in text for part in _PERMANENT)


def is_temporary(error: BaseException | None) -> bool:
    """Whether the server was unavailable, or an SQLite file locked by another process.

    Other errors of SQLite, as of a full disk, stay until somebody acts.
    """
    while error is not None:
        if isinstance(error, sa.exc.DBAPIError):
            if isinstance(error.orig, sqlite3.Error):
                # The lowest byte of an extended code.
                code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF
                return code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
            lost = isinstance(error, sa.exc.OperationalError | sa.exc.InterfaceError)
            return lost or error.connection_invalidated
        error = error.__cause__ or error.__context__
    return False
