"""Copies a remote folder of data into the cache of this machine, once."""

from __future__ import annotations

import hashlib
import shutil
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from effv2_tune import heartbeat
from effv2_tune.files.atomic import replacing
from effv2_tune.files.checked_json import read_checked, write_checked
from effv2_tune.files.locks import exclusive_lock
from effv2_tune.files.remote import RemoteError, RemoteFolder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

#: Files that are read at a time: most are small, and a bucket takes long to answer.
_THREADS = 16
_MANIFEST = "copied.json"


def is_remote(path: str) -> bool:
    """Whether a path is the URL of a remote folder, such as ``s3://bucket/images``."""
    return "://" in path


def copied_folder(
    uri: str, cache: Path, on_progress: Callable[[int, int], None] = lambda _done, _all: None
) -> Path:
    """The copy of a remote folder, or of one file; what has changed since it was made is updated.

    Several processes of a machine wait for the first one. Files get their names once they are
    complete, so that an interrupted copy goes on.

    Args:
        uri: Of the folder.
        cache: Folder of all copies.
        on_progress: Called with the number of files that are copied, and of all.

    Returns:
        The folder, or the file.

    Raises:
        RemoteError: It cannot be reached or read, or is empty.
        TuneError: The URL is malformed.
        ImportError: Its package is not installed.
        OSError: The cache cannot be written.
    """
    remote = RemoteFolder(uri)
    tree = remote.tree()
    if not tree:
        raise RemoteError("there are no files")
    folder = cache / hashlib.sha256(uri.encode()).hexdigest()[:32]
    is_file = list(tree) == [uri.rstrip("/").rpartition("/")[2]]
    files = folder / "files"
    files.mkdir(parents=True, exist_ok=True)
    with exclusive_lock(folder / "lock"):
        known = read_checked(folder / _MANIFEST) or {}
        _remove_others(files, set(tree))
        wanted = [
            name
            for name, (size, version) in tree.items()
            if known.get(name) != [size, version] or not _has_size(files / name, size)
        ]
        if wanted:
            _copy(remote, files, wanted, is_file=is_file, on_progress=on_progress)
            write_checked(folder / _MANIFEST, {name: list(facts) for name, facts in tree.items()})
    return files / next(iter(tree)) if is_file else files


def _copy(
    remote: RemoteFolder,
    files: Path,
    names: list[str],
    *,
    is_file: bool,
    on_progress: Callable[[int, int], None],
) -> None:
    """Copy files, several at a time."""

    def copy(name: str) -> None:
        target = files / name
        if not target.resolve().is_relative_to(files.resolve()):
            raise RemoteError(f"{name!r} is outside of the folder")
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as file:
            for chunk in remote.chunks("" if is_file else name):
                file.write(chunk)

    with ThreadPoolExecutor(_THREADS) as pool:
        for done, _ in enumerate(pool.map(copy, names), 1):
            heartbeat.advance()
            on_progress(done, len(names))


def _remove_others(files: Path, names: set[str]) -> None:
    """Remove copies of files that the remote folder has no longer."""
    for path in files.rglob("*"):
        if path.is_file() and path.relative_to(files).as_posix() not in names:
            path.unlink(missing_ok=True)
    for path in sorted(files.rglob("*"), reverse=True):
        if path.is_dir() and not any(path.iterdir()):
            shutil.rmtree(path, ignore_errors=True)


def _has_size(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size
