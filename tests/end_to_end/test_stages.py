"""A study that searches the number of stages, with one real worker."""

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
    "name": "stages",
    "data": {"name": "digits", "train": 128, "validation": 64, "test": 64},
    "recipe": {
        "variant": "tiny",
        "resolution": 48,
        "resolution_from": 32,
        "batch_size": 64,
        "epochs": 4,
        "epsilon": 1e-7,
        "schedule": "constant",
    },
    "search_space": {
        "stages": {"type": "choice", "values": [1, 2]},
        "seed": {"type": "choice", "values": [0, 1]},
    },
    "search": {"engine": "grid", "halving": {"enabled": True, "rungs": [0.5], "keep": 0.99}},
    "trials": 4,
}


@pytest.mark.slow
def test_the_seconds_of_a_trial_are_the_sum_over_its_stages_whose_buckets_trials_share(
    tmp_path: Path,
) -> None:
    plan = StudyPlan.model_validate_json(json.dumps(PLAN))
    with open_study(plan, tmp_path, base=tmp_path) as study:
        events = list(study.run(hardware="cpu", backend="tensorflow"))

    record = read_study(tmp_path)
    fresh = [event for event in events if isinstance(event, BucketCompiled) and event.fresh]
    assert len(fresh) == len(record.bucket_times) == 2
    steps = {time.label: time.step_seconds for time in record.bucket_times.values()}
    small, large = steps["tiny@32 batch 64"], steps["tiny@48 batch 64"]
    epoch_steps = 2
    for trial in record.trials:
        assert trial.state == "complete"
        assert trial.measurement is not None
        assert trial.bucket is not None
        assert trial.bucket.resolution == 48
        seconds = epoch_steps * (2 * small + 2 * large)
        if trial.config["stages"] == 1:
            seconds = epoch_steps * 4 * large
        assert trial.measurement.train_seconds == pytest.approx(seconds)
        # At the rung, after the first stage, the second one was timed already.
        assert trial.rungs[0].projected_seconds == pytest.approx(seconds)
        assert trial.measurement.seconds_low is not None
        assert trial.measurement.seconds_low < seconds
    assert not record.contradictions
