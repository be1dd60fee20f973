"""Copies the checkpoints of a trial between a node of a cluster and the study's folder."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from effv2_tune.files.atomic import write_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

#: In the names of files that are not complete yet (`files.atomic`).
_INCOMPLETE = ".writing"


@dataclass(frozen=True)
class FolderCopy:
    """The files of a folder, as far as the receiver lacks them.

    Attributes:
        name: Of the folder.
        names: Of all its files.
        contents: Of the files that are new or have changed, by name.
    """

    name: str
    names: frozenset[str] = frozenset()
    contents: Mapping[str, bytes] = field(default_factory=dict)


class FolderChanges:
    """Finds the files of a folder that are new or have changed since it was last looked at.

    Args:
        folder: It need not exist yet.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, tuple[int, int]] = {}

    def skip(self) -> None:
        """Take the files that are there now for known."""
        self._known = {path.name: key for path, key in self._files().items()}

    def read(self) -> FolderCopy | None:
        """What has changed; None where nothing has."""
        files = self._files()
        keys = {path.name: key for path, key in files.items()}
        if keys == self._known:
            return None
        contents = {}
        for path, key in files.items():
            if self._known.get(path.name) != key:
                # The worker may remove its oldest checkpoint at any moment.
                with suppress(FileNotFoundError):
                    contents[path.name] = path.read_bytes()
        self._known = keys
        return FolderCopy(self._folder.name, frozenset(keys), contents)

    def _files(self) -> dict[Path, tuple[int, int]]:
        """The complete files, each with time of modification and size."""
        found = {}
        for path in sorted(self._folder.glob("*")):
            with suppress(FileNotFoundError):
                status = path.stat()
                if path.is_file() and _INCOMPLETE not in path.name:
                    found[path] = (status.st_mtime_ns, status.st_size)
        return found


def copy_of(folder: Path) -> FolderCopy:
    """All files of a folder; none where it does not exist."""
    return FolderChanges(folder).read() or FolderCopy(folder.name)


def write_copy(parent: Path, copy: FolderCopy) -> None:
    """Make a folder equal to the one that was copied; each file is written atomically.

    Args:
        parent: The folder that contains it.
        copy: What the folder lacks.

    Raises:
        OSError: The disk is full, or the folder cannot be written.
    """
    folder = parent / copy.name
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in copy.contents.items():
        write_bytes(folder / name, content)
    for path in folder.iterdir():
        if path.name not in copy.names and path.is_file():
            path.unlink(missing_ok=True)
