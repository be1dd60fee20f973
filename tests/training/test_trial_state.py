"""The progress of a trial, and its checkpoints."""

from __future__ import annotations

import json

import pytest

from effv2_tune.files.checkpoint import (
    Checkpoint,
)
from effv2_tune.study.recipe import Recipe
from effv2_tune.training.trial_state import TrialProgress, belongs_to


def test_a_checkpoint_from_before_a_setting_existed_belongs_to_a_recipe_at_its_default() -> None:
    recipe = Recipe(epochs=3)
    settings = recipe.model_dump(mode="json")
    before = {name: value for name, value in settings.items() if name != "cutout"}

    assert belongs_to(Checkpoint({}, {"recipe": json.dumps(before)}), recipe)
    assert not belongs_to(Checkpoint({}, {"recipe": json.dumps(before | {"epochs": 4})}), recipe)
    assert not belongs_to(Checkpoint({}, {"recipe": json.dumps(before | {"gone": 1})}), recipe)


def test_step_times_are_compared_at_the_speed_of_the_machine_that_the_bucket_is_timed_for() -> None:
    progress = TrialProgress(Recipe(), epoch_step_times=[0.12, 0.13, 0.125])
    raw = progress.all_times(wall=1.0, step_bucket=0.1, speed=1.0)
    times = progress.all_times(wall=1.0, step_bucket=0.1, speed=0.8)

    assert raw.is_timing_outlier
    assert raw.speed == 1.0
    assert times.speed == 0.8
    assert times.step_excess == pytest.approx(0.0)
    assert times.step_median == 0.125
