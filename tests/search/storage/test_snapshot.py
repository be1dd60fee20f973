"""Reading a study from its folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from effv2_tune.errors import TuneError
from effv2_tune.search import read_study

if TYPE_CHECKING:
    from pathlib import Path


def test_a_folder_without_a_study_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(TuneError, match=r"no study in .*it has no study\.db"):
        read_study(tmp_path)
