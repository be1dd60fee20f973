"""Builds the URLs of SQLite files, and hides the passwords in the URLs of databases."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote_plus

import sqlalchemy as sa

if TYPE_CHECKING:
    from pathlib import Path

_NAME = re.compile(r"(?:(?<=[?&\s])|^)([^=&?\s]+)\s*=")
_NEXT = re.compile(r"&[^=&\s]+=")
_SECRET = re.compile(r"pass(?!file)|pwd|secret|token|odbc_connect", re.IGNORECASE)
#: "name:" at the start, where no port follows.
_NO_PORT = re.compile(r"([^/:?\[]*):(?!\d*(?:[/?]|$))")
#: Of a URL also as a path, which has one slash of several.
DATABASE_SCHEME = re.compile(r"(postgres(ql)?|mysql|mariadb|mssql|oracle|sqlite)(\+\w+)?:/+")
_ANY_SCHEME = re.compile(r"[\w+.-]+://+")


def sqlite_url(file: Path) -> str:
    """The URL of an SQLite file, whatever characters its path has."""
    path = str(file.absolute())
    return sa.URL.create("sqlite", database=path).render_as_string(hide_password=False)


def sqlite_read_only_url(file: Path) -> str:
    """The URL of an SQLite file that is only read, and so never waits for a write lock."""
    # Here SQLite is given a URI, in which the path is quoted once more.
    uri, query = f"file:{quote(str(file.absolute()))}", {"mode": "ro", "uri": "true"}
    return sa.URL.create("sqlite", database=uri, query=query).render_as_string(hide_password=False)


def without_password(url: str) -> str:
    """The URL of a database for messages: ``***`` for its password, also where it is malformed.

    Where it is ambiguous, too much is hidden rather than too little.
    """
    text = _hide_parameters(url)
    start = DATABASE_SCHEME.match(text) or _ANY_SCHEME.match(text)
    scheme = "" if start is None else start[0]
    if scheme.startswith("sqlite") and scheme.endswith("///"):
        return text  # a path, which may contain ":" and "@"
    rest = text.removeprefix(scheme)
    # A password may hold an unquoted "@": the last one counts.
    credentials, at, address = rest.rpartition("@")
    user, colon, _ = credentials.partition(":")
    if at and colon:
        return f"{scheme}{user}:***@{address}"
    no_port = _NO_PORT.match(rest)
    if scheme and no_port is not None:
        return f"{scheme}{no_port[1]}:***"
    return text


def has_unquoted_at(url: str) -> bool:
    """Whether a password or a parameter in a URL has an ``@``, and is cut off there."""
    before, _, query = url.partition("?")
    return not url.startswith("sqlite") and (before.count("@") > 1 or "@" in query)


def _hide_parameters(text: str) -> str:
    """The text with ``***`` for the values of secret parameters, which may hold unquoted "&"."""
    for name in _NAME.finditer(text):
        if _SECRET.search(unquote_plus(name[1])) is not None:
            following = _NEXT.search(text, name.end())
            end = len(text) if following is None else following.start()
            # With an "@" in it, the text before it may be part of a password.
            hidden = "***@" if "@" in text[name.end() : end] else "***"
            return text[: name.end()] + hidden + _hide_parameters(text[end:])
    return text
