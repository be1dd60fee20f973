"""The progress of a trial, and its checkpoints."""

from __future__ import annotations

import json

from effv2_tune.files.checkpoint import (
    Checkpoint,
)
from effv2_tune.study.recipe import Recipe
from effv2_tune.training.trial_state import belongs_to


def test_a_checkpoint_from_before_a_setting_existed_belongs_to_a_recipe_at_its_default() -> None:
    recipe = Recipe(epochs=3)
    settings = recipe.model_dump(mode="json")
    before = {name: value for name, value in settings.items() if name != "cutout"}

    assert belongs_to(Checkpoint({}, {"recipe": json.dumps(before)}), recipe)
    assert not belongs_to(Checkpoint({}, {"recipe": json.dumps(before | {"epochs": 4})}), recipe)
    assert not belongs_to(Checkpoint({}, {"recipe": json.dumps(before | {"gone": 1})}), recipe)
