"""The buckets of a study, and their frequencies."""

from __future__ import annotations

import math
import random

import pytest
from tests.forecast.examples import DATA, plan_of, target

from effv2_tune.forecast.buckets import (
    buckets_of,
    draw_config,
    expected_recipes,
    fewest_epochs,
)
from effv2_tune.study.plan import StudyPlan


def test_buckets_have_their_share_of_the_trials_and_their_mean_epochs() -> None:
    found = buckets_of(plan_of(), DATA, target().placement)

    assert sum(one.share for one in found) == pytest.approx(1)
    assert {one.key.variant for one in found} == {"b0", "s"}
    for one in found:
        assert one.share == pytest.approx(0.5, abs=0.06)
        assert one.epochs == pytest.approx(8, abs=0.5)
        assert one.fewest_epochs == one.epochs
        assert one.epoch_steps == 45_000 // 128


def test_configs_are_drawn_evenly_on_their_scale_and_lie_in_the_space() -> None:
    space = StudyPlan.model_validate(
        {
            "name": "x",
            "trials": 1,
            "search_space": {
                "optimizer": {"type": "choice", "values": ["sgd", "adamw"]},
                "momentum": {
                    "type": "float",
                    "low": 0.5,
                    "high": 0.9,
                    "when": {"optimizer": "sgd"},
                },
                "epochs": {"type": "int", "low": 1, "high": 100, "scale": "log"},
                "initial_learning_rate": {
                    "type": "float",
                    "low": 1e-6,
                    "high": 1e-2,
                    "scale": "log",
                },
                "maximal_learning_rate": {
                    "type": "float",
                    "low": 1e-4,
                    "high": 1e-1,
                    "scale": "log",
                },
            },
        }
    ).search_space
    generator = random.Random(0)  # noqa: S311 - no secret

    drawn = [draw_config(space, generator) for _ in range(400)]

    assert all(space.contains(config) for config in drawn)
    assert {"momentum" in one for one in drawn if one["optimizer"] == "adamw"} == {False}
    middle = sum(math.log10(one["epochs"]) for one in drawn) / len(drawn)
    assert 0.8 < middle < 1.1  # and not 1.7, the logarithm of the middle


def test_halving_that_stops_all_it_may_leaves_a_fraction_of_the_epochs() -> None:
    plan = plan_of(search={"halving": {"enabled": True, "rungs": (0.1, 0.2, 0.4), "keep": 0.25}})
    recipe = plan.recipe_for({"epochs": 100})

    assert fewest_epochs(plan, recipe) == [10 + 10 / 4 + 20 / 16 + 60 / 64]
    assert fewest_epochs(plan_of(), recipe) == [100]
    folded = {"data": plan.data.model_copy(update={"folds": 5})}
    assert fewest_epochs(plan.model_copy(update=folded), recipe) == [
        10 + 10 / 4 + 20 / 16 + 60 / 64 + 4 * 100 / 64
    ]
    assert fewest_epochs(plan_of().model_copy(update=folded), recipe) == [500]


def test_the_stages_of_a_trial_are_in_the_buckets_of_their_size_by_their_epochs() -> None:
    recipe = {"variant": "b0", "resolution": 96, "stages": 3, "resolution_from": 32, "epochs": 9}
    recipe |= {"schedule": "constant"}
    plan = StudyPlan.model_validate(
        {
            "name": "x",
            "trials": 3,
            "recipe": recipe,
            "search_space": {"weight_decay": {"type": "float", "low": 1e-6, "high": 1e-3}},
            "search": {"halving": {"enabled": True, "rungs": (1 / 3,), "keep": 0.5}},
        }
    )

    found = buckets_of(plan, DATA, target().placement)

    assert {one.key.resolution for one in found} == {32, 64, 96}
    assert all(one.share == pytest.approx(1 / 3) and one.trials == 1 for one in found)
    assert sum(one.share * one.epochs for one in found) == pytest.approx(9)
    fewest = {one.key.resolution: one.share * one.fewest_epochs for one in found}
    assert fewest == pytest.approx({32: 3, 64: 1.5, 96: 1.5})
    expected = expected_recipes(plan, DATA, target().placement)
    assert sorted(one.pixels for one in expected) == [32, 64, 96]


def test_the_epochs_of_the_classifier_are_in_the_bucket_of_its_features() -> None:
    recipe = {"variant": "b0", "backbone": "finetune", "weights": "imagenet", "epochs": 8}
    recipe |= {"schedule": "constant", "mixup": 0.2, "head_epochs": 2}
    plan = StudyPlan.model_validate(
        {
            "name": "x",
            "trials": 3,
            "recipe": recipe,
            "search_space": {"weight_decay": {"type": "float", "low": 1e-6, "high": 1e-3}},
            "search": {"halving": {"enabled": True, "rungs": (0.5,), "keep": 0.5}},
        }
    )

    found = {one.key.takes_features: one for one in buckets_of(plan, DATA, target().placement)}

    head, layers = found[True], found[False]
    assert head.key.augmentation == ()
    assert (head.share, layers.share) == (0.25, 0.75)
    assert (head.epochs, layers.epochs) == (8, 8)
    # The rung is after the fifth epoch: half of those that train all layers.
    assert head.share * head.fewest_epochs == pytest.approx(2)
    assert layers.share * layers.fewest_epochs == pytest.approx(3 + 3 / 2)
