"""Locates studies: in a folder, or in a database by name."""

from __future__ import annotations

import errno
import os
import shlex
from pathlib import Path
from typing import Any

from effv2_tune.errors import EXIT_FAILED, EXIT_WRONG_INPUT, TuneError
from effv2_tune.files.file_systems import unsafe_for_locks
from effv2_tune.host import install_command

#: Default parent folder of studies and training runs.
RUNS = Path("runs")
_SCHEME = "://"
_ANOTHER_FOLDER = "Choose another folder: --out DIR"
_EXAMPLES = "Such as postgresql+psycopg://user:password@host/database, or sqlite:////folder/file.db"


def locate_study(text: str) -> str | Path:
    """The folder or database URL that the user names: also by its name in ``runs/``, or its file.

    Args:
        text: A folder, the path of its database file, a name, or a URL.
    """
    from effv2_tune.search.storage.backup import BACKUP, DATABASE

    path = Path(text)
    if is_database(text) or (path / DATABASE).is_file():
        return text
    if path.name == DATABASE and path.is_file():
        return path.parent
    named = RUNS / path
    return named if any((named / file).is_file() for file in (DATABASE, BACKUP)) else text


def is_database(place: str | Path) -> bool:
    """Whether ``place`` is the URL of a database, and not a folder."""
    return isinstance(place, str) and _SCHEME in place


def shown(place: str | Path) -> str:
    """``place`` for messages: without a password, also where a URL lacks its scheme."""
    if not is_database(place) and Path(place).exists():
        return str(place)
    from effv2_tune.search.storage.urls import without_password

    return without_password(str(place))


def command_line(*words: str, **options: Any) -> str:
    """A command with its options, to be typed in the working directory; None leaves one out."""
    line = ["effv2-tune", *words]
    for name, value in options.items():
        if value is not None:
            text = f"{value:g}" if isinstance(value, float) else str(value)
            line += [f"--{name.replace('_', '-')}", text]
    return shlex.join(line)


def as_arguments(place: str | Path, name: str | None) -> str:
    """The study's arguments on a command line: its folder, or the URL with ``--name``."""
    where = shlex.quote(shown(place))
    return f"{where} --name {shlex.quote(name)}" if is_database(place) and name else where


def check_folder(folder: Path) -> None:
    """Check that a folder can be written to or created; writes nothing.

    Raises:
        TuneError: It cannot, or is the URL of a database.
    """
    from effv2_tune.search.storage.urls import DATABASE_SCHEME

    if DATABASE_SCHEME.match(str(folder)):
        raise TuneError(
            f"{shown(folder)} is the URL of a database, not a folder.", hint="Use --storage URL."
        )
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    if not nearest.is_dir():
        raise TuneError(
            f"The folder {folder} cannot be created: {nearest} is a file.", hint=_ANOTHER_FOLDER
        )
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise TuneError(
            f"The folder {folder} cannot be written to: no write permission for {nearest}.",
            hint=_ANOTHER_FOLDER,
        )


def check_file_system(folder: Path, mountinfo: str | None = None) -> None:
    """Check that SQLite is safe in a folder.

    Args:
        folder: It need not exist.
        mountinfo: The mounts of this machine, as of `files.file_systems`.

    Raises:
        TuneError: It is on a network or FUSE file system.
    """
    unsafe = unsafe_for_locks(folder, mountinfo)
    if unsafe is not None:
        kind, reason = unsafe
        raise TuneError(
            f"{folder} is on a file system of type {kind}, where SQLite can lose or damage the "
            f"study: {reason}.",
            hint=f"Use a folder on a local disk, and copy the study here while it runs: --out DIR "
            f"--mirror {shlex.quote(str(folder / 'mirror'))} (to continue a study, copy its folder "
            "to DIR first). Or use a PostgreSQL database: --storage URL.",
        )


def make_folder(folder: Path) -> None:
    """Create a folder, unless it exists.

    Raises:
        TuneError: It cannot be created, or not be written to.
    """
    check_folder(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        # A name can be wrong; all else, such as a full disk, is no mistake of the command line.
        is_wrong_name = error.errno == errno.ENAMETOOLONG
        raise TuneError(
            f"The folder {folder} cannot be created: {error.strerror}.",
            hint=_ANOTHER_FOLDER,
            exit_code=EXIT_WRONG_INPUT if is_wrong_name else EXIT_FAILED,
        ) from error


def check_database(url: str) -> None:
    """Check that a URL names a database that this machine can open; does not connect.

    Raises:
        TuneError: It is malformed, its driver is not installed, or its folder does not exist.
    """
    import sqlalchemy as sa

    from effv2_tune.search.storage.urls import has_unquoted_at

    if has_unquoted_at(url):
        raise TuneError(
            f"{shown(url)!r} has an unquoted '@'.",
            hint="Write @ in a password or a parameter as %40.",
        )
    try:
        address = sa.make_url(url)
        kind = address.get_dialect()
    except (sa.exc.ArgumentError, ValueError) as error:
        raise TuneError(f"{shown(url)!r} is not the URL of a database.", hint=_EXAMPLES) from error
    try:
        kind.import_dbapi()
    except ImportError as error:
        raise TuneError(
            f"The database {shown(url)} needs a driver that is not installed ({error.name}).",
            hint=f"For PostgreSQL: {install_command('postgres')}, and a URL that starts with "
            "postgresql+psycopg://",
        ) from error
    if address.get_backend_name() == "sqlite":
        if address.host or address.username:
            raise TuneError(f"{shown(url)!r} is not the URL of an SQLite file.", hint=_EXAMPLES)
        _check_file(address.database, url)


def database_exists(url: str) -> bool:
    """Whether there may be a database; false only for an SQLite file that does not exist.

    Connecting to such a file would create it.
    """
    import sqlalchemy as sa

    address = sa.make_url(url)
    is_file = address.get_backend_name() == "sqlite" and "uri" not in address.query
    return not is_file or Path(str(address.database)).is_file()


def folder_of_database(url: str) -> Path | None:
    """The folder of an SQLite file; None for the URL of a server."""
    import sqlalchemy as sa

    address = sa.make_url(url)
    is_file = address.get_backend_name() == "sqlite"
    return Path(str(address.database)).parent if is_file else None


def _check_file(database: str | None, url: str) -> None:
    if database in (None, "", ":memory:"):
        raise TuneError(
            f"{shown(url)!r} names no file: a database in memory is lost when the command ends.",
            hint="Write sqlite:////folder/file.db; or omit --storage, for SQLite in --out.",
        )
    folder = Path(str(database)).parent
    if not folder.is_dir():
        raise TuneError(
            f"{shown(url)} cannot be opened: there is no folder {folder}.",
            hint="Create it first; a path from the root has four slashes: sqlite:////folder/file.db",
        )
