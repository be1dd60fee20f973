"""No damage to a file is used silently, and none is a traceback."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.end_to_end.damaged_files import run_cases

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("seed", "count"), [("short ", 60), pytest.param("long ", 240, marks=pytest.mark.slow)]
)
def test_a_damaged_file_is_noticed_or_makes_no_difference(
    tmp_path: Path, seed: str, count: int
) -> None:
    figures = run_cases(tmp_path / "sites", count, seed=seed)

    assert not figures.defects, figures
    assert figures.messages.total() > count / 10
    assert figures.restored > 0
