"""A study as a callable for ``optuna.Study.optimize``."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import optuna
import pytest

import effv2_tune
from effv2_tune.errors import TuneError
from effv2_tune.session.optuna_objective import RECORD
from effv2_tune.workers.launch import WorkerSpec
from effv2_tune.workers.messages import Finished

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).resolve().parent

TINY = """\
name: tiny
data: {name: digits, train: 320}
recipe: {variant: tiny, batch_size: 32, epochs: 2, step_size_epochs: 1, resolution: 32}
search_space:
  maximal_learning_rate: {type: float, low: 5e-3, high: 3e-2, scale: log}
trials: 1
"""


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    optuna.logging.set_verbosity(optuna.logging.INFO)


@pytest.fixture
def scripted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study file whose one worker is scripted; temporary folders lie beside it."""
    defaults = WorkerSpec.of.__kwdefaults__
    command = (sys.executable, str(HERE.parent / "end_to_end" / "scripted_worker.py"))
    monkeypatch.setitem(defaults, "command", command)
    (folder / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder / "temporary"))
    return folder / "study.yaml"


def test_each_trial_gets_quality_seconds_and_its_record(scripted: Path) -> None:
    with effv2_tune.objective(scripted) as goal:
        study = optuna.create_study(directions=goal.directions)
        study.optimize(goal, n_trials=3)

    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 3
    for trial in study.trials:
        found = Finished.model_validate_json(trial.user_attrs[RECORD])
        assert found.scores is not None
        steps = 4 * (1000 // 128)
        assert trial.values == pytest.approx(
            [found.scores.accuracy, steps * 0.001 * trial.params["resolution"]]
        )
    assert list((scripted.parent / "temporary").iterdir()) == []


def test_the_worker_has_the_devices_of_the_target(scripted: Path) -> None:
    """Batches per device are meant for four devices, and so are the seconds."""
    scripted.write_text(
        scripted.read_text()
        .replace("epochs: 4", "epochs: 4, batch_size: {per_device: 32}")
        .replace("trials:", "backend: jax\ndevices_per_worker: 1\ntarget: {devices: 4}\ntrials:")
    )
    with effv2_tune.objective(scripted) as goal:
        study = optuna.create_study(directions=goal.directions)
        study.optimize(goal, n_trials=1)

    (trial,) = study.trials
    steps = 4 * (1000 // (4 * 32))
    assert trial.values[1] == pytest.approx(steps * 0.001 * trial.params["resolution"])


def test_a_target_that_this_machine_lacks_is_refused_before_anything_is_trained(
    scripted: Path,
) -> None:
    text = scripted.read_text()
    scripted.write_text(
        text.replace("trials:", "backend: tensorflow\ntarget: {devices: 4}\ntrials:")
    )

    with (
        effv2_tune.objective(scripted) as goal,
        pytest.raises(TuneError, match="target: 4 devices are too many for TensorFlow"),
    ):
        goal(optuna.create_study(directions=goal.directions).ask())


def test_threads_wait_for_each_other(scripted: Path) -> None:
    with effv2_tune.objective(scripted) as goal:
        study = optuna.create_study(directions=goal.directions)
        study.optimize(goal, n_trials=4, n_jobs=3)

    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 4


def test_what_does_not_fit_is_pruned_and_violates_a_constraint(
    scripted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deeds = {"0": {"outcome": "infeasible"}, "1": {"outcome": "diverged"}}
    monkeypatch.setenv("SCRIPT", json.dumps(deeds))

    with effv2_tune.objective(scripted) as goal:
        study = optuna.create_study(directions=goal.directions)
        study.optimize(goal, n_trials=3)

    assert [trial.state.name for trial in study.trials] == ["PRUNED", "PRUNED", "COMPLETE"]
    assert study.trials[0].constraints == {"fits": 1.0}
    assert study.trials[1].constraints == {}


def test_a_dead_worker_costs_no_trial(scripted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRIPT", json.dumps({"0": {"die_at": 2, "times": 2}}))

    with effv2_tune.objective(scripted) as goal:
        study = optuna.create_study(directions=goal.directions)
        study.optimize(goal, n_trials=1)

    assert study.trials[0].state.name == "COMPLETE"


def test_a_trial_that_crashes_every_worker_is_an_error_and_the_next_one_is_trained(
    scripted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCRIPT", json.dumps({"0": {"die_at": 2, "times": 99, "by": "SIGSEGV"}}))

    with effv2_tune.objective(scripted) as goal:
        study = optuna.create_study(directions=goal.directions)
        with pytest.raises(TuneError, match="Trial 0 crashed 2 workers") as error:
            study.optimize(goal, n_trials=1)
        study.optimize(goal, n_trials=1)

    assert "dying now" in str(error.value.hint)
    assert [trial.state.name for trial in study.trials] == ["FAIL", "COMPLETE"]


def test_a_failed_trial_is_an_error_with_its_reason(
    scripted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCRIPT", json.dumps({"0": {"outcome": "failed"}}))

    with effv2_tune.objective(scripted) as goal:
        study = optuna.create_study(directions=goal.directions)
        with pytest.raises(TuneError, match="Trial 0 failed: as the script says"):
            study.optimize(goal, n_trials=1)


def test_a_worker_that_refuses_says_why(scripted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRIPT", json.dumps({"refuse": True}))

    with effv2_tune.objective(scripted) as goal:
        study = optuna.create_study(directions=goal.directions)
        with pytest.raises(TuneError, match="No images here"):
            study.optimize(goal, n_trials=1)


@pytest.mark.parametrize("directions", [["maximize"], ["minimize", "minimize"]])
def test_other_directions_are_refused_before_anything_is_trained(
    scripted: Path, directions: list[str]
) -> None:
    with effv2_tune.objective(scripted) as goal:
        study = optuna.create_study(directions=directions)
        with pytest.raises(TuneError, match="The Optuna study has directions") as error:
            study.optimize(goal, n_trials=1)

    assert "directions=['maximize', 'minimize']" in str(error.value.hint)
    assert list((scripted.parent / "temporary").iterdir()) == []


def test_a_study_that_is_not_there_is_told_at_once() -> None:
    with pytest.raises(TuneError, match="did you mean 'quickstart'"):
        effv2_tune.objective("quickstrat")


@pytest.mark.slow
def test_two_real_trials_of_a_tiny_network(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)

    with effv2_tune.objective(tmp_path / "tiny.yaml") as goal:
        study = optuna.create_study(directions=goal.directions)
        study.optimize(goal, n_trials=2)

    found = [Finished.model_validate_json(trial.user_attrs[RECORD]) for trial in study.trials]
    assert all(trial.values is not None for trial in study.trials)
    assert study.trials[0].values[1] == study.trials[1].values[1] > 0
    assert found[0].times.compile > 0
    assert found[1].times.compile == 0
