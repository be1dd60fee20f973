"""The progress of a trial, and its checkpoints."""

from __future__ import annotations

import json

import pytest

from effv2_tune.files.checkpoint import (
    Checkpoint,
)
from effv2_tune.study.recipe import Recipe
from effv2_tune.training.trial_state import TrialProgress, belongs_to, restore


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
    assert (times.step_work, times.step_undisturbed, times.undisturbed) == (0.0, 0.0, 0)


def test_of_a_long_trial_some_windows_stand_for_all() -> None:
    progress = TrialProgress(Recipe())
    for window in range(3000):
        progress.step_times.append(0.5)
        progress.count_work(1.0 + window, is_undisturbed=window % 10 == 0)

    times = progress.all_times(wall=1.0, step_bucket=0.1, speed=1.0)
    assert len(progress.works) <= 256
    assert times.step_work == pytest.approx(1500.0, rel=0.01)
    assert (times.step_undisturbed, times.undisturbed) == (0.5, 64)


def test_windows_are_kept_in_checkpoints() -> None:
    progress = TrialProgress(Recipe(), works=[0.2, 0.3], undisturbed=[0.18], windows=2)

    resumed = restore(progress.checkpoint({}, {}, wall=1.0), Recipe())

    assert (resumed.works, resumed.undisturbed, resumed.windows) == ([0.2, 0.3], [0.18], 2)
