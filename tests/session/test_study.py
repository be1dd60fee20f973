"""A study in a notebook: what it shows before, while and after it runs."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

import effv2_tune
from effv2_tune.errors import MistakesError, TuneError

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path


def test_a_study_shows_itself_before_and_after_it_runs(folder: Path) -> None:
    study = effv2_tune.Study.load(folder / "study.yaml", out=folder / "out")
    before = study._repr_html_()

    same = study.run()

    assert before == "<p><strong>small</strong>: not run yet.</p>"
    assert same is study
    assert "<svg" in study._repr_html_()
    assert "<table" in study._repr_html_()
    assert "<script" not in study._repr_html_()


def test_a_damaged_study_says_so_and_does_not_pretend_to_be_new(folder: Path, study: Path) -> None:
    (study / "study.db").write_bytes(b"<b>rubbish</b>" * 100)

    shown = effv2_tune.Study.load(folder / "study.yaml")._repr_html_()

    assert "not run yet" not in shown
    assert "There is no study in runs/small" in shown


def test_front_and_trials_are_frames_and_the_report_a_file(folder: Path, study: Path) -> None:
    loaded = effv2_tune.Study.load(folder / "study.yaml")

    assert len(loaded.trials()) == 4
    assert loaded.trials().index.name == "trial"
    assert loaded.front()["on_front"].all()
    assert list(loaded.front()["train_seconds"]) == sorted(loaded.front()["train_seconds"])
    assert loaded.report() == study / "report.html"
    assert loaded.export("fastest").provenance is not None


def test_a_session_that_is_over_leaves_the_study_to_be_resumed(folder: Path) -> None:
    short = effv2_tune.Study.load(folder / "study.yaml", session_hours=1e-9).run()

    assert short.results().record.activity.state == "interrupted"
    assert short.command == f"effv2-tune run {folder}/study.yaml --session-hours 1e-09"
    effv2_tune.Study.load(folder / "study.yaml", session_hours=1).run()
    assert short.results().record.activity.state == "ended"


def test_events_can_be_watched_and_left(folder: Path) -> None:
    study = effv2_tune.Study.load(folder / "study.yaml")

    story = study.events()
    names = []
    for event in story:
        names.append(type(event).__name__)
        if names.count("TrialEnded") == 2:
            break
    story.close()

    assert names[0] == "StudyStarted"
    assert [t for t in study.trials()["state"] if t == "complete"] == ["complete"] * 2
    assert len(study.run().trials()) == 4


def test_a_study_runs_in_a_thread_that_is_not_the_main_one(folder: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    study = effv2_tune.Study.load(folder / "study.yaml", trials=2)

    with ThreadPoolExecutor(1) as threads:
        assert len(threads.submit(study.run).result().trials()) == 2


def test_a_study_in_a_database_is_read_from_there(folder: Path) -> None:
    url = f"sqlite:///{folder}/shared.db"
    study = effv2_tune.Study.load(folder / "study.yaml", storage=url).run()

    assert len(study.front()) >= 1
    assert f"{url} --name small" in study.report().read_text()


def test_mistakes_are_told_when_the_study_is_loaded(folder: Path) -> None:
    (folder / "bad.yaml").write_text("name: x\ntrials: many\n")

    with pytest.raises(MistakesError, match=r"bad.yaml:2: trials: expected a whole number"):
        effv2_tune.Study.load(folder / "bad.yaml")


def test_a_folder_that_cannot_be_made_is_told_before_a_worker_starts(folder: Path) -> None:
    study = effv2_tune.Study.load(folder / "study.yaml", out=folder / "study.yaml" / "out")

    with pytest.raises(TuneError, match="is a file"):
        study.run()


def test_a_study_can_be_moved(folder: Path, study: Path) -> None:
    shutil.move(study, folder / "elsewhere")

    moved = effv2_tune.Study.load(folder / "study.yaml", out=folder / "elsewhere")

    assert len(moved.run().trials()) == 4


@pytest.mark.slow
def test_a_second_supervisor_takes_no_trial_of_the_first(
    start: Callable[..., subprocess.Popen[str]], folder: Path
) -> None:
    env = {"SCRIPT": '{"epoch_seconds": 0.1}'}
    first, second = start("run", "study.yaml", **env), start("run", "study.yaml", **env)
    codes = [process.wait(timeout=90) for process in (first, second)]

    trials = effv2_tune.Study.load(folder / "study.yaml").trials()
    assert codes == [0, 0]
    assert sorted(trials.index) == [0, 1, 2, 3]
    assert set(trials["state"]) == {"complete"}
