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


def encode_checked(value: Any) -> bytes:
    """A value with its checksum, as :func:`decode_checked` reads it."""
    return json.dumps({"value": value, "checksum": _checksum(value)}).encode()


def read_checked(path: Path) -> Any | None:
    """The value that :func:`write_checked` wrote; None if it is missing or damaged."""
    try:
        return decode_checked(path.read_bytes())
    except OSError:
        return None


def decode_checked(content: bytes) -> Any | None:
    """The value that :func:`encode_checked` encoded; None if it is damaged."""
    try:
        stored = json.loads(content)
        return stored["value"] if stored["checksum"] == _checksum(stored["value"]) else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _checksum(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
