"""Stores decoded images, and the sizes of image files, in the cache folder."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from effv2_tune.errors import TuneError, UnavailableError
from effv2_tune.files.block_store import BlockStore, BlockWriter
from effv2_tune.files.cache import CACHE_VARIABLE
from effv2_tune.files.checked_json import read_checked, write_checked
from effv2_tune.files.disk_errors import disk_errors
from effv2_tune.files.locks import exclusive_lock

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

    from effv2_tune.data.dataset import Images

#: Part of every key: a change makes all files of earlier versions unknown.
_FORMAT = "effv2-tune store 2"
#: Images that are written as one piece of a shared file.
_SHARED_BLOCK = 1024


class ImageStore(BlockStore):
    """The decoded images of a dataset, uint8 [count, height, width, 3]."""

    contents: ClassVar[str] = "decoded images"
    hint: ClassVar[str] = f"Set {CACHE_VARIABLE} to a folder on a disk with space."

    @classmethod
    def of(
        cls, folder: Path, *, key: object, shape: tuple[int, int, int, int], block: int
    ) -> ImageStore:
        """The store of the images that ``key``, any JSON value, identifies."""
        return cls(folder, _short_digest([block, shape, key]), "|u1", shape, block)

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Exclude other processes that want the same images.

        Raises:
            TuneError: The folder cannot be written.
        """
        with contextlib.ExitStack() as held:
            with self._disk_errors():
                self.folder.mkdir(parents=True, exist_ok=True)
                held.enter_context(exclusive_lock(self._path("lock")))
            yield

    @contextlib.contextmanager
    def filling(self) -> Iterator[tuple[BlockWriter, list[int]]]:
        """Write the missing blocks: the writer, and the first rows of these blocks.

        After a TuneError, as for an unreadable image, nothing remains; after an interruption, or
        on a full disk, the complete blocks do.

        Raises:
            TuneError: The disk is full.
        """
        missing = self.missing()
        self._check_space(len(missing) * self.block_bytes)
        with self.writing() as writer:
            try:
                yield writer, missing
            except TuneError:
                self.discard()
                raise

    def _check_space(self, needed: int) -> None:
        free = shutil.disk_usage(self.folder).free
        if free < needed:
            raise UnavailableError(
                f"The decoded images need {needed / 1e9:.1f} GB; the disk of {self.folder} has "
                f"{free / 1e9:.1f} GB left.",
                hint=f"Set {CACHE_VARIABLE} to a folder on another disk, or make 'storage_size' "
                "smaller.",
            )


@contextlib.contextmanager
def one_at_a_time(cache: Path) -> Iterator[None]:
    """Exclude other processes that load shared images.

    Raises:
        TuneError: The folder cannot be written.
    """
    with contextlib.ExitStack() as held:
        with disk_errors(f"The images cannot be shared in {cache}", hint=ImageStore.hint):
            cache.mkdir(parents=True, exist_ok=True)
            held.enter_context(exclusive_lock(cache / "shared.lock"))
        yield


def map_images(arrays: Sequence[Images], folder: Path, *, key: object) -> list[Images]:
    """Arrays of images of one size, as parts of one memory map, which is written if need be.

    Args:
        arrays: [count, height, width, 3] each.
        folder: Of the file.
        key: Identifies these images; any JSON value.
    """
    ends = np.cumsum([len(images) for images in arrays])
    height, width, channels = arrays[0].shape[1:]
    store = ImageStore.of(
        folder, key=key, shape=(int(ends[-1]), height, width, channels), block=_SHARED_BLOCK
    )
    with store.exclusive():
        mapped = store.read()
        if mapped is None:
            rows = np.concatenate(arrays)
            with store.filling() as (writer, missing):
                for start in missing:
                    writer.write(start, rows[start : start + store.block])
            mapped = store.finish()
    return np.split(mapped, ends[:-1])


@dataclass(frozen=True)
class SizeRecord:
    """The sizes of the images in some files, so that not every start opens every file.

    Attributes:
        path: Where they are stored.
    """

    path: Path

    @classmethod
    def of(cls, folder: Path, *, key: object) -> SizeRecord:
        """The record of the files that ``key``, any JSON value, identifies."""
        return cls(folder / f"{_short_digest(key)}.sizes.json")

    def read(self) -> set[tuple[int, int]] | None:
        """The distinct (width, height); None if they are not stored, or damaged."""
        pairs = read_checked(self.path)
        return None if pairs is None else {(width, height) for width, height in pairs}

    def write(self, sizes: Collection[tuple[int, int]]) -> None:
        """Store them, atomically."""
        write_checked(self.path, sorted(sizes))


def _short_digest(key: object) -> str:
    return hashlib.sha256(json.dumps([_FORMAT, key]).encode()).hexdigest()[:32]
