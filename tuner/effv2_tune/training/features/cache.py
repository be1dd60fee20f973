"""Manages the cache of features: its entries, their locks, its size limit."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import math
import os
import re
import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import ValidationError

from effv2_tune.catalog import Scaling
from effv2_tune.errors import TuneError, UnavailableError
from effv2_tune.files.atomic import write_text
from effv2_tune.files.cache import CACHE_VARIABLE, cache_folder
from effv2_tune.files.cached_features import feature_lock
from effv2_tune.files.disk_errors import disk_errors
from effv2_tune.files.locks import exclusive_lock, is_at, try_lock
from effv2_tune.study.base import Value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

#: Gigabytes that cached features may take on disk together.
LIMIT_VARIABLE = "EFFV2_TUNE_FEATURES_GB"
#: Enough for all nine networks on 60,000 images with flips (6 GB), and for a few other data sets.
DEFAULT_LIMIT_GB = 20.0
#: Part of every key: a change makes all features of earlier versions unknown.
_FORMAT = 2

_FACTS = "features.json"
#: The name of a set's folder: the digest of its key.
_DIGEST = re.compile(r"[0-9a-f]{32}")
_GB = 1e9


class FeatureKey(Value):
    """Everything that determines the values of a feature set, and their cost.

    Attributes:
        data: Digest of all pixels, labels and splits.
        variant: The network.
        resolution: Side in pixels that images are resized to.
        resize: How.
        weights: SHA-256 of the weight file.
        scaling: Of the network's input.
        backend: The Keras backend.
        device_kind: The accelerator's name as the backend reports it, or the CPU's.
        device_count: How many of them.
        threads: Those that a CPU computes with; None where another device does.
        version: Of the backend.
        precision: Of the computation; the features themselves are float32.
        format: Of this version's features.
    """

    data: str
    variant: str
    resolution: int
    resize: str
    weights: str
    scaling: Scaling
    backend: str
    device_kind: str
    device_count: int
    threads: int | None
    version: str
    precision: str
    format: int = _FORMAT

    @property
    def digest(self) -> str:
        """Thirty-two characters that two keys share only if they are equal."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:32]


class FeatureFacts(Value):
    """The description of a feature set, stored beside it.

    Attributes:
        key: What the features are of.
        source: Dataset and folder, as the study names them.
        weights_name: The weights, as the study names them.
    """

    key: FeatureKey
    source: str
    weights_name: str


@dataclass(frozen=True)
class Entry:
    """A feature set on disk.

    Attributes:
        folder: Where it is.
        facts: Its description; None if it is of an earlier version, or damaged.
        nbytes: Its size on disk.
        used: When it was last used, in seconds since 1970.
        arrays: Names of the finished arrays.
        unfinished: Names of the others.
    """

    folder: Path
    facts: FeatureFacts | None
    nbytes: int
    used: float
    arrays: tuple[str, ...]
    unfinished: tuple[str, ...]

    @property
    def label(self) -> str:
        """The network and its resolution; the name of its folder if they are unknown."""
        if self.facts is None:
            return f"{self.folder.name} (of an earlier version, or damaged)"
        return f"{self.facts.key.variant}@{self.facts.key.resolution}"


def limit_bytes() -> int:
    """The size limit of all feature sets: ``$EFFV2_TUNE_FEATURES_GB``, or 20 GB.

    Raises:
        TuneError: The variable is not a finite number.
    """
    text = os.environ.get(LIMIT_VARIABLE)
    try:
        limit = DEFAULT_LIMIT_GB if text is None else float(text)
    except ValueError:
        limit = -1.0
    # In bytes: 1e300 GB is finite, but not as bytes. NaN is in no range.
    if not 0 <= limit * _GB < math.inf:
        raise TuneError(
            f"{LIMIT_VARIABLE} is {text!r}, which is not a finite number of gigabytes.",
            hint=f"Set it to a number such as {DEFAULT_LIMIT_GB:g}, or unset it.",
        )
    return int(limit * _GB)


