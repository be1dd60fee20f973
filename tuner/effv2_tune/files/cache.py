"""Where this machine keeps what can be made or downloaded again."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

#: A folder in place of the one in the person's cache.
CACHE_VARIABLE = "EFFV2_TUNE_CACHE"


def cache_folder(kind: Literal["datasets", "weights", "features", "measured", "compiled"]) -> Path:
    """The folder of one kind of file.

    ``$EFFV2_TUNE_CACHE/<kind>``, else ``$XDG_CACHE_HOME/effv2-tune/<kind>``, else
    ``~/.cache/effv2-tune/<kind>``.
    """
    own = os.environ.get(CACHE_VARIABLE)
    if own:
        return Path(own).expanduser() / kind
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "effv2-tune" / kind
