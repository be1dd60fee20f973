"""A checkpoint is one file: all arrays, all facts, and a digest that tells when it is damaged."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_log = logging.getLogger(__name__)

_MAGIC = b"effv2-tune checkpoint 1\n"
_LENGTH = struct.Struct("<Q")
_DIGEST_BYTES = hashlib.sha256().digest_size
SUFFIX = ".checkpoint"


@dataclass(frozen=True)
class Checkpoint:
    """All that a trial needs to go on.

    Attributes:
        arrays: By name.
        facts: Whatever JSON can hold: counters, curve, timers.
    """

    arrays: Mapping[str, np.ndarray[Any, Any]]
    facts: Mapping[str, Any]


class CheckpointFolder:
    """The checkpoints of one trial, the newest last.

    Args:
        folder: Where they lie; made when the first one is written.
        kept: How many are kept. With two, one is whole even while another is damaged.
    """

    def __init__(self, folder: Path, *, kept: int = 2) -> None:
        self._folder = folder
        self._kept = kept

    def save(self, step: int, checkpoint: Checkpoint) -> Path:
        """Write the checkpoint of ``step``; a crash at any moment leaves the older ones whole."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"step-{step:09d}{SUFFIX}"
        write_checkpoint(path, checkpoint)
        self._remove_all_but(self._kept)
        return path

    def latest(self) -> Checkpoint | None:
        """The newest checkpoint that is whole; a damaged one is named on stderr and removed."""
        for path in reversed(self._paths()):
            try:
                return read_checkpoint(path)
            except DamagedError as error:
                _log.warning("%s; going back to the checkpoint before it.", error)
                path.unlink()
        return None

    def newest_step(self) -> int:
        """The step of the newest checkpoint, whole or not; 0 where there is none."""
        return max((int(path.stem.removeprefix("step-")) for path in self._paths()), default=0)

    def clear(self) -> None:
        """Remove all checkpoints."""
        self._remove_all_but(0)

    def _paths(self) -> list[Path]:
        return sorted(self._folder.glob(f"step-*{SUFFIX}"))

    def _remove_all_but(self, kept: int) -> None:
        paths = self._paths()
        for path in paths[: len(paths) - kept]:
            path.unlink()
        for torn in self._folder.glob("*.writing"):
            torn.unlink()


class DamagedError(Exception):
    """A file is not the checkpoint that was written."""


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write ``checkpoint`` so that ``path`` is at every moment absent, the old one or the new."""
    writing = path.with_name(path.name + ".writing")
    digest = hashlib.sha256()
    with writing.open("wb") as file:
        for part in _parts(checkpoint):
            digest.update(part)
            file.write(part)
        file.write(digest.digest())
        file.flush()
        os.fsync(file.fileno())
    writing.replace(path)
    _sync_folder(path.parent)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read what :func:`write_checkpoint` wrote.

    Raises:
        DamagedError: The file is torn, or a bit of it has changed.
    """
    content = memoryview(path.read_bytes())
    body, digest = content[:-_DIGEST_BYTES], content[-_DIGEST_BYTES:]
    if len(content) < _DIGEST_BYTES or hashlib.sha256(body).digest() != digest:
        raise DamagedError(f"The checkpoint {path} is damaged")
    start = len(_MAGIC) + _LENGTH.size
    (length,) = _LENGTH.unpack(body[len(_MAGIC) : start])
    header = json.loads(bytes(body[start : start + length]))
    arrays = {}
    at = start + length
    for name, dtype, shape in header["arrays"]:
        count = int(np.prod(shape, dtype=np.int64))
        flat = np.frombuffer(body, dtype, count=count, offset=at)
        arrays[name] = flat.reshape(shape)
        at += flat.nbytes
    return Checkpoint(arrays, header["facts"])


def _parts(checkpoint: Checkpoint) -> Iterator[bytes | memoryview]:
    arrays = {name: np.asarray(array, order="C") for name, array in checkpoint.arrays.items()}
    named = [[name, array.dtype.str, array.shape] for name, array in arrays.items()]
    header = json.dumps({"arrays": named, "facts": checkpoint.facts}).encode()
    yield _MAGIC
    yield _LENGTH.pack(len(header))
    yield header
    for array in arrays.values():
        # reshape: a scalar has no buffer of bytes of its own.
        yield array.reshape(-1).view(np.uint8).data


def _sync_folder(folder: Path) -> None:
    # The new name is on disk only when its folder is.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
