"""The command ``status``: watching a study."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

    Tune = Callable[..., Any]


def test_watch_ends_with_the_study(tune: Tune, study: Path) -> None:
    assert tune("status", str(study), "--watch").code == 0


def test_a_terminal_of_80_columns_shows_whole_numbers_and_words(
    tune: Tune, study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (first, *_) = json.loads(tune("status", str(study), "--json").out)["front"]
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")

    shown = re.sub(r"\x1b\[[0-9;]*m", "", tune("status", str(study)).out)

    assert max(map(len, shown.splitlines())) <= 80
    error = first["expected_standard_error"]
    assert f"{first['expected_quality']:.4f} \N{PLUS-MINUS SIGN} {error:.4f}" in shown
    assert f"{first['weight_decay']:.4g}" in shown
    assert "100 %" in shown
    assert "\N{HORIZONTAL ELLIPSIS}" not in shown


def test_json_has_the_standard_errors_and_the_probability_of_being_on_the_front(
    tune: Tune, study: Path
) -> None:
    status = json.loads(tune("status", str(study), "--json").out)

    for row in (*status["front"], *status["possible_front"]):
        assert 0 < row["expected_standard_error"] <= 1.1 * row["standard_error"]
        assert row["expected_low"] < row["expected_quality"] < row["expected_high"]
        assert 0 < row["on_front_probability"] <= 1
    assert not {row["trial"] for row in status["front"]} & {
        row["trial"] for row in status["possible_front"]
    }
