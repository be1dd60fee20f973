"""Turns a study into one of an earlier version, whose facts have no checksums."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def remove_checksums(folder: Path, *, without: tuple[str, ...] = ()) -> None:
    """Remove the checksums and the index, and facts that the earlier version did not have."""
    update = "UPDATE study_user_attributes SET value_json = ? WHERE key = ?"
    forget = "DELETE FROM study_user_attributes WHERE key = ?"
    with contextlib.closing(sqlite3.connect(folder / "study.db")) as database:
        rows = database.execute("SELECT key, value_json FROM study_user_attributes").fetchall()
        for key, text in rows:
            database.execute(update, (json.loads(text)["value"], key))
        for key in ("facts", *without):
            assert database.execute(forget, (f"effv2_tune:{key}",)).rowcount == 1
        database.commit()
