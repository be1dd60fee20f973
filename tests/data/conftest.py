"""Fixtures of the tests of data."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


from tests.data.examples import write_folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    write_folder(tmp_path / "photos", {"cat": 20, "dog": 20}, [(16, 16), (24, 16), (9, 31)])
    return tmp_path
