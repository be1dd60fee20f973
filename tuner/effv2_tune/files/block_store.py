"""Stores one large array on disk: written in blocks, resumable, verified when opened."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from math import prod
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar

import numpy as np

from effv2_tune.files.atomic import durable_replace, sync, write_text
from effv2_tune.files.checked_json import read_checked, write_checked
from effv2_tune.files.disk_errors import disk_errors

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    Array = np.ndarray[Any, np.dtype[Any]]

#: A line of the journal: first row, SHA-256, seconds of a row. Any other line is damaged.
_LINE = re.compile(r"([0-9]{1,18}) ([0-9a-f]{64}) (-|[0-9]{1,9}(?:\.[0-9]+)?(?:e-[0-9]{1,3})?)\n")
#: What a power failure may cost; a killed process costs only the block that it was writing.
_SYNC_SECONDS = 1.0


@dataclass(frozen=True)
class Block:
    """The record of one complete block.

    Attributes:
        checksum: SHA-256 of its bytes.
        seconds: What one row took to compute, if that was measured.
    """

    checksum: str
    seconds: float | None


@dataclass(frozen=True)
class BlockStore:
    """One array in ``<name>.npy``.

    While it is incomplete it is called ``<name>.npy.part``, and ``<name>.journal`` has one line
    for each block that is on disk, so that a kill costs one block. When all are there the file
    gets its name, and then the manifest ``<name>.json``, written last, marks it as finished. A
    file that is repaired goes the same way back: the journal is written before the manifest is
    removed, so that the blocks are on record at every moment.

    Attributes:
        folder: Where it is.
        name: Without ending.
        dtype: Of the array, as NumPy writes it.
        shape: Of the array; rows first.
        block: Rows that are written as one piece.
    """

    #: What the array holds, and what to do about a full disk, for error messages.
    contents: ClassVar[str] = "array"
    hint: ClassVar[str] = "Free space there."

    folder: Path
    name: str
    dtype: str
    shape: tuple[int, ...]
    block: int

    @property
    def count(self) -> int:
        """Rows of the array."""
        return self.shape[0]

    @property
    def starts(self) -> range:
        """The first row of each block."""
        return range(0, self.count, self.block)

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return np.dtype(self.dtype).itemsize * prod(self.shape[1:])

    @property
    def block_bytes(self) -> int:
        """Bytes of a full block."""
        return self.block * self.row_bytes

    def is_begun(self) -> bool:
        """Whether anything of it is on disk."""
        return any(self._path(end).exists() for end in ("npy", "npy.part", "json"))

    def is_finished(self) -> bool:
        """Whether it was complete once; :meth:`read` verifies that it still is.

        A damaged manifest counts: the array was there, and is lost.
        """
        return self._path("json").exists()

    def read(self) -> Array | None:
        """The array as a read-only memory map; None unless every block is there and intact."""
        blocks = self._manifest()
        if blocks is None or not self._path("npy").exists():
            return None
        if self._intact(self._path("npy"), blocks) != blocks.keys():
            return None
        return self._map()

    def missing(self) -> list[int]:
        """Open the store for writing: the first rows of the blocks to compute.

        A damaged block of a finished file counts as missing; the others are kept.

        Raises:
            TuneError: The disk is full, or the folder cannot be written.
        """
        with self._disk_errors():
            self.folder.mkdir(parents=True, exist_ok=True)
            blocks = self.recorded()
            whole, part = self._path("npy"), self._path("npy.part")
            # A kill, here or in `finish`, may have left the whole file without its manifest.
            present = whole if whole.exists() else part
            kept = self._intact(present, blocks) if present.exists() else set()
            # Rewritten: lines that are outdated or torn go. First of all: with neither journal
            # nor manifest, no block is on record.
            write_text(self._path("journal"), _lines({start: blocks[start] for start in kept}))
            # Removed before the file loses its name: nothing that has a manifest is a part.
            self._path("json").unlink(missing_ok=True)
            if present == whole:
                durable_replace(whole, part)
            if not kept:
                part.write_bytes(self._header())
            # Blocks that are now written must not meet the old manifest after a power failure.
            sync(self.folder)
            return [start for start in self.starts if start not in kept]

    @contextlib.contextmanager
    def writing(self) -> Iterator[BlockWriter]:
        """Write blocks, in any order; all of them are on disk when the context ends.

        Raises:
            TuneError: The disk is full. What was written before remains.
        """
        with (
            self._disk_errors(),
            self._path("npy.part").open("r+b") as part,
            self._path("journal").open("ab") as journal,
        ):
            writer = BlockWriter(self, part, journal)
            yield writer
            writer.sync()

    def finish(self) -> Array:
        """Mark the array as finished, and open it.

        Raises:
            TuneError: The disk is full.
        """
        blocks = self._journal()
        if blocks.keys() != set(self.starts):
            raise RuntimeError(f"{self.name} lacks blocks and cannot be finished")
        with self._disk_errors():
            durable_replace(self._path("npy.part"), self._path("npy"))
            rows = [[start, block.checksum, block.seconds] for start, block in blocks.items()]
            write_checked(self._path("json"), {**self._layout(), "blocks": rows})
            self._path("journal").unlink()
        return self._map()

    def discard(self) -> None:
        """Remove all files of the store."""
        for ending in ("json", "journal", "npy", "npy.part"):
            self._path(ending).unlink(missing_ok=True)

    def recorded(self) -> dict[int, Block]:
        """The blocks on record, by their first rows."""
        return self._manifest() or self._journal()

    def digest(self) -> str | None:
        """SHA-256 over the checksums of all blocks of a finished file; None for any other."""
        blocks = self._manifest()
        if blocks is None:
            return None
        whole = hashlib.sha256(self._header())
        for start in self.starts:
            whole.update(bytes.fromhex(blocks[start].checksum))
        return whole.hexdigest()

    def position(self, start: int) -> int:
        """The offset in the file of the block that begins with this row."""
        return len(self._header()) + start * self.row_bytes

    def _path(self, ending: str) -> Path:
        return self.folder / f"{self.name}.{ending}"

    def _header(self) -> bytes:
        """What NumPy writes before the elements of such an array."""
        header = BytesIO()
        description = {"descr": self.dtype, "fortran_order": False, "shape": self.shape}
        np.lib.format.write_array_header_1_0(header, description)
        return header.getvalue()

    def _layout(self) -> dict[str, Any]:
        return {"dtype": self.dtype, "shape": list(self.shape), "block": self.block}

    def _map(self) -> Array:
        offset = len(self._header())
        return np.memmap(self._path("npy"), self.dtype, "r", offset=offset, shape=self.shape)

    def _manifest(self) -> dict[int, Block] | None:
        """The blocks of a finished file of this very layout; None if any of it is damaged."""
        manifest = read_checked(self._path("json"))
        layout = self._layout()
        if not isinstance(manifest, dict) or layout != {key: manifest.get(key) for key in layout}:
            return None
        blocks = {start: Block(checksum, took) for start, checksum, took in manifest["blocks"]}
        return blocks if blocks.keys() == set(self.starts) else None

    def _journal(self) -> dict[int, Block]:
        try:
            text = self._path("journal").read_bytes().decode(errors="replace")
        except OSError:
            return {}
        blocks = {}
        for line in filter(None, map(_LINE.fullmatch, text.splitlines(keepends=True))):
            start, checksum, seconds = line.groups()
            blocks[int(start)] = Block(checksum, None if seconds == "-" else float(seconds))
        return {start: block for start, block in blocks.items() if start in self.starts}

    def _intact(self, path: Path, blocks: Mapping[int, Block]) -> set[int]:
        """The first rows of the blocks whose bytes are still those on record."""
        with path.open("rb") as file:
            if file.read(len(self._header())) != self._header():
                return set()

            def is_intact(start: int) -> bool:
                length = min(self.block, self.count - start) * self.row_bytes
                content = os.pread(file.fileno(), length, self.position(start))
                return hashlib.sha256(content).hexdigest() == blocks[start].checksum

            with ThreadPoolExecutor(os.cpu_count()) as threads:
                return {
                    start
                    for start, intact in zip(blocks, threads.map(is_intact, blocks), strict=True)
                    if intact
                }

    def _disk_errors(self) -> AbstractContextManager[None]:
        return disk_errors(
            f"The {self.contents} cannot be written to {self.folder}", hint=self.hint
        )


class BlockWriter:
    """Writes the blocks of a store.

    Not by way of a memory map: a full disk would end the process with a signal.

    Args:
        store: Which store.
        part: Its data, open for writing.
        journal: Open for appending.
    """

    def __init__(self, store: BlockStore, part: BinaryIO, journal: BinaryIO) -> None:
        self._store = store
        self._part = part
        self._journal = journal
        self._lock = threading.Lock()
        self._synced = time.monotonic()

    def write(self, start: int, rows: Array, seconds: float | None = None) -> None:
        """Write one block, and record it.

        Args:
            start: Its first row.
            rows: [rows of the block, ...].
            seconds: What one row took to compute, if that was measured.
        """
        self.record(start, self.put(start, rows), seconds)

    def put(self, start: int, rows: Array) -> str:
        """Write the bytes of one block, from any thread; returns their checksum."""
        content = np.ascontiguousarray(rows, self._store.dtype).data
        with self._lock:
            self._part.seek(self._store.position(start))
            self._part.write(content)
            self._part.flush()
        return hashlib.sha256(content).hexdigest()

    def record(self, start: int, checksum: str, seconds: float | None = None) -> None:
        """Record a block that :meth:`put` wrote: it is kept from now on."""
        self._journal.write(_lines({start: Block(checksum, seconds)}).encode())
        self._journal.flush()
        if time.monotonic() - self._synced >= _SYNC_SECONDS:
            self.sync()

    def sync(self) -> None:
        """Wait until all blocks are on disk."""
        for file in (self._part, self._journal):
            os.fsync(file.fileno())
        self._synced = time.monotonic()


def _lines(blocks: Mapping[int, Block]) -> str:
    """The journal of some blocks."""
    return "".join(
        f"{start} {block.checksum} {'-' if block.seconds is None else repr(block.seconds)}\n"
        for start, block in sorted(blocks.items())
    )
