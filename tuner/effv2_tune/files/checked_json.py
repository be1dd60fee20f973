"""Stores small JSON files with a checksum: a damaged one reads as a missing one."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from effv2_tune.files.atomic import write_json

if TYPE_CHECKING:
    from pathlib import Path


def write_checked(path: Path, value: Any) -> None:
    """Write a value with its checksum, atomically."""
    write_json(path, {"value": value, "checksum": _checksum(value)})


def read_checked(path: Path) -> Any | None:
    """The value that :func:`write_checked` wrote; None if it is missing or damaged."""
    try:
        stored = json.loads(path.read_bytes())
        return stored["value"] if stored["checksum"] == _checksum(stored["value"]) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _checksum(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
