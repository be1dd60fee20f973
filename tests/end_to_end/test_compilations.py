"""A whole study with one real worker compiles as often as it has buckets."""

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
    "name": "compilations",
    "data": {"name": "digits", "train": 128, "validation": 64, "test": 64},
    "recipe": {"variant": "tiny", "batch_size": 64, "epochs": 1, "epsilon": 1e-7},
    "search_space": {
        "resolution": {"type": "choice", "values": [32, 40]},
        "schedule": {"type": "choice", "values": ["constant", "cosine"]},
        "seed": {"type": "choice", "values": [0, 1, 2, 3, 4, 5]},
    },
    "search": {"engine": "grid", "halving": {"enabled": False}},
    "trials": 24,
}


@pytest.mark.slow
def test_24_trials_over_four_buckets_are_four_compilations(tmp_path: Path) -> None:
    plan = StudyPlan.model_validate_json(json.dumps(PLAN))
    with open_study(plan, tmp_path, base=tmp_path) as study:
        events = list(study.run(hardware="cpu", backend="tensorflow"))

    trials = read_study(tmp_path).trials
    buckets = {trial.bucket.digest for trial in trials if trial.bucket is not None}
    fresh = [event for event in events if isinstance(event, BucketCompiled) and event.fresh]
    assert [trial.state for trial in trials] == ["complete"] * 24
    assert len(buckets) == len(fresh) == 4
    assert sum(trial.times.compile > 0 for trial in trials) == 4
    assert sum(trial.times.build > 0 for trial in trials) == 4
    assert sum(trial.times.measure > 0 for trial in trials) == 4
