"""Turns failures of a database into messages for the user."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import sqlalchemy as sa
from optuna.exceptions import StorageInternalError

from effv2_tune.errors import EXIT_FAILED, TuneError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def database_errors(place: str) -> Iterator[None]:
    """Raise a failure of the database as a TuneError, whichever layer reports it.

    Args:
        place: The database, for the message.

    Raises:
        TuneError: The disk is full, the file is read-only, or the server is gone.
    """
    try:
        yield
    except (sa.exc.SQLAlchemyError, StorageInternalError) as error:
        reason = _reason(error)
        if reason is None:
            raise
        raise TuneError(
            f"The database {place} cannot be used: {reason}.",
            hint="Fix this, then rerun the same command to resume.",
            exit_code=EXIT_FAILED,
        ) from error


def _reason(error: BaseException | None) -> str | None:
    """The driver's message, if the database failed; None for a wrong statement of this package."""
    while error is not None:
        if isinstance(error, sa.exc.OperationalError):
            return str(error.orig).splitlines()[0]
        error = error.__cause__ or error.__context__
    return None
