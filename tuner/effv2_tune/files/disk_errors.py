"""Turns errors of the disk into messages for the user."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from effv2_tune.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def disk_errors(what: str, *, hint: str) -> Iterator[None]:
    """Raise an OSError as an UnavailableError.

    Args:
        what: What is written, and where, such as "The report cannot be written to report.html".
        hint: What the user can do about it.

    Raises:
        UnavailableError: The disk is full, or the folder cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise UnavailableError(f"{what}: {error.strerror or error}.", hint=hint) from error


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Add a file's name to an OSError: a failed read or write of an open file has none."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = str(path)
        raise
