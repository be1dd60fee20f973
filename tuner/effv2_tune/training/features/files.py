"""Features on disk: written block by block, resumed when interrupted, checked when opened."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import statistics
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from effv2_tune.errors import EXIT_FAILED, TuneError
from effv2_tune.study.base import Value

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    Features = NDArray[np.float32]

#: A line of the journal: first image, SHA-256, seconds of an image. Without its end it is torn;
#: where its numbers are none, it is damaged.
_LINE = re.compile(r"([0-9]{1,18}) ([0-9a-f]{64}) (-|[0-9]{1,9}(?:\.[0-9]+)?(?:e-[0-9]{1,3})?)\n")
_FLOAT_BYTES = 4


@dataclass(frozen=True)
class Block:
    """What is on record of one block that is whole.

    Attributes:
        digest: SHA-256 of its bytes.
        seconds: What one image took, where nothing else was computed meanwhile; else None.
    """

    digest: str
    seconds: float | None


class _Manifest(Value):
    """What ``<name>.json`` says of a file that is finished.

    Attributes:
        count: Images.
        width: Features of an image.
        block: Images of a block.
        blocks: First image, digest and seconds of each, as in :class:`Block`.
        seal: SHA-256 over all of this: no damage of it goes unseen.
    """

    count: int
    width: int
    block: int
    blocks: tuple[tuple[int, str, float | None], ...]
    add_checksum: str


@dataclass(frozen=True)
class FeatureFile:
    """One array of features, float32 [count, width], in ``<name>.npy``.

    While it is written it is called ``<name>.npy.part``, and ``<name>.journal`` has one line for
    each block that is on disk, so that a kill costs one block. When all are there the file gets
    its name, and then ``<name>.json``, written last, says that it is finished. A file that is
    mended goes the same way back: the journal is written before the manifest goes, so that the
    blocks are on record at every moment.

    Attributes:
        folder: Where it lies.
        name: Without ending.
        count: Images.
        width: Features of an image.
        block: Images that are computed and written as one piece.
    """

    folder: Path
    name: str
    count: int
    width: int
    block: int

    @property
    def starts(self) -> range:
        """The first image of each block."""
        return range(0, self.count, self.block)

    @property
    def block_bytes(self) -> int:
        """Bytes of a block that is full."""
        return self.block * self.width * _FLOAT_BYTES

    def is_begun(self) -> bool:
        """Whether anything of it is on disk."""
        return any(self._path(end).exists() for end in ("npy", "npy.part", "json"))

    def is_finished(self) -> bool:
        """Whether it was whole once; :meth:`read` tells whether it still is.

        A manifest that is damaged says so too: what it stood for was there, and is lost.
        """
        return self._path("json").exists()

    def read(self) -> Features | None:
        """The features as a read-only memory map; None unless every block is there, unharmed."""
        blocks = self._manifest()
        if blocks is None or not self._path("npy").exists():
            return None
        if self._intact(self._path("npy"), blocks) != blocks.keys():
            return None
        return self._map()

    def seconds(self) -> float | None:
        """What one image takes: the median of the blocks that were measured; None for none."""
        measured = self._measured()
        return statistics.median(measured) if measured else None

    def measured_blocks(self) -> int:
        """How many blocks have been measured."""
        return len(self._measured())

    def _measured(self) -> list[float]:
        blocks = self._manifest() or self._journal()
        return [block.seconds for block in blocks.values() if block.seconds is not None]

    def missing(self) -> list[int]:
        """Where blocks start that are to be computed, now that it is to be written.

        What is damaged in a finished file counts as missing; all else of it is kept.

        Raises:
            TuneError: The disk does not take it.
        """
        with self._told():
            self.folder.mkdir(parents=True, exist_ok=True)
            blocks = self._manifest() or self._journal()
            whole, part = self._path("npy"), self._path("npy.part")
            # A kill, here or in `finish`, may have left the whole file without its manifest.
            there = whole if whole.exists() else part
            kept = self._intact(there, blocks) if there.exists() else set()
            # Written anew: what is no longer true goes, and so does a line that was torn. Written
            # first: with neither journal nor manifest, no block is on record.
            write_whole(self._path("journal"), self._lines(blocks, kept))
            # Gone before the file loses its name: nothing that has a manifest is a part.
            self._path("json").unlink(missing_ok=True)
            if there == whole:
                whole.replace(part)
            if not kept:
                part.write_bytes(self._header())
            # Blocks that are now written must not meet the old manifest after a power failure.
            _sync_folder(self.folder)
            return [start for start in self.starts if start not in kept]

    @contextlib.contextmanager
    def writing(self) -> Iterator[BlockWriter]:
        """Take blocks, in any order; what is taken is on disk.

        Raises:
            TuneError: The disk does not take it. What was written before stays.
        """
        with (
            self._told(),
            self._path("npy.part").open("r+b") as part,
            self._path("journal").open("ab") as journal,
        ):
            yield BlockWriter(self, part, journal)

    def finish(self) -> Features:
        """Declare the array whole, and open it.

        Raises:
            TuneError: The disk does not take it.
        """
        blocks = self._journal()
        if blocks.keys() != set(self.starts):
            raise RuntimeError(f"{self.name} lacks blocks and cannot be finished")
        manifest = _Manifest(
            count=self.count,
            width=self.width,
            block=self.block,
            blocks=tuple((start, block.digest, block.seconds) for start, block in blocks.items()),
            add_checksum=self._seal(blocks),
        )
        with self._told():
            self._path("npy.part").replace(self._path("npy"))
            write_whole(self._path("json"), manifest.model_dump_json())
            self._path("journal").unlink()
        return self._map()

    def digest(self) -> str | None:
        """SHA-256 over the digests of all blocks of a finished file; None for any other."""
        blocks = self._manifest()
        if blocks is None:
            return None
        whole = hashlib.sha256(self._header())
        for start in self.starts:
            whole.update(bytes.fromhex(blocks[start].digest))
        return whole.hexdigest()

    def position(self, start: int) -> int:
        """Where in the file the block lies that begins with this image."""
        return len(self._header()) + start * self.width * _FLOAT_BYTES

    def _line(self, start: int, block: Block) -> str:
        seconds = "-" if block.seconds is None else repr(block.seconds)
        return f"{start} {block.digest} {seconds}\n"

    def _lines(self, blocks: dict[int, Block], starts: Iterable[int]) -> str:
        return "".join(self._line(start, blocks[start]) for start in sorted(starts))

    def _seal(self, blocks: dict[int, Block]) -> str:
        lines = self._lines(blocks, blocks)
        return hashlib.sha256(self._header() + f"{self.block}\n{lines}".encode()).hexdigest()

    def _path(self, ending: str) -> Path:
        return self.folder / f"{self.name}.{ending}"

    def _header(self) -> bytes:
        """What NumPy writes before the numbers of such an array."""
        from io import BytesIO

        head = BytesIO()
        described = {"descr": "<f4", "fortran_order": False, "shape": (self.count, self.width)}
        np.lib.format.write_array_header_1_0(head, described)
        return head.getvalue()

    def _map(self) -> Features:
        shape = (self.count, self.width)
        return np.memmap(self._path("npy"), "<f4", "r", offset=len(self._header()), shape=shape)

    def _manifest(self) -> dict[int, Block] | None:
        """The blocks of a finished file of this very shape; None if any of it is damaged."""
        try:
            said = _Manifest.model_validate_json(self._path("json").read_bytes())
        except (OSError, ValueError):
            return None
        blocks = {start: Block(digest, seconds) for start, digest, seconds in said.blocks}
        is_sound = (
            (said.count, said.width, said.block) == (self.count, self.width, self.block)
            and blocks.keys() == set(self.starts)
            and said.add_checksum == self._seal(blocks)
        )
        return blocks if is_sound else None

    def _journal(self) -> dict[int, Block]:
        try:
            said = self._path("journal").read_bytes().decode(errors="replace")
        except OSError:
            return {}
        found = {}
        for line in filter(None, map(_LINE.fullmatch, said.splitlines(keepends=True))):
            start, digest, seconds = line.groups()
            found[int(start)] = Block(digest, None if seconds == "-" else float(seconds))
        return {start: block for start, block in found.items() if start in self.starts}

    def _intact(self, path: Path, blocks: dict[int, Block]) -> set[int]:
        """Where blocks start whose bytes are still those on record."""
        with path.open("rb") as file:
            if file.read(len(self._header())) != self._header():
                return set()
        size = path.stat().st_size

        def is_intact(start: int) -> bool:
            length = min(self.block, self.count - start) * self.width * _FLOAT_BYTES
            if self.position(start) + length > size:
                return False
            with path.open("rb") as file:
                file.seek(self.position(start))
                return hashlib.sha256(file.read(length)).hexdigest() == blocks[start].digest

        with ThreadPoolExecutor(os.cpu_count()) as threads:
            return {
                start
                for start, good in zip(blocks, threads.map(is_intact, blocks), strict=True)
                if good
            }

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """What the disk refuses becomes a sentence."""
        try:
            yield
        except OSError as error:
            raise TuneError(
                f"The features cannot be kept in {self.folder}: {error.strerror or error}.",
                hint="Make room there, or set EFFV2_TUNE_CACHE to a folder on another disk; what "
                "is written already stays. 'features: off' runs the backbone in every step.",
                exit_code=EXIT_FAILED,
            ) from error


class BlockWriter:
    """Puts blocks of a feature file on disk.

    Args:
        file: Which file.
        part: Open for writing.
        journal: Open for appending.
    """

    def __init__(self, file: FeatureFile, part: BinaryIO, journal: BinaryIO) -> None:
        self._file = file
        self._part = part
        self._journal = journal

    def write(self, start: int, features: Features, seconds: float | None) -> None:
        """Put one block on disk, then on record.

        Not by way of a memory map: a full disk would end the process with a signal.

        Args:
            start: Its first image.
            features: [images of the block, width].
            seconds: What one image took, if nothing else was computed meanwhile.
        """
        content = np.ascontiguousarray(features, "<f4").tobytes()
        self._part.seek(self._file.position(start))
        self._part.write(content)
        _sync(self._part)
        block = Block(hashlib.sha256(content).hexdigest(), seconds)
        self._journal.write(self._file._line(start, block).encode())  # noqa: SLF001 - its own
        _sync(self._journal)


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def write_whole(path: Path, text: str) -> None:
    """Write a small file so that it is at every moment absent, the old one or the new."""
    writing = path.with_name(path.name + ".writing")
    with writing.open("wb") as file:
        file.write(text.encode())
        _sync(file)
    writing.replace(path)
    # The new name is on disk only when its folder is.
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
