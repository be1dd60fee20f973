"""What is logged of a study to a tracker, and that nothing is logged twice."""

from __future__ import annotations

import json
import math
import sys
from typing import TYPE_CHECKING, Any

import pytest

from effv2_tune.errors import TuneError
from effv2_tune.search import read_study
from effv2_tune.session.trackers.base import TrialPart, metrics_of
from effv2_tune.session.trackers.logging import TRACKERS, _log_new, _State, open_tracker

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from effv2_tune.search.storage.snapshot import StudyRecord

    Tune = Callable[..., Any]


class Notebook:
    """A tracker that keeps what it receives."""

    def __init__(self) -> None:
        self.parts: list[TrialPart] = []

    def log(self, part: TrialPart) -> None:
        self.parts.append(part)

    def close(self) -> None:
        """Nothing to do."""


@pytest.fixture
def record(study: Path) -> StudyRecord:
    return read_study(study)


def running(record: StudyRecord, epochs: int) -> StudyRecord:
    """The study while its last trial is in training, after so many epochs."""
    last = record.trials[-1]
    changes = {"state": "running", "curve": last.curve[:epochs], "measurement": None}
    from dataclasses import replace

    return replace(record, trials=(*record.trials[:-1], last.model_copy(update=changes)))


def test_each_trial_is_logged_with_its_config_curves_and_results(
    record: StudyRecord, tmp_path: Path
) -> None:
    notebook = Notebook()

    count = _log_new(record, notebook, _State(tmp_path, "here"))

    assert count == 4
    assert [part.name for part in notebook.parts] == [f"trial-000{n}" for n in range(4)]
    part, trial = notebook.parts[1], record.trials[1]
    assert part.config == trial.config
    assert part.epochs == trial.curve
    assert trial.measurement is not None
    assert part.results["objective/accuracy"] == trial.measurement.quality
    assert part.results["objective/train_seconds"] == trial.measurement.train_seconds
    assert len({part.identity for part in notebook.parts}) == 4


def test_a_running_study_is_logged_step_by_step_and_nothing_twice(
    record: StudyRecord, tmp_path: Path
) -> None:
    notebook = Notebook()

    for now in (running(record, 2), running(record, 2), running(record, 3), record, record):
        _log_new(now, notebook, _State(tmp_path, "here"))

    last = [part for part in notebook.parts if part.trial.number == 3]
    assert [[epoch.epoch for epoch in part.epochs] for part in last] == [[1, 2], [3], [4]]
    assert [bool(part.results) for part in last] == [False, False, True]
    assert len({part.identity for part in last}) == 1
    assert len(notebook.parts) == 3 + 3


def test_another_destination_receives_everything(record: StudyRecord, tmp_path: Path) -> None:
    counts = [_log_new(record, Notebook(), _State(tmp_path, name)) for name in ("a", "b", "a")]

    assert counts == [4, 4, 0]
    assert set(json.loads((tmp_path / "trackers.json").read_text())) == {"a", "b"}


def test_values_that_are_nan_are_left_out(record: StudyRecord) -> None:
    epoch = record.trials[0].curve[0].model_copy(update={"train_loss": math.nan})

    assert "train/loss" not in metrics_of(epoch)
    assert metrics_of(epoch)["validation/accuracy"] == epoch.validation.accuracy


def test_a_config_with_mappings_is_logged_as_json(record: StudyRecord) -> None:
    trial = record.trials[0].model_copy(update={"config": {"batch_size": {"per_device": 16}}})
    part = TrialPart("small", "id", trial, 0, "accuracy")

    assert part.config == {"batch_size": '{"per_device": 16}'}


@pytest.mark.parametrize("name", TRACKERS)
def test_a_tracker_that_is_not_installed_names_its_extra(
    name: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, f"effv2_tune.session.trackers.{name}", raising=False)

    with pytest.raises(TuneError, match="is not installed") as caught:
        open_tracker(name, tmp_path, "small")

    assert f"[{name}]" in str(caught.value.hint)


def test_the_core_imports_no_tracker(run_python: Callable[..., str]) -> None:
    code = (
        "import sys, effv2_tune.session.trackers.logging, effv2_tune.commands.results.log;"
        "print(sorted({'tensorboard', 'mlflow', 'wandb', 'trackio'} & set(sys.modules)))"
    )

    assert run_python(code).strip() == "[]"


def test_a_tracker_must_be_named(tune: Tune, study: Path) -> None:
    assert tune("log", str(study)).code == 2
    assert "comet" in tune("log", str(study), "--to", "comet").err
