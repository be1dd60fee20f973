"""Where a study lies: in a folder, or in a database under its name."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from effv2_tune.errors import TuneError
from effv2_tune.host import install_command

#: Where folders of studies and of training runs lie unless a person says otherwise.
RUNS = Path("runs")
_SCHEME = "://"
_EXAMPLES = "Such as postgresql+psycopg://user:password@host/database, or sqlite:////folder/file.db"


def is_database(place: str | Path) -> bool:
    """Whether ``place`` is the URL of a database, and not a folder."""
    return isinstance(place, str) and _SCHEME in place


def shown(place: str | Path) -> str:
    """``place`` as it may be printed: without a password."""
    if not is_database(place):
        return str(place)
    import sqlalchemy as sa

    try:
        return sa.make_url(str(place)).render_as_string(hide_password=True)
    except (sa.exc.ArgumentError, ValueError):
        return str(place)


def as_arguments(place: str | Path, name: str | None) -> str:
    """What names the study on a command line: its folder, or the URL with ``--name``."""
    where = shlex.quote(shown(place))
    return f"{where} --name {shlex.quote(name)}" if is_database(place) and name else where


def check_folder(folder: Path) -> None:
    """Look whether a folder can be written to, or be made; writes nothing.

    Raises:
        TuneError: It cannot.
    """
    there = next(one for one in (folder, *folder.parents) if one.exists())
    if not there.is_dir():
        raise TuneError(
            f"The folder {folder} cannot be made: {there} is a file.",
            hint="Name another folder: --out DIR",
        )
    if not os.access(there, os.W_OK | os.X_OK):
        raise TuneError(
            f"The folder {folder} cannot be written to: {there} belongs to somebody else.",
            hint="Name another folder: --out DIR",
        )


def make_folder(folder: Path) -> None:
    """Make a folder, unless it is there.

    Raises:
        TuneError: It cannot be made, or not be written to.
    """
    check_folder(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TuneError(
            f"The folder {folder} cannot be made: {error.strerror}.",
            hint="Name another folder: --out DIR",
        ) from error


def check_database(url: str) -> None:
    """Look whether a URL names a database that can be spoken to from here; connects to nothing.

    Raises:
        TuneError: It is malformed, its driver is not installed, or its folder does not exist.
    """
    import sqlalchemy as sa

    try:
        address = sa.make_url(url)
        kind = address.get_dialect()
    except (sa.exc.ArgumentError, ValueError) as error:
        raise TuneError(f"{url!r} is not the URL of a database.", hint=_EXAMPLES) from error
    try:
        kind.import_dbapi()
    except ImportError as error:
        raise TuneError(
            f"The database {shown(url)} needs a driver that is not installed ({error.name}).",
            hint=f"For PostgreSQL: {install_command('postgres')}, and a URL that starts with "
            "postgresql+psycopg://",
        ) from error
    if address.get_backend_name() == "sqlite":
        _check_file(address.database, url)


def database_exists(url: str) -> bool:
    """Whether there may be a database; false only for an SQLite file that is not there.

    To connect to such a file would make it.
    """
    import sqlalchemy as sa

    address = sa.make_url(url)
    return address.get_backend_name() != "sqlite" or Path(str(address.database)).is_file()


def _check_file(database: str | None, url: str) -> None:
    if database in (None, "", ":memory:"):
        raise TuneError(
            f"{url!r} names no file: a database in memory is lost when the command ends.",
            hint="Write sqlite:////folder/file.db; or leave --storage out, for SQLite in --out.",
        )
    folder = Path(str(database)).parent
    if not folder.is_dir():
        raise TuneError(
            f"{shown(url)} cannot be opened: there is no folder {folder}.",
            hint="Make it first; a path from the root has four slashes: sqlite:////folder/file.db",
        )