class FeatureCache:
    """The feature sets of this user.

    Args:
        folder: Of all feature sets; that of `effv2_tune.files.cache` if left out.
        limit: Bytes of all feature sets together; :func:`limit_bytes` if left out.
    """

    def __init__(self, folder: Path | None = None, *, limit: int | None = None) -> None:
        self.folder = cache_folder("features") if folder is None else folder
        self.limit = limit_bytes() if limit is None else limit

    def folder_of(self, key: FeatureKey) -> Path:
        """The folder of one feature set."""
        return self.folder / key.digest

    def entries(self) -> list[Entry]:
        """All feature sets, the least recently used first."""
        # Whatever its facts: a set that is not listed would never be removed.
        folders = [path for path in self.folder.glob("*") if _DIGEST.fullmatch(path.name)]
        entries = filter(None, map(_entry, folders))
        return sorted(entries, key=lambda entry: entry.used)

    @contextlib.contextmanager
    def exclusive(self, facts: FeatureFacts, on_wait: Callable[[], None]) -> Iterator[Path]:
        """Exclude other processes that want the same features.

        Args:
            facts: Of the feature set; it counts as used now.
            on_wait: Called if another process has it.

        Yields:
            Its folder.

        Raises:
            TuneError: The folder cannot be written.
        """
        folder = self.folder_of(facts.key)
        with contextlib.ExitStack() as held:
            hint = (
                f"Set {CACHE_VARIABLE} to a folder on a disk with space, or write 'features: off' "
                "to run the backbone in every step."
            )
            with disk_errors(f"The features cannot be written to {folder}", hint=hint):
                folder.mkdir(parents=True, exist_ok=True)
                held.enter_context(exclusive_lock(feature_lock(folder), on_wait))
                folder.mkdir(exist_ok=True)
                _note(folder / _FACTS, facts)
            yield folder

    def of_changed_data(self, facts: FeatureFacts) -> list[Entry]:
        """Feature sets of the same source that differ in nothing but the data."""
        key = facts.key
        return [
            entry
            for entry in self.entries()
            if entry.facts is not None
            and entry.facts.source == facts.source
            and entry.facts.key != key
            and entry.facts.key.model_copy(update={"data": key.data}) == key
        ]

    def evict(self, needed: int, keep: FeatureKey) -> list[Entry]:
        """Remove the least recently used sets until ``needed`` more bytes are within the limit.

        Args:
            needed: Bytes that are about to be written.
            keep: A set that is never removed.

        Returns:
            The removed sets. A set that a process is writing is kept.

        Raises:
            TuneError: The disk has less space left.
        """
        entries = self.entries()
        total = needed + sum(entry.nbytes for entry in entries)
        removed = []
        for entry in entries:
            if total <= self.limit:
                break
            if entry.folder != self.folder_of(keep) and self.remove(entry):
                total -= entry.nbytes
                removed.append(entry)
        free = shutil.disk_usage(self.folder).free
        if free < needed:
            raise UnavailableError(
                f"The features need {needed / _GB:.1f} GB; the disk of {self.folder} has "
                f"{free / _GB:.1f} GB left.",
                hint=f"Free space ('effv2-tune features --clear' removes all features), set "
                f"{CACHE_VARIABLE} to a folder on another disk, or write 'features: off'.",
            )
        return removed

    def remove(self, entry: Entry) -> bool:
        """Remove a feature set, unless a process is writing it; whether it is gone."""
        lock = feature_lock(entry.folder)
        try:
            with lock.open("w") as file:
                if not try_lock(file):
                    return False
                # Else another process removed the set, and a newer one has been begun there.
                if is_at(lock, file):
                    shutil.rmtree(entry.folder, ignore_errors=True)
                    lock.unlink(missing_ok=True)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EROFS):
                return False
            raise
        return not entry.folder.exists()


def _entry(folder: Path) -> Entry | None:
    """A feature set on disk; None if it is being removed, or is not a folder."""
    try:
        changed = folder.stat().st_mtime
        paths = list(folder.iterdir())
    except OSError:
        return None
    files = {}
    for path in paths:
        # A process that is writing may rename one at the same time.
        with contextlib.suppress(FileNotFoundError):
            files[path.name] = path.stat()
    names = files.keys()
    facts = _facts(folder / _FACTS)
    return Entry(
        folder=folder,
        facts=facts if facts is not None and facts.key.digest == folder.name else None,
        nbytes=sum(stat.st_size for stat in files.values()),
        used=files[_FACTS].st_mtime if _FACTS in files else changed,
        arrays=tuple(
            sorted(
                name.removesuffix(".npy")
                for name in names
                if name.endswith(".npy") and name.removesuffix("npy") + "json" in names
            )
        ),
        unfinished=tuple(
            sorted(name.removesuffix(".npy.part") for name in names if name.endswith(".part"))
        ),
    )


def _facts(path: Path) -> FeatureFacts | None:
    """The description of a feature set; None if it is missing, damaged or of another version."""
    try:
        return FeatureFacts.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def _note(path: Path, facts: FeatureFacts) -> None:
    """Write the description of a feature set, and that it is used now."""
    if _facts(path) != facts:
        write_text(path, facts.model_dump_json(indent=2) + "\n")
    now = time.time()
    os.utime(path, (now, now))
