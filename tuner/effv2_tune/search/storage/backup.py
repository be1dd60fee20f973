"""Keeps two backups of an SQLite database, and refuses to begin a study over them."""

from __future__ import annotations

import contextlib
import shlex
import sqlite3
from pathlib import Path

from effv2_tune.errors import EXIT_FAILED, TuneError
from effv2_tune.files.atomic import durable_replace, replacing, sync
from effv2_tune.search.storage.base import PAUSED

#: The database in a study's folder, its last backup, and the one before.
DATABASE = "study.db"
BACKUP = "study.db.backup"
OLDER_BACKUP = "study.db.backup-older"

#: Of SQLite; its module raises the second where an error message quotes damaged bytes.
SQLITE_ERRORS = (sqlite3.Error, UnicodeDecodeError)

#: Lets SQLite look for a damaged page, row or index; the answer is "ok" or the first mistake.
INTEGRITY_CHECK = "PRAGMA integrity_check(1)"

_TRIALS = "SELECT count(*) FROM trials JOIN studies USING (study_id)"
#: Of a trial that ends, our record is written first, and Optuna's state second. The record is JSON
#: inside of JSON; a pattern, because a damaged one must not raise here.
_ENDED = """
    SELECT count(*) FROM trials AS t WHERE state NOT IN ('RUNNING', 'WAITING') OR EXISTS (
        SELECT 1 FROM trial_user_attributes AS a WHERE a.trial_id = t.trial_id
        AND a.key = 'effv2_tune:record' AND a.value_json NOT LIKE '%\\"state\\":\\"running\\"%'
        AND a.value_json NOT LIKE '%\\"state\\":\\"paused\\"%'
    )
"""
_STUDIES = "SELECT count(*) FROM studies"


def write_backup(database: Path, backup: Path) -> None:
    """Copy an SQLite database with SQLite's backup API, which sees no half-written page.

    The last backup becomes the older one.

    Raises:
        OSError: The backup cannot be written.
        sqlite3.Error: Likewise, or the database cannot be read.
    """
    with (
        replacing(backup) as unfinished,
        # Some builds of SQLite read a relative name that starts with "file:" as a URI.
        contextlib.closing(sqlite3.connect(database.absolute())) as source,
        contextlib.closing(sqlite3.connect(Path(unfinished.name).absolute())) as target,
    ):
        # A failed copy is discarded, and needs no journal that would stay.
        target.execute("PRAGMA journal_mode = OFF")
        source.backup(target)
        if (verdict := target.execute(INTEGRITY_CHECK).fetchone()) != ("ok",):
            # The last good backups must not be replaced by a damaged one.
            raise sqlite3.DatabaseError(f"the database is damaged: {verdict[0]}")
        sync(Path(unfinished.name))
        with contextlib.suppress(FileNotFoundError):
            durable_replace(backup, backup.with_name(OLDER_BACKUP))


def copy_database(database: Path) -> tuple[bytes, int]:
    """Copy an SQLite database with SQLite's backup API, into memory.

    Returns:
        The bytes of its file, and how many trials have ended in it.

    Raises:
        sqlite3.Error: The database cannot be read.
    """
    with (
        contextlib.closing(sqlite3.connect(database.absolute(), timeout=60)) as source,
        contextlib.closing(sqlite3.connect(":memory:")) as copy,
    ):
        source.backup(copy)
        return copy.serialize(), int(copy.execute(_ENDED).fetchone()[0])


def count_ended(folder: Path) -> int:
    """How many trials have ended by their records in a study's folder; 0 without a database."""
    return _count(folder / DATABASE, _ENDED) or 0


def has_study(folder: Path) -> bool:
    """Whether a folder has the database of a study; a damaged one counts."""
    return _count(folder / DATABASE, _STUDIES) != 0


def free_leases(database: Path) -> None:
    """Free all leases in a copy of a database, whose supervisor runs elsewhere or no more.

    Raises:
        sqlite3.Error: It is not a study's database.
    """
    with contextlib.closing(sqlite3.connect(database.absolute())) as copy, copy:
        # Paused trials have no supervisor, here and there.
        copy.execute("UPDATE leases SET token = '' WHERE token != ?", (PAUSED,))


def refuse_lost_database(folder: Path) -> None:
    """Check that a study's database is not missing or empty where there is a backup of it.

    Raises:
        TuneError: It is; with the command that restores it.
    """
    database = folder / DATABASE
    if database.is_file() and _count(database, _STUDIES) != 0:
        return
    for backup in (folder / BACKUP, folder / OLDER_BACKUP):
        if trials := _count(backup, _TRIALS):
            state = "has no study" if database.is_file() else "is missing"
            raise TuneError(
                f"{database} {state}, and its backup {backup} holds "
                f"{trials} trial{'' if trials == 1 else 's'}.",
                hint="Restore it, or start a new study with --out another folder:\n"
                f"{restore_command(backup)}",
                exit_code=EXIT_FAILED,
            )


def restore_command(backup: Path) -> str:
    """The shell command that puts a backup in the place of the database."""
    database = backup.with_name(DATABASE)
    copy = shlex.join(["cp", str(backup), str(database)])
    journal = backup.with_name(f"{DATABASE}-journal")
    # SQLite would apply the journal of the lost database to the restored one.
    return f"{copy} && {shlex.join(['rm', str(journal)])}" if journal.exists() else copy


def _count(database: Path, query: str) -> int | None:
    """The result of a count; 0 where the database is absent or empty, None if it is unreadable."""
    if not database.is_file() or database.stat().st_size == 0:
        return 0
    address = f"{database.resolve().as_uri()}?mode=ro"
    try:
        with contextlib.closing(sqlite3.connect(address, uri=True, timeout=60)) as connection:
            return int(connection.execute(query).fetchone()[0])
    except SQLITE_ERRORS as error:
        return 0 if "no such table" in str(error) else None
