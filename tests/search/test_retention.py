"""Whose weights stay on disk after a trial."""

from __future__ import annotations

import json
from typing import Literal

import pytest

from effv2_tune.search.retention import expired_checkpoints
from effv2_tune.study import Measurement, StudyPlan, Trial


def plan(keep: str) -> StudyPlan:
    space = {"epochs": {"type": "int", "low": 1, "high": 3}}
    written = {"name": "mine", "search_space": space, "trials": 3, "keep": keep}
    return StudyPlan.model_validate_json(json.dumps(written))


def trial(
    number: int,
    state: Literal["running", "complete", "pruned"],
    point: tuple[float, float] | None = None,
) -> Trial:
    measured = None if point is None else Measurement(quality=point[0], train_seconds=point[1])
    return Trial(number=number, state=state, config={}, measurement=measured)


TRIALS = [
    trial(0, "complete", (0.9, 10.0)),
    trial(1, "complete", (0.8, 20.0)),
    trial(2, "pruned"),
    trial(3, "running"),
    trial(4, "complete", (0.95, 30.0)),
]


@pytest.mark.parametrize(
    ("keep", "forgotten"), [("front", [1, 2]), ("all", [2]), ("none", [0, 1, 2, 4])]
)
def test_a_running_trial_keeps_its_checkpoints_and_others_as_the_study_says(
    keep: str, forgotten: list[int]
) -> None:
    assert expired_checkpoints(TRIALS, plan(keep)) == forgotten
