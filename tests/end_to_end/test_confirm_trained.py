"""A study on cached features whose picks are confirmed, with one real worker."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from effv2_tune.search import read_study
from effv2_tune.search.events import BucketCompiled
from effv2_tune.search.supervisor import open_study
from effv2_tune.study.plan import StudyPlan

if TYPE_CHECKING:
    from pathlib import Path

PLAN = {
    "name": "features",
    "data": {"name": "digits", "train": 320, "validation": 128, "test": 64},
    "recipe": {
        "variant": "tiny",
        "resolution": 32,
        "backbone": "frozen",
        "batch_size": 64,
        "epochs": 4,
        "schedule": "constant",
    },
    "search_space": {"maximal_learning_rate": {"type": "choice", "values": [0.01, 0.02, 0.03]}},
    "search": {
        "engine": "grid",
        "halving": {"enabled": False},
        "confirm": {"trials": 3, "difference": 0.0, "level": 0.999},
    },
    "trials": 3,
}


@pytest.mark.slow
def test_replicates_on_cached_features_extract_and_compile_nothing_and_take_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from effv2_tune.network import training_network

    monkeypatch.setenv("EFFV2_TUNE_CACHE", str(tmp_path / "cache"))
    weights = tmp_path / "tiny.weights.h5"
    training_network("tiny", classes=7, resolution=32, seed=5).save_weights(weights)
    recipe = PLAN["recipe"] | {"weights": str(weights)}  # type: ignore[operator]
    plan = StudyPlan.model_validate_json(json.dumps(PLAN | {"recipe": recipe}))

    with open_study(plan, tmp_path, base=tmp_path) as study:
        events = list(study.run(hardware="cpu", backend="tensorflow"))

    trials = read_study(tmp_path).trials
    replicates = [trial for trial in trials if trial.replicate_of is not None]
    assert [trial.state for trial in trials] == ["complete"] * 6
    assert len(replicates) == 3
    assert sum(isinstance(event, BucketCompiled) and event.fresh for event in events) == 1
    assert {trial.times.extract for trial in replicates} == {0.0}
    assert {trial.times.compile for trial in replicates} == {0.0}
    # With another seed, other weights are trained in another order.
    assert {trial.curve[0].train_loss for trial in replicates}.isdisjoint(
        trial.curve[0].train_loss for trial in trials if trial.replicate_of is None
    )
    assert {trial.recipe.data for trial in trials if trial.recipe is not None} == {plan.data}
