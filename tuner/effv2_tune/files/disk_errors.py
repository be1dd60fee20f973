"""Turns errors of the disk into messages for the user."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from effv2_tune.errors import EXIT_FAILED, TuneError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def disk_errors(what: str, *, hint: str) -> Iterator[None]:
    """Raise an OSError as a TuneError.

    Args:
        what: What is written, and where, such as "The report cannot be written to report.html".
        hint: What the user can do about it.

    Raises:
        TuneError: The disk is full, or the folder cannot be written.
    """
    try:
        yield
    except OSError as error:
        message = f"{what}: {error.strerror or error}."
        raise TuneError(message, hint=hint, exit_code=EXIT_FAILED) from error
