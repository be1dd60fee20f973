"""The command ``status``: watching a study."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Tune = Callable[..., Any]


def test_watch_ends_with_the_study(tune: Tune, study: Path) -> None:
    assert tune("status", str(study), "--watch").code == 0
