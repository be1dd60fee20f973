"""A study that an earlier version wrote is read, reported and continued."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from effv2_tune.search import read_study

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Outcome

#: Four complete trials of scripted workers, as `.dump` of sqlite3 prints the database of 0.1.0.
DUMP = Path(__file__).with_name("study_of_0.1.0.sql")


@pytest.fixture
def earlier(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the study; the folder's study file is the one it began with."""
    out = folder / "runs" / "small"
    out.mkdir(parents=True)
    connection = sqlite3.connect(out / "study.db")
    connection.executescript(DUMP.read_text(encoding="utf-8"))
    connection.close()
    monkeypatch.setenv("SCRIPT", "{}")
    return out


def test_a_study_of_version_0_1_is_read_and_reported(
    tune: Callable[..., Outcome], earlier: Path
) -> None:
    status, report = tune("status", "runs/small"), tune("report", "runs/small")

    assert (status.code, report.code) == (0, 0)
    assert "4 complete" in status.out
    assert (earlier / "report.html").stat().st_size > 0


def test_a_study_of_version_0_1_continues_with_more_trials(
    tune: Callable[..., Outcome], earlier: Path
) -> None:
    before = {trial.number: trial.config for trial in read_study(earlier).trials}

    outcome = tune("run", "study.yaml", "--trials", "6")

    trials = read_study(earlier).trials
    assert outcome.code == 0
    assert [trial.state for trial in trials] == ["complete"] * 6
    assert {trial.number: trial.config for trial in trials[:4]} == before
