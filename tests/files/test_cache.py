"""Where cached files are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from effv2_tune.files.cache import CACHE_VARIABLE, cache_folder

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_the_cache_is_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    assert cache_folder("datasets") == tmp_path / "datasets"
    monkeypatch.delenv(CACHE_VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "shared"))
    assert cache_folder("datasets") == tmp_path / "shared/effv2-tune/datasets"
