"""Families of buckets, and which buckets propose bounds of the initial learning rate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from effv2_tune.commands.study.range import command
from effv2_tune.data import load_dataset
from effv2_tune.session.range_test.families import FamilyTests, family_of
from effv2_tune.session.range_test.testing import DEFAULT_SETTINGS, uses_initial
from effv2_tune.study.bucket import DataFacts, Placement, bucket_key
from effv2_tune.study.plan import StudyPlan
from effv2_tune.study.recipe import Recipe

PLACEMENT = Placement(backend="jax", device_kind="Slow CPU", device_count=1, precision="float32")
DATA = DataFacts(classes=10, image_shape=(32, 32, 3), train=90, validation=9, test=9, digest="0")
RATE = {"maximal_learning_rate": {"type": "float", "low": 1e-4, "high": 1e-1, "scale": "log"}}


def plan_of(recipe: dict[str, Any], space: dict[str, Any]) -> StudyPlan:
    data = {"name": "digits", "train": 256, "validation": 64}
    facts = {"name": "x", "trials": 9, "data": data, "recipe": recipe | {"batch_size": 64}}
    return StudyPlan.from_plain(facts | {"search_space": RATE | space, "hardware": "cpu"})


def labels_of(plan: StudyPlan) -> list[str]:
    dataset = load_dataset(plan.data, base=Path())
    return list(FamilyTests(plan, dataset, base=Path()).labels.values())


def test_resolutions_and_augmentations_are_of_one_family_and_networks_of_several() -> None:
    plain = Recipe(variant="b0", resolution=32)

    def family(**settings: Any) -> str:
        return family_of(bucket_key(plain.with_settings(**settings), DATA, PLACEMENT))

    same = {family(), family(resolution=64), family(mixup=0.2), family(evaluation_resolution=64)}
    assert len(same) == 1
    others = {family(variant="b1"), family(optimizer="sgd"), family(batch_size=64)}
    assert len(others | same) == 4


def test_a_family_is_tested_by_the_bucket_of_most_of_its_trials() -> None:
    space = {
        "resolution": {"type": "choice", "values": [48, 32]},
        "stages": {"type": "fixed", "value": 2},
    }

    assert labels_of(plan_of({"resolution_from": 32}, space)) == ["b0@32 batch 64"]


def test_the_classifier_before_all_layers_proposes_no_bounds_for_them() -> None:
    recipe = {"weights": "imagenet", "backbone": "finetune", "epochs": 6, "resolution": 32}
    head = {"head_epochs": {"type": "fixed", "value": 2}}

    assert len(labels_of(plan_of(recipe, head))) == 1
    del recipe["backbone"]
    both = {"backbone": {"type": "choice", "values": ["finetune", "frozen"]}}
    when = {"head_epochs": head["head_epochs"] | {"when": {"backbone": "finetune"}}}
    assert len(labels_of(plan_of(recipe, both | when))) == 2


@pytest.mark.parametrize(
    ("recipe", "space", "has_initial"),
    [
        ({"schedule": "cosine"}, {}, True),
        ({"schedule": "constant"}, {}, False),
        ({"schedule": "constant", "warmup_epochs": 1.0}, {}, True),
        (
            {"schedule": "constant"},
            {"warmup_epochs": {"type": "float", "low": 0.0, "high": 2.0}},
            True,
        ),
    ],
)
def test_a_constant_rate_begins_at_the_initial_one_only_with_a_warm_up(
    recipe: dict[str, Any], space: dict[str, Any], *, has_initial: bool
) -> None:
    plan = plan_of(recipe, space)
    key = bucket_key(Recipe(**recipe), DATA, PLACEMENT)

    assert uses_initial(plan, key) is has_initial


def test_a_study_tests_as_the_command_does() -> None:
    defaults = {option.name: option.default for option in command.params}

    assert {name: defaults[name] for name in vars(DEFAULT_SETTINGS)} == vars(DEFAULT_SETTINGS)
