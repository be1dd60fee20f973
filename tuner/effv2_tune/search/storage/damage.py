"""Detects damaged databases, and names the backup that replaces one."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING

import sqlalchemy as sa

from effv2_tune.errors import EXIT_FAILED, TuneError
from effv2_tune.search.storage.backup import (
    BACKUP,
    DATABASE,
    INTEGRITY_CHECK,
    OLDER_BACKUP,
    SQLITE_ERRORS,
    restore_command,
)

if TYPE_CHECKING:
    from pathlib import Path

#: Parts of SQLite's messages about a file that is not, or no longer, its database.
_SYMPTOMS = (
    "malformed",
    "not a database",
    "no such table",
    "no such column",
    "has no column",
    "unsupported file format",
    "could not decode",
)
#: The last table that is created in a new database; see ``database._open``.
_LAST_TABLE = "leases"

_NEW_STUDY = "start a new study: --out another folder."
_ANY_BACKUP = f"Restore a backup of the database, or {_NEW_STUDY}"


class DamagedError(TuneError):
    """Something in the database is not what was written.

    :func:`effv2_tune.search.storage.database_errors.database_errors` adds the database and the
    command that restores its backup.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message, hint=_ANY_BACKUP, exit_code=EXIT_FAILED)


def is_damage(reason: str) -> bool:
    """Whether the message of a database is about damage, not about the disk or the server."""
    return any(symptom in reason for symptom in _SYMPTOMS)


def check_integrity(engine: sa.Engine) -> None:
    """Let SQLite check all pages and indexes of its file; other databases do this themselves.

    Without it, a damaged index would hide rows. A database whose tables another supervisor is
    creating is not checked.

    Raises:
        DamagedError: There is a mistake.
    """
    if engine.dialect.name != "sqlite" or not sa.inspect(engine).has_table(_LAST_TABLE):
        return
    with engine.connect() as connection:
        verdict = str(connection.exec_driver_sql(INTEGRITY_CHECK).scalar())
        if verdict != "ok":
            raise DamagedError(f"SQLite finds: {' '.join(verdict.split())}.")
        lost = connection.exec_driver_sql(
            "SELECT count(*) FROM trial_user_attributes WHERE trial_id NOT IN "
            "(SELECT trial_id FROM trials JOIN studies USING (study_id))"
        ).scalar()
        if lost:
            raise DamagedError("It has the record of a trial that is missing in Optuna's table.")


def roll_back_unfinished(database: Path) -> None:
    """Let SQLite roll back the transaction of a killed process, which a read-only one cannot.

    The journal of a living one is locked, and left alone.
    """
    if database.with_name(f"{database.name}-journal").exists():
        with (
            contextlib.suppress(*SQLITE_ERRORS),
            contextlib.closing(sqlite3.connect(database.absolute())) as connection,
        ):
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()


def is_intact(database: Path) -> bool:
    """Whether SQLite finds no mistake in a file, and a study in it."""
    address = f"{database.resolve().as_uri()}?mode=ro"
    try:
        with contextlib.closing(sqlite3.connect(address, uri=True, timeout=60)) as connection:
            (verdict,) = connection.execute(INTEGRITY_CHECK).fetchone()
            (studies,) = connection.execute("SELECT count(*) FROM studies").fetchone()
            return verdict == "ok" and int(studies) > 0
    except SQLITE_ERRORS:
        return False


def way_out(database: Path) -> str:
    """What to do about a damaged database.

    Args:
        database: Its file, if it is that of a study's folder.
    """
    if database.name != DATABASE:
        return _ANY_BACKUP
    for name in (BACKUP, OLDER_BACKUP):
        backup = database.with_name(name)
        if backup.is_file() and is_intact(backup):
            return (
                "Stop the study and restore its backup, which may lack the last few trials; or "
                f"{_NEW_STUDY}\n{restore_command(backup)}"
            )
    return f"Beside it is no intact {BACKUP}. Restore another copy, or {_NEW_STUDY}"
