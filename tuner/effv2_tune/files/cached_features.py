"""Finds the finished feature sets of a data set in the cache, and puts restored ones there."""

from __future__ import annotations

import json
import re
import shutil
from typing import TYPE_CHECKING

from effv2_tune.files.cache import cache_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

#: Its description: written first, with the key of the set.
_FACTS = "features.json"
_PREFIX = "features/"
#: Of the files of a set: the name of its folder is the digest of its key.
FEATURE_PATH = re.compile(rf"{_PREFIX}([0-9a-f]{{32}})/(\w[\w.-]*)")


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


def _data_of(facts: Path) -> str | None:
    """The digest of the data set that features are of; None if their description is damaged."""
    try:
        return str(json.loads(facts.read_bytes())["key"]["data"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
