"""The tuner, the hypermodel and the examples of docs/interop.md, with real training."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import keras_tuner
import numpy as np
import optuna
import pytest

from effv2_tune.errors import TuneError
from effv2_tune.interop import EfficientNetV2Tuner
from effv2_tune.study.plan import StudyPlan

DOCUMENT = Path(__file__).parents[2] / "docs" / "interop.md"


def plan(**changes: Any) -> StudyPlan:
    written = {
        "name": "digits",
        "data": {"name": "digits", "train": 256},
        "recipe": {"variant": "tiny", "resolution": 32, "epochs": 1, "batch_size": 64},
        "search_space": {
            "weight_decay": {"type": "float", "low": 1e-6, "high": 1e-2, "scale": "log"},
            "epochs": {"type": "int", "low": 1, "high": 3},
        },
        "trials": 2,
        "hardware": "cpu",
        "backend": "tensorflow",
    }
    return StudyPlan.model_validate(written | changes)


def example(name: str) -> str:
    """The code of an example, fifteen lines at most."""
    found = re.search(
        rf"<!-- example: {name} -->\n```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL
    )
    assert found is not None
    code = found[1]
    assert sum(bool(line.strip()) for line in code.splitlines()) <= 15
    return code


def test_a_sum_of_accuracy_and_seconds_is_refused(tmp_path: Path) -> None:
    both = [keras_tuner.Objective("accuracy", "max"), keras_tuner.Objective("train_seconds", "min")]
    oracle = keras_tuner.oracles.RandomSearchOracle(both, max_trials=2)

    with pytest.raises(TuneError, match="adds its objectives up"):
        EfficientNetV2Tuner(plan(), oracle, directory=tmp_path)


def test_training_arguments_are_refused(tmp_path: Path) -> None:
    tuner = EfficientNetV2Tuner(plan(), directory=tmp_path)

    with pytest.raises(TuneError, match="takes no training arguments"):
        tuner.search([1], epochs=3)


def test_the_oracle_knows_the_space_of_the_study(tmp_path: Path) -> None:
    tuner = EfficientNetV2Tuner(plan(), directory=tmp_path)

    assert [hp.name for hp in tuner.oracle.get_space().space] == ["weight_decay", "epochs"]
    assert tuner.oracle.max_trials == 2


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tuner", "oracle", "hypermodel", "space"])
def test_an_example_of_the_documentation_runs(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names: dict[str, Any] = {"folder": str(tmp_path), "plan": plan()}
    exec(compile(example(name), f"{DOCUMENT}:{name}", "exec"), names)  # noqa: S102 - our own text
    said = capsys.readouterr().out

    if name == "tuner":
        assert len(names["tuner"].oracle.trials) == 2
        assert "train_seconds" not in said
        probabilities = names["model"].predict(np.zeros((3, 8, 8, 1), "uint8"), verbose=0)
        assert probabilities.sum(axis=1) == pytest.approx(1.0, rel=1e-5)
    elif name == "oracle":
        assert "of 6 on the front" in said
    elif name == "hypermodel":
        done = names["tuner"].oracle.trials.values()
        assert [trial.status for trial in done] == ["COMPLETED"] * 2
    else:
        assert names["recipe"].weight_decay == pytest.approx(1e-6)


SEARCH = """
    import sys
    from pathlib import Path
    from effv2_tune.interop import EfficientNetV2Tuner
    from effv2_tune.study.plan import StudyPlan

    plan = StudyPlan.model_validate_json(Path(sys.argv[1], "plan.json").read_text())
    EfficientNetV2Tuner(plan, directory=sys.argv[1]).search(verbose=0)
"""


def _start(folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SEARCH), str(folder)],
        env=os.environ | {"KERAS_BACKEND": "tensorflow"},
        start_new_session=True,
    )


@pytest.mark.slow
def test_a_killed_tuner_loses_no_trial_and_trains_none_twice(tmp_path: Path) -> None:
    """Killed with SIGKILL while the second of three trials trains."""
    study = plan(trials=3, search={"seed": 5})
    (tmp_path / "plan.json").write_text(study.model_dump_json(exclude_unset=True))
    storage = f"sqlite:///{tmp_path}/digits/optuna.db"
    first = _start(tmp_path)
    deadline = time.monotonic() + 120
    told: list[Any] = []
    while len(told) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
        if (tmp_path / "digits" / "tuner0.json").exists():
            told = optuna.load_study(study_name="digits", storage=storage).trials
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    assert told[0].state.name == "COMPLETE"
    assert _start(tmp_path).wait(120) == 0

    kept = optuna.load_study(study_name="digits", storage=storage).trials
    assert [trial.state.name for trial in kept] == ["COMPLETE"] * 3
    assert kept[0].values == told[0].values
    assert kept[1].params == told[1].params or not told[1].params
    per_epoch = [trial.values[1] / trial.params["epochs"] for trial in kept]
    assert per_epoch == pytest.approx([per_epoch[0]] * 3)  # one step time for the bucket
    weights = sorted(path.name for path in (tmp_path / "digits" / "checkpoints").iterdir())
    tuner = EfficientNetV2Tuner(study, directory=tmp_path)
    assert weights == sorted(
        f"trial-{int(trial.trial_id):05d}" for trial in tuner.oracle.get_best_trials()
    )
