"""Saves and restores checkpoints: safetensors files whose checksum covers every byte."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import struct
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, safe_open

from effv2_tune.files.atomic import replacing
from effv2_tune.files.disk_errors import naming

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    Array = np.ndarray[Any, Any]

_log = logging.getLogger(__name__)

SUFFIX = ".safetensors"
_NAME = re.compile(rf"step-(\d+){re.escape(SUFFIX)}")
#: Checkpoints of version 0.1.0's development, before they were safetensors.
_OUTDATED = "step-*.checkpoint"

# https://github.com/safetensors/safetensors/tree/v0.8.0#format: the length of the header, the
# header as JSON, the arrays. Ours always starts with the checksum, 64 hexadecimal digits, of all
# bytes but itself.
_LENGTH = struct.Struct("<Q")
_START = b'{"__metadata__":{"checksum":"'
_CHECKSUM = slice(_LENGTH.size + len(_START), _LENGTH.size + len(_START) + 64)
_ALIGNMENT = 8
_DTYPES = {
    np.dtype(dtype): name
    for dtype, name in (
        (np.bool_, "BOOL"),
        (np.uint8, "U8"),
        (np.int8, "I8"),
        (np.uint16, "U16"),
        (np.int16, "I16"),
        (np.float16, "F16"),
        (ml_dtypes.bfloat16, "BF16"),
        (np.uint32, "U32"),
        (np.int32, "I32"),
        (np.float32, "F32"),
        (np.uint64, "U64"),
        (np.int64, "I64"),
        (np.float64, "F64"),
    )
}


@dataclass(frozen=True)
class Checkpoint:
    """All that is needed to resume a trial.

    Attributes:
        arrays: By name.
        facts: Any JSON: counters, curve, timers.
    """

    arrays: Mapping[str, Array]
    facts: Mapping[str, Any]


class CheckpointFolder:
    """The checkpoints of one trial.

    Args:
        folder: Where they are; created with the first one.
        kept: How many are kept. With two, one is intact even while another is damaged.
    """

    def __init__(self, folder: Path, *, kept: int = 2) -> None:
        self._folder = folder
        self._kept = kept

    def save(self, step: int, checkpoint: Checkpoint) -> Path:
        """Write the checkpoint of ``step``; a crash at any moment leaves the older ones intact."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"step-{step:09d}{SUFFIX}"
        write_checkpoint(path, checkpoint)
        self._remove_all_but(self._kept)
        return path

    def latest(self) -> Checkpoint | None:
        """The newest intact checkpoint; a damaged one is logged and removed."""
        for _, path in reversed(checkpoints_in(self._folder)):
            try:
                return read_checkpoint(path)
            except DamagedError as error:
                _log.warning("%s; going back to the checkpoint before it.", error)
                path.unlink()
        if any(self._folder.glob(_OUTDATED)):
            _log.warning(
                "The checkpoints in %s are from an earlier version and cannot be read; "
                "the trial starts over.",
                self._folder,
            )
        return None

    def newest_step(self) -> int:
        """The step of the newest checkpoint, intact or not; 0 if there is none."""
        return max((step for step, _ in checkpoints_in(self._folder)), default=0)

    def newest_facts(self) -> Mapping[str, Any] | None:
        """The facts of the newest checkpoint; the arrays of a large file are not verified."""
        for _, path in reversed(checkpoints_in(self._folder)):
            with (
                suppress(OSError, SafetensorError, KeyError, ValueError),
                safe_open(path, "np") as file,
            ):
                facts: Mapping[str, Any] = json.loads(file.metadata()["facts"])
                return facts
        return None

    def clear(self) -> None:
        """Remove all checkpoints."""
        self._remove_all_but(0)

    def _remove_all_but(self, kept: int) -> None:
        paths = [path for _, path in checkpoints_in(self._folder)]
        for path in (*paths[: len(paths) - kept], *self._folder.glob(_OUTDATED)):
            path.unlink(missing_ok=True)


class DamagedError(Exception):
    """A file is not the checkpoint that was written."""


def checkpoints_in(folder: Path) -> list[tuple[int, Path]]:
    """Steps and files of a trial's checkpoints, intact or not, the newest last."""
    names = ((_NAME.fullmatch(path.name), path) for path in folder.glob(f"step-*{SUFFIX}"))
    return sorted((int(match[1]), path) for match, path in names if match)


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write ``checkpoint`` atomically, in the safetensors format.

    Raises:
        KeyError: An array has a dtype that the format lacks.
        OSError: The disk is full, or the folder cannot be written.
    """
    # Not np.ascontiguousarray: it gives scalars a dimension.
    arrays = {
        name: np.asarray(array, np.asarray(array).dtype.newbyteorder("<"), order="C")
        for name, array in checkpoint.arrays.items()
    }
    # Largest elements first, so that each array is aligned, as safetensors does it.
    arrays = dict(sorted(arrays.items(), key=lambda item: -item[1].itemsize))
    header = _header(arrays, checkpoint.facts)
    # reshape: a scalar has no buffer of bytes.
    contents = [array.reshape(-1).view(np.uint8).data for array in arrays.values()]
    header[_CHECKSUM] = _checksum([header, *contents]).encode()
    with replacing(path) as file:
        file.write(header)
        for content in contents:
            file.write(content)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read what :func:`write_checkpoint` wrote.

    Raises:
        DamagedError: The file is truncated, or a byte of it has changed.
    """
    with naming(path), path.open("rb") as file:
        head = file.read(_CHECKSUM.stop)
        file.seek(0)
        checksum = _checksum(iter(lambda: file.read(1 << 20), b""))
    if head[_CHECKSUM] != checksum.encode():
        raise DamagedError(f"The checkpoint {path} is damaged")
    with safe_open(path, "np") as content:
        arrays = {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118
        return Checkpoint(arrays, json.loads(content.metadata()["facts"]))


def _header(arrays: Mapping[str, Array], facts: Mapping[str, Any]) -> bytearray:
    """Length and header of a file, with zeros in place of the checksum."""
    metadata = {"checksum": "0" * 64, "facts": json.dumps(facts)}
    table: dict[str, Any] = {"__metadata__": metadata}
    end = 0
    for name, array in arrays.items():
        start, end = end, end + array.nbytes
        table[name] = {
            "dtype": _DTYPES[array.dtype],
            "shape": array.shape,
            "data_offsets": (start, end),
        }
    text = json.dumps(table, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return bytearray(_LENGTH.pack(len(text)) + text)


def _checksum(parts: Iterable[bytes | bytearray | memoryview]) -> str:
    """SHA-256 of a file, the first part of which contains the place of the checksum itself."""
    digest = hashlib.sha256()
    for number, part in enumerate(parts):
        if number == 0:
            digest.update(part[: _CHECKSUM.start])
            digest.update(part[_CHECKSUM.stop :])
        else:
            digest.update(part)
    return digest.hexdigest()
