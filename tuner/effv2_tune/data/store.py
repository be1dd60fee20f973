"""Decoded images on disk: written once, resumed when interrupted, checked when opened."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from effv2_tune.data.dataset import Images, piece_digests
from effv2_tune.errors import EXIT_FAILED, TuneError
from effv2_tune.files.cache import CACHE_VARIABLE

if TYPE_CHECKING:
    from pathlib import Path

_FORMAT = "effv2-tune store 1"

Writing = tuple[Images, list[int], Callable[[int], None]]


@dataclass(frozen=True)
class Store:
    """One array of images in a file of its own.

    The pixels are in ``<key>.u8``. A finished store has its length and digest in ``<key>.json``,
    which is written last; an unfinished one has the digests of its finished blocks in
    ``<key>.done``, so that decoding goes on where it stopped.

    Attributes:
        folder: Where stores are kept.
        key: Digest of everything that decides the pixels.
        shape: Of the array: count, height, width, 3.
        block: Images that are written as one piece.
    """

    folder: Path
    key: str
    shape: tuple[int, int, int, int]
    block: int

    @classmethod
    def of(
        cls, folder: Path, *, key: object, shape: tuple[int, int, int, int], block: int
    ) -> Store:
        """The store of the images that ``key``, anything JSON can say, describes completely."""
        return cls(folder, _short_digest([block, shape, key]), shape, block)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes that want the same store waiting.

        Raises:
            TuneError: If the folder cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = self._file("lock").open("w")
        except OSError as error:
            raise TuneError(
                f"The folder for decoded images, {self.folder}, cannot be written "
                f"({error.strerror}).",
                hint=f"Set {CACHE_VARIABLE} to a folder on a disk with space.",
                exit_code=EXIT_FAILED,
            ) from error
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def read(self) -> Images | None:
        """The images as a read-only memory map; None if they are not there, whole and unharmed."""
        if not self._file("json").exists():
            return None
        recorded = json.loads(self._file("json").read_text(encoding="utf-8"))
        pixels = self._file("u8")
        if not pixels.exists() or pixels.stat().st_size != math.prod(self.shape):
            return None
        images = np.memmap(pixels, np.uint8, "r", shape=self.shape)
        return images if _digest(images) == recorded["digest"] else None

    @contextlib.contextmanager
    def writing(self) -> Iterator[Writing]:
        """The array to fill, where its missing blocks start, and whom to tell of a finished one.

        After an error of ours (an image that cannot be read) nothing stays; after an interruption,
        the finished blocks do.

        Raises:
            TuneError: If the disk has no space for it.
        """
        self._file("json").unlink(missing_ok=True)
        images = self._allocate()
        done = self._finished_blocks(images)
        missing = [start for start in range(0, len(images), self.block) if start not in done]
        with self._file("done").open("a", encoding="utf-8") as record:

            def block_is_done(start: int) -> None:
                record.write(f"{start} {_block_digest(images, start, self.block)}\n")
                record.flush()

            try:
                yield images, missing, block_is_done
            except TuneError:
                self._file("u8").unlink()
                self._file("done").unlink()
                raise

    def finish(self) -> Images:
        """Declare the store whole, and open it.

        The pixels are left to the system to write: if it dies before it has, the digest tells.
        """
        images = np.memmap(self._file("u8"), np.uint8, "r", shape=self.shape)
        _write_whole(self._file("json"), {"shape": self.shape, "digest": _digest(images)})
        self._file("done").unlink()
        return images

    def _file(self, ending: str) -> Path:
        return self.folder / f"{self.key}.{ending}"

    def _allocate(self) -> np.memmap[tuple[int, int, int, int], np.dtype[np.uint8]]:
        pixels = self._file("u8")
        needed = math.prod(self.shape)
        if not pixels.exists() or pixels.stat().st_size != needed:
            free = shutil.disk_usage(self.folder).free
            if free < needed:
                raise TuneError(
                    f"The decoded images need {needed / 1e9:.1f} GB; the disk of {self.folder} "
                    f"has {free / 1e9:.1f} GB left.",
                    hint="Set EFFV2_TUNE_CACHE to a folder on another disk, or make "
                    "'storage_size' smaller.",
                    exit_code=EXIT_FAILED,
                )
            self._file("done").unlink(missing_ok=True)
            with pixels.open("wb") as file:
                file.truncate(needed)
        return np.memmap(pixels, np.uint8, "r+", shape=self.shape)

    def _finished_blocks(self, images: Images) -> set[int]:
        """Where blocks start whose pixels are still those that were recorded."""
        record = self._file("done")
        lines = record.read_text(encoding="utf-8").splitlines() if record.exists() else []
        recorded = [line.split(" ") for line in lines if re.fullmatch(r"\d+ [0-9a-f]{64}", line)]
        return {
            int(start)
            for start, digest in recorded
            if digest == _block_digest(images, int(start), self.block)
        }


@dataclass(frozen=True)
class SizeRecord:
    """The sizes of the images in some files, so that not every start opens every file.

    Attributes:
        path: Where they are kept.
    """

    path: Path

    @classmethod
    def of(cls, folder: Path, *, key: object) -> SizeRecord:
        """The record of the files that ``key``, anything JSON can say, describes completely."""
        return cls(folder / f"{_short_digest(key)}.sizes.json")

    def read(self) -> set[tuple[int, int]] | None:
        """The different (width, height); None if nobody wrote them down."""
        if not self.path.exists():
            return None
        pairs = json.loads(self.path.read_text(encoding="utf-8"))
        return {(width, height) for width, height in pairs}

    def write(self, sizes: Collection[tuple[int, int]]) -> None:
        """Write them down, all or nothing."""
        _write_whole(self.path, sorted(sizes))


def _write_whole(path: Path, content: object) -> None:
    """Write JSON so that others see all of it or nothing."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
    temporary.write_text(json.dumps(content), encoding="utf-8")
    temporary.rename(path)


def _short_digest(key: object) -> str:
    return hashlib.sha256(json.dumps([_FORMAT, key]).encode()).hexdigest()[:32]


def _block_digest(images: Images, start: int, block: int) -> str:
    return hashlib.sha256(images[start : start + block].tobytes()).hexdigest()


def _digest(images: Images) -> str:
    return hashlib.sha256(b"".join(piece_digests(images))).hexdigest()
