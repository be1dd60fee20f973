"""Turns failures of a database into messages for the user."""

from __future__ import annotations

import sqlite3
import traceback
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from effv2_tune.errors import EXIT_FAILED, TuneError
from effv2_tune.search.storage.damage import DamagedError, is_damage, way_out

if TYPE_CHECKING:
    from collections.abc import Iterator

#: What SQLAlchemy and Optuna raise where a stored value is none that they write.
_UNREADABLE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)
#: The modules that read stored values.
_READERS = ("sqlalchemy.", "optuna.storages._rdb.")


@contextmanager
def database_errors(place: str) -> Iterator[None]:
    """Raise a failure of the database as a TuneError, whichever layer reports it.

    Args:
        place: The database, for the message.

    Raises:
        TuneError: The disk is full, the file is read-only, or the server is gone; or the database
            is damaged.
    """
    try:
        yield
    except DamagedError as error:
        raise _damaged(place, error.message) from error
    except _failures() as error:
        reason = reason_of(error)
        if reason is not None and is_damage(reason):
            raise TuneError(
                f"{place} is not a readable database: {reason}.",
                hint=way_out(Path(place)),
                exit_code=EXIT_FAILED,
            ) from error
        if reason is None:
            raise
        raise TuneError(
            f"The database {place} cannot be used: {reason}.",
            hint="Fix this, then rerun the same command to resume.",
            exit_code=EXIT_FAILED,
        ) from error
    except _UNREADABLE as error:
        if not _is_from_a_reader(error):
            raise
        raise _damaged(place, f"A stored value cannot be read: {_first_line(error)}.") from error


def _failures() -> tuple[type[Exception], ...]:
    """The exceptions of the layers, without Optuna where nothing fails: reading needs none."""
    from optuna.exceptions import StorageInternalError

    return sa.exc.SQLAlchemyError, StorageInternalError, sqlite3.Error


def _damaged(place: str, what: str) -> TuneError:
    return TuneError(
        f"The database {place} is damaged. {what}",
        hint=way_out(Path(place)),
        exit_code=EXIT_FAILED,
    )


def reason_of(error: BaseException | None) -> str | None:
    """The driver's message, if the database failed; None for a wrong statement of this package."""
    while error is not None:
        if isinstance(error, (sa.exc.OperationalError, sa.exc.InterfaceError)):
            return _first_line(error.orig)
        if isinstance(error, (sa.exc.DatabaseError, sqlite3.Error)):
            reason = _first_line(getattr(error, "orig", error))
            if is_damage(reason):
                return reason
        error = error.__cause__ or error.__context__
    return None


def _first_line(error: BaseException | None) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")


def _is_from_a_reader(error: BaseException) -> bool:
    """Whether SQLAlchemy or Optuna's storage raised an error."""
    frames = traceback.walk_tb(error.__traceback__)
    return any(str(frame.f_globals.get("__name__")).startswith(_READERS) for frame, _ in frames)
