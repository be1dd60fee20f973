"""A study with an oracle of Keras Tuner as its engine."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from effv2_tune.search.supervisor import open_study
from effv2_tune.study.plan import StudyPlan

if TYPE_CHECKING:
    import pytest

SCRIPTED_WORKER = (
    sys.executable,
    str(Path(__file__).with_name("scripted_worker.py")),
)


def test_a_study_runs_with_the_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRIPT", "{}")
    written = {
        "name": "asked",
        "recipe": {"epochs": 6, "schedule": "constant"},
        "search_space": {
            "weight_decay": {"type": "float", "low": 1e-6, "high": 1e-1, "scale": "log"}
        },
        "search": {"engine": "keras_tuner_random", "halving": {"enabled": False}},
        "trials": 4,
    }
    plan = StudyPlan.model_validate_json(json.dumps(written))
    with open_study(plan, tmp_path, base=tmp_path) as study:
        list(study.run(hardware="cpu", backend="tensorflow", worker_command=SCRIPTED_WORKER))
        trials = study.storage.trials()

    assert [trial.state for trial in trials] == ["complete"] * 4
    assert len({trial.config["weight_decay"] for trial in trials}) == 4
