"""Damages one file, as disks, crashes and people do: bytes of any file, cells of a database."""

from __future__ import annotations

import contextlib
import json
import random
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: Changes a file, and says how. The other one is that of another study, or an older version.
Damage = Callable[[Path, Path | None, random.Random], str]


def flip(path: Path, _: Path | None, rng: random.Random) -> str:
    content = bytearray(path.read_bytes())
    position = rng.randrange(len(content))
    content[position] ^= 1 << rng.randrange(8)
    path.write_bytes(content)
    return f"a bit of byte {position} flipped"


def overwrite(path: Path, _: Path | None, rng: random.Random) -> str:
    return _replace(path, rng, rng.randbytes, "random bytes")


def zero(path: Path, _: Path | None, rng: random.Random) -> str:
    return _replace(path, rng, bytes, "zeros")


def cut_out(path: Path, _: Path | None, rng: random.Random) -> str:
    return _replace(path, rng, lambda _: b"", "nothing")


def truncate(path: Path, _: Path | None, rng: random.Random) -> str:
    content = path.read_bytes()
    size = rng.choice([0, rng.randrange(len(content)), len(content) - 1])
    path.write_bytes(content[:size])
    return f"truncated to {size} bytes"


def delete(path: Path, _: Path | None, rng: random.Random) -> str:
    del rng
    path.unlink()
    return "deleted"


def append(path: Path, _: Path | None, rng: random.Random) -> str:
    with path.open("ab") as file:
        file.write(rng.randbytes(99))
    return "random bytes appended"


def swap(path: Path, other: Path | None, rng: random.Random) -> str:
    """The same range of the other file, or another range of this one."""
    source = (path if other is None or not other.is_file() else other).read_bytes()
    start = rng.randrange(len(source)) if other is None else 0
    foreign = source[start:] + source[:start]
    content = bytearray(path.read_bytes())
    first, last = _range(len(content), rng)
    content[first:last] = foreign[first:last]
    path.write_bytes(content)
    return f"bytes {first} to {last} exchanged"


def exchange(path: Path, other: Path | None, rng: random.Random) -> str:
    """The whole other file."""
    if other is None or not other.is_file():
        return swap(path, other, rng)
    path.write_bytes(other.read_bytes())
    return "exchanged as a whole"


def swap_page(path: Path, other: Path | None, rng: random.Random) -> str:
    """A page of SQLite: misdirected, lost or never written."""
    size = 4096
    content = bytearray(path.read_bytes())
    foreign = bytes(len(content)) if other is None else other.read_bytes()
    page = rng.randrange(max(1, min(len(content), len(foreign)) // size))
    content[page * size : (page + 1) * size] = foreign[page * size : (page + 1) * size]
    path.write_bytes(content)
    return f"page {page} exchanged"


BYTES: tuple[Damage, ...] = (
    flip,
    overwrite,
    zero,
    cut_out,
    truncate,
    append,
    delete,
    swap,
    exchange,
)


def edit_database(path: Path, _: Path | None, rng: random.Random) -> str:
    """Delete a row, or change one of its cells."""
    with contextlib.closing(sqlite3.connect(path)) as database:
        names = "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name"
        rows = [
            (name, row)
            for (name,) in database.execute(names).fetchall()
            for (row,) in database.execute(f"SELECT rowid FROM {name}").fetchall()  # noqa: S608
        ]
        table, row = rng.choice(rows)
        if rng.random() < 0.25:
            database.execute(f"DELETE FROM {table} WHERE rowid = ?", (row,))  # noqa: S608
            database.commit()
            return f"row {row} of {table} deleted"
        cursor = database.execute(f"SELECT * FROM {table} WHERE rowid = ?", (row,))  # noqa: S608
        columns = [column[0] for column in cursor.description]
        cells = dict(zip(columns, cursor.fetchone(), strict=True))
        column = rng.choice(columns)
        value, how = _changed(cells[column], rng)
        with contextlib.suppress(sqlite3.IntegrityError):  # not possible in this column
            query = f'UPDATE {table} SET "{column}" = ? WHERE rowid = ?'  # noqa: S608
            database.execute(query, (value, row))
        database.commit()
    return f"{column} of row {row} of {table} ({cells.get('key', '')}): {how}"


def _changed(value: Any, rng: random.Random) -> tuple[Any, str]:
    if isinstance(value, (int, float)):
        new = rng.choice([value + 1, value * 2, -value, 0, None, "text", 1e308, b"\xff"])
        return new, f"{value!r} is {new!r}"
    text = str(value)
    how = rng.choice(["a digit", "cut", "another type", "null", "a letter", "no checksum"])
    return (None if how == "null" else _changed_text(text, how, rng)), how


def _changed_text(text: str, how: str, rng: random.Random) -> Any:
    digits = [place for place, letter in enumerate(text) if letter.isdigit()]
    if how == "no checksum" and '"sha256"' in text:
        return json.loads(text).get("value")
    if how == "a digit" and digits:
        place = rng.choice(digits)
        return (
            text[:place] + str((int(text[place]) + rng.randrange(1, 10)) % 10) + text[place + 1 :]
        )
    if how == "a letter" and text:
        place = rng.randrange(len(text))
        return text[:place] + rng.choice('aZ"{ \x00ö') + text[place + 1 :]
    if how == "cut":
        return text[: rng.randrange(len(text) or 1)]
    return rng.choice(["7", "null", "[1, 2]", "{}", '"x"', "NaN", b"\xff\xfe", 3])


def _replace(path: Path, rng: random.Random, content_of: Callable[[int], bytes], what: str) -> str:
    content = bytearray(path.read_bytes())
    first, last = _range(len(content), rng)
    content[first:last] = content_of(last - first)
    path.write_bytes(content)
    return f"bytes {first} to {last} replaced by {what}"


def _range(size: int, rng: random.Random) -> tuple[int, int]:
    """A range of a file, more often a short one."""
    first = rng.randrange(size)
    return first, min(size, first + int(2 ** rng.uniform(0, 13)))
