"""A study that searches the epochs of the classifier before those of all layers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from effv2_tune.network import training_network
from effv2_tune.search import read_study
from effv2_tune.search.events import BucketCompiled
from effv2_tune.search.supervisor import open_study
from effv2_tune.study.plan import StudyPlan

if TYPE_CHECKING:
    from pathlib import Path

PLAN = {
    "name": "head",
    "data": {"name": "digits", "train": 128, "validation": 64, "test": 64},
    "recipe": {
        "variant": "tiny",
        "resolution": 32,
        "weights": "tiny.weights.h5",
        "batch_size": 64,
        "epochs": 4,
        "epsilon": 1e-7,
        "schedule": "constant",
    },
    "search_space": {
        "backbone": {"type": "choice", "values": ["finetune", "frozen"]},
        "head_epochs": {"type": "choice", "values": [0, 2], "when": {"backbone": "finetune"}},
    },
    "enqueue": [
        {"backbone": "finetune", "head_epochs": 2},
        {"backbone": "finetune", "head_epochs": 0},
        {"backbone": "frozen"},
    ],
    "search": {"engine": "random", "halving": {"enabled": True, "rungs": [0.5], "keep": 0.99}},
    "trials": 3,
}


@pytest.mark.slow
def test_the_seconds_of_a_trial_are_those_of_the_extraction_and_of_both_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EFFV2_TUNE_CACHE", str(tmp_path / "cache"))
    training_network("tiny", classes=7, resolution=32).save_weights(tmp_path / "tiny.weights.h5")
    plan = StudyPlan.model_validate_json(json.dumps(PLAN))
    with open_study(plan, tmp_path, base=tmp_path) as study:
        events = list(study.run(hardware="cpu", backend="tensorflow"))

    record = read_study(tmp_path)
    # The classifier of a trial in two parts is that of the frozen trial.
    fresh = [event for event in events if isinstance(event, BucketCompiled) and event.fresh]
    assert len(fresh) == len(record.bucket_times) == 2
    (head,) = [time for time in record.bucket_times.values() if time.extraction_seconds]
    (layers,) = [time for time in record.bucket_times.values() if not time.extraction_seconds]
    epoch_steps = 2
    for trial in record.trials:
        assert trial.state == "complete", trial.reason
        assert trial.measurement is not None
        parts = {("finetune", 0): (0, 4), ("finetune", 2): (2, 2), ("frozen", None): (4, 0)}
        epochs = parts[trial.config["backbone"], trial.config.get("head_epochs")]
        steps = [epoch_steps * count for count in epochs]
        seconds = steps[0] * head.step_seconds + steps[1] * layers.step_seconds
        seconds += head.extraction_seconds if epochs[0] else 0
        assert trial.measurement.train_seconds == pytest.approx(seconds)
        assert trial.rungs[0].projected_seconds == pytest.approx(seconds)
        # Half of the epochs that all layers are trained for.
        assert trial.rungs[0].epoch == (3 if epochs == (2, 2) else 2)
    assert not record.contradictions
