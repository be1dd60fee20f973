"""What the results show of a study whose trials are paused."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from effv2_tune.report.text import state_sentence
from effv2_tune.search.engines.optuna import OptunaEngine
from effv2_tune.search.supervisor import open_study
from effv2_tune.session.results import Results
from effv2_tune.session.startup import _so_far
from effv2_tune.study import StudyPlan, Trial
from effv2_tune.study.trial import Pause, RungResult

if TYPE_CHECKING:
    from pathlib import Path

SPACE = {"epochs": {"type": "int", "low": 5, "high": 9}}
PLAN = StudyPlan.from_plain({"name": "mine", "search_space": SPACE, "trials": 2})


@pytest.fixture
def results(tmp_path: Path) -> Results:
    """Of a study with one paused trial."""
    with open_study(PLAN, tmp_path, base=tmp_path) as opened:
        asked = OptunaEngine(opened.storage, PLAN.search_space, sampler="random").ask()
        trial = Trial(
            number=asked.number,
            state="paused",
            config=asked.config,
            recipe=PLAN.recipe_for(asked.config),
            pause=Pause(rung=0, epoch=2, step=20, since=datetime(2026, 1, 1, tzinfo=UTC)),
            rungs=(RungResult(rung=0, epoch=2, quality=0.5, projected_seconds=9.0),),
        )
        opened.storage.pause(trial)
    return Results(tmp_path)


def test_status_lists_paused_trials(results: Results, capsys: pytest.CaptureFixture[str]) -> None:
    status = results.status()

    assert status["states"] == {"paused": 1}
    assert [row["trial"] for row in status["paused"]] == [0]
    assert (status["running"], status["interrupted"]) == ([], [])
    assert status["paused"][0]["rung_epoch"] == 2
    results.print_status()
    shown = capsys.readouterr().out
    assert "1 paused." in shown
    assert "accuracy 0.5000, since 2026-01-01 00:00:00 UTC" in shown
    assert state_sentence(results.analysis) == "1 paused."


def test_the_table_and_the_report_know_paused_trials(results: Results, tmp_path: Path) -> None:
    assert "paused" in results.trials_as("csv")
    assert '"state": "paused"' in results.trials_as("json")
    results.report(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "paused (1)" in page
    assert "Hourglasses are paused trials (1)" in page


def test_a_study_that_is_continued_counts_them_as_unfinished(results: Results) -> None:
    assert _so_far(results.record) == "0 trials, 1 unfinished"
