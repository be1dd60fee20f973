"""Keeps two backups of an SQLite database, and refuses to begin a study over them."""

from __future__ import annotations

import contextlib
import shlex
import sqlite3
from pathlib import Path

from effv2_tune.errors import EXIT_FAILED, TuneError
from effv2_tune.files.atomic import durable_replace, replacing, sync

#: The database in a study's folder, its last backup, and the one before.
DATABASE = "study.db"
BACKUP = "study.db.backup"
OLDER_BACKUP = "study.db.backup-older"

#: Of SQLite; its module raises the second where an error message quotes damaged bytes.
SQLITE_ERRORS = (sqlite3.Error, UnicodeDecodeError)

#: Lets SQLite look for a damaged page, row or index; the answer is "ok" or the first mistake.
INTEGRITY_CHECK = "PRAGMA integrity_check(1)"

_TRIALS = "SELECT count(*) FROM trials JOIN studies USING (study_id)"
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
        source.backup(target)
        if (verdict := target.execute(INTEGRITY_CHECK).fetchone()) != ("ok",):
            # The last good backups must not be replaced by a damaged one.
            raise sqlite3.DatabaseError(f"the database is damaged: {verdict[0]}")
        sync(Path(unfinished.name))
        with contextlib.suppress(FileNotFoundError):
            durable_replace(backup, backup.with_name(OLDER_BACKUP))


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


def has_study(folder: Path) -> bool:
    """Whether a study's folder holds a study, or a database that cannot be read."""
    return _count(folder / DATABASE, _STUDIES) != 0


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
