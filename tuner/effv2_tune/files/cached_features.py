"""Finds the finished feature sets of a data set in the cache, and puts copied ones there."""

from __future__ import annotations

import json
import re
import shutil
from typing import TYPE_CHECKING

from effv2_tune.files.atomic import replacing
from effv2_tune.files.cache import cache_folder
from effv2_tune.files.locks import exclusive_lock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

#: Its description: written first, with the key of the set.
_FACTS = "features.json"
_PREFIX = "features/"
#: Of the files of a set: the name of its folder is the digest of its key.
FEATURE_PATH = re.compile(rf"{_PREFIX}([0-9a-f]{{32}})/(\w[\w.-]*)")
#: Bytes that are read at a time for another machine.
_PART_BYTES = 8 * 2**20


def feature_lock(folder: Path) -> Path:
    """The file that whoever writes a feature set locks, by the folder of the set."""
    return folder.with_name(folder.name + ".lock")


def finished_features(data_digest: str | None) -> dict[str, Path]:
    """The files of the finished feature sets of a data set, by ``features/<digest>/<name>``.

    Args:
        data_digest: Of the data set; None where it is not known yet.
    """
    found = {}
    for facts in sorted(cache_folder("features").glob(f"*/{_FACTS}")):
        names = {path.name: path for path in facts.parent.iterdir()}
        paths = {f"{_PREFIX}{facts.parent.name}/{name}": path for name, path in names.items()}
        is_finished = not any(name.endswith((".part", ".journal")) for name in names)
        is_plain = all(map(FEATURE_PATH.fullmatch, paths))
        if is_finished and is_plain and _data_of(facts) == data_digest:
            found.update(paths)
    return found


def restore_features(paths: Iterable[str], download: Callable[[str, Path], None]) -> None:
    """Put feature sets into the cache, those that it has excepted.

    Args:
        paths: Of their files, as of :func:`finished_features`.
        download: Writes the file of a path to a place; what it raises leaves the set out.
    """
    sets: dict[str, list[str]] = {}
    for path in paths:
        if match := FEATURE_PATH.fullmatch(path):
            sets.setdefault(match[1], []).append(path)
    for digest, members in sets.items():
        target = cache_folder("features") / digest
        if target.exists():
            continue
        staging = target.with_name(f"{digest}.restoring")
        shutil.rmtree(staging, ignore_errors=True)
        try:
            for path in members:
                download(path, staging / path.rpartition("/")[2])
            staging.rename(target)
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def read_feature(path: str, offset: int) -> bytes:
    """A part of a file of a feature set, for another machine; empty at its end.

    Args:
        path: As of :func:`finished_features`.
        offset: Of the part, in bytes.

    Raises:
        ValueError: It is no such path.
        OSError: The file cannot be read; it may have been removed.
    """
    match = FEATURE_PATH.fullmatch(path)
    if match is None:
        raise ValueError(f"{path!r} is no file of a feature set")
    with (cache_folder("features") / match[1] / match[2]).open("rb") as file:
        file.seek(offset)
        return file.read(_PART_BYTES)


def copy_features(sizes: Mapping[str, int], read: Callable[[str, int], bytes]) -> None:
    """Copy the files of feature sets from another machine, those that the cache has excepted.

    A set that a process of this machine writes is waited for. A copy that is incomplete is noticed
    when it is used, as a damaged set is.

    Args:
        sizes: Bytes of each file, by its path.
        read: Reads a part of a file there, as :func:`read_feature` does.

    Raises:
        OSError: The cache is full, or cannot be written.
    """
    # The manifest of an array marks it as finished, and comes after it.
    for path in sorted(sizes, key=lambda one: (one.endswith(".json"), one)):
        match = FEATURE_PATH.fullmatch(path)
        if match is None:
            continue
        folder = cache_folder("features") / match[1]
        folder.mkdir(parents=True, exist_ok=True)
        with exclusive_lock(feature_lock(folder)):
            folder.mkdir(exist_ok=True)
            if not (folder / match[2]).exists():
                with replacing(folder / match[2]) as file:
                    while file.tell() < sizes[path]:
                        part = read(path, file.tell())
                        if not part:
                            raise OSError(f"{path} is shorter than it was")
                        file.write(part)


def _data_of(facts: Path) -> str | None:
    """The digest of the data set that features are of; None if their description is damaged."""
    try:
        return str(json.loads(facts.read_bytes())["key"]["data"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
