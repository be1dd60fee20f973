"""Writes files atomically: after a crash a file is absent, the old one or the complete new one."""

from __future__ import annotations

import json
import os
import re
import secrets
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING, Any

from effv2_tune.files.disk_errors import naming
from effv2_tune.files.locks import is_at, lock, try_lock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: The end of a temporary file's name: one for each writer.
_TEMPORARY = re.compile(r".+\.[0-9]+-[0-9a-f]{8}\.writing(\.\w+)?")


@contextmanager
def replacing(path: Path, *, suffix: str = "") -> Iterator[IO[bytes]]:
    """Write a new version of ``path``, which gets its name once it is complete and on disk.

    An error removes the temporary file; what a killed process left in the folder is removed too.

    Args:
        path: The file to create or replace.
        suffix: End of the temporary file's name, for a writer that requires a certain one.

    Yields:
        A temporary file in the same folder, to be written as a stream or by its ``name``.

    Raises:
        OSError: The disk is full, or the folder cannot be written.
    """
    if path.exists() and not path.is_file():  # a pipe or a device has nothing to replace
        with path.open("wb") as stream:
            yield stream
        return
    path = path.resolve()  # a symbolic link stays one
    _remove_abandoned(path.parent)
    temporary, file = _create(path, suffix)
    try:
        with naming(path), file:
            yield file
            file.flush()
            durable_replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_bytes(path: Path, content: bytes) -> None:
    """Write a whole file atomically."""
    with replacing(path) as file:
        file.write(content)


def write_text(path: Path, text: str) -> None:
    """Write a whole file of UTF-8 text atomically."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON atomically."""
    write_text(path, json.dumps(value))


def durable_replace(source: Path, target: Path) -> None:
    """Rename a complete file of the same folder; contents and new name are on disk afterwards."""
    sync(source)
    os.replace(source, target)  # noqa: PTH105 - Path.replace is the same call
    sync(target.parent)


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _create(path: Path, suffix: str) -> tuple[Path, IO[bytes]]:
    """A new temporary file, locked so that no other process takes it for abandoned."""
    while True:
        name = f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}.writing{suffix}"
        temporary = path.with_name(name)
        file = temporary.open("xb")
        # Without locks, as on some network file systems, nothing is ever removed as abandoned.
        with suppress(OSError):
            lock(file)
        if is_at(temporary, file):
            return temporary, file
        file.close()


def _remove_abandoned(folder: Path) -> None:
    """Remove temporary files that no living process writes."""
    for path in folder.glob("*.writing*"):
        if _TEMPORARY.fullmatch(path.name):
            with suppress(OSError), path.open("r+b") as file:
                if try_lock(file) and is_at(path, file):
                    path.unlink()
