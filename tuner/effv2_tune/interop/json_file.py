"""JSON files that are at every moment absent or whole."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def write_json(path: str | Path, value: Any) -> None:
    """Write a value; a crash at any moment leaves the file as it was, or as it is to be."""
    target = Path(path)
    writing = target.with_name(f"{target.name}.writing")
    with writing.open("w", encoding="utf-8") as file:
        json.dump(value, file)
        file.flush()
        os.fsync(file.fileno())
    writing.replace(target)
