"""Measures whether a study's disk has room for the checkpoints that its workers write next."""

from __future__ import annotations

import contextlib
import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

#: Checkpoints that a worker may add before others are deleted: its own, and one that replaces it.
_CHECKPOINTS = 2
#: For the database, its backup and the log.
_OTHER_BYTES = 64 * 2**20


def missing_bytes(checkpoints: Path, *, workers: int) -> int:
    """How many more bytes have to be free before the disk is no longer nearly full; 0 if enough.

    Args:
        checkpoints: The folder of all checkpoints of a study.
        workers: How many write there.
    """
    if not checkpoints.is_dir():
        return 0
    largest = max(map(_size, checkpoints.glob("*/step-*.safetensors")), default=0)
    needed = workers * _CHECKPOINTS * largest + _OTHER_BYTES
    return max(0, needed - shutil.disk_usage(checkpoints).free)


def _size(path: Path) -> int:
    # It may have been replaced or deleted meanwhile.
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_size
    return 0
