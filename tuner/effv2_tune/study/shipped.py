"""Lists the shipped studies and search spaces."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_PACKAGE = Path(__file__).resolve().parent.parent


def shipped_studies() -> Mapping[str, Path]:
    """The shipped study files by name."""
    return _shipped("studies")


def shipped_spaces() -> Mapping[str, Path]:
    """The shipped search spaces by name."""
    return _shipped("search_spaces")


def _shipped(folder: str) -> Mapping[str, Path]:
    """In an installed wheel they are in the package; in an editable install beside ``tuner/``."""
    for root in (_PACKAGE, _PACKAGE.parent.parent):
        if (root / folder).is_dir():
            return {path.stem: path for path in sorted((root / folder).glob("*.yaml"))}
    return {}
