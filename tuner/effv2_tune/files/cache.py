"""Locates the cache folders: files that can be computed or downloaded again."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

#: Environment variable that replaces the user's cache folder.
CACHE_VARIABLE = "EFFV2_TUNE_CACHE"


def cache_folder(
    kind: Literal["datasets", "weights", "features", "measured", "compiled", "cluster"],
) -> Path:
    """The cache folder for one kind of file.

    ``$EFFV2_TUNE_CACHE/<kind>``, else ``$XDG_CACHE_HOME/effv2-tune/<kind>``, else
    ``~/.cache/effv2-tune/<kind>``.
    """
    override = os.environ.get(CACHE_VARIABLE)
    if override:
        return Path(override).expanduser() / kind
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "effv2-tune" / kind
