"""Batches that do not fit are found before the first trial."""

from __future__ import annotations

import json
from typing import Any

import pytest

from effv2_tune.errors import TuneError
from effv2_tune.study import DataFacts, StudyPlan
from effv2_tune.study.batches import check_batches

DATA = DataFacts(classes=10, image_shape=(8, 8, 3), train=100, validation=10, test=10, digest="abc")


def plan(batch: Any, *, searched: list[Any] | None = None) -> StudyPlan:
    space: dict[str, Any] = {"epochs": {"type": "int", "low": 1, "high": 3}}
    recipe = {"batch_size": batch}
    if searched is not None:
        space["batch_size"] = {"type": "choice", "values": searched}
        recipe = {}
    written = {"name": "mine", "recipe": recipe, "search_space": space, "trials": 3}
    return StudyPlan.model_validate_json(json.dumps(written))


@pytest.mark.parametrize(
    "study", [plan(64), plan({"per_device": 12}), plan(0, searched=[8, {"per_device": 4}])]
)
def test_batches_that_fit_are_let_through(study: StudyPlan) -> None:
    check_batches(study, DATA, device_count=8)


@pytest.mark.parametrize("study", [plan(128), plan({"per_device": 16}), plan(0, searched=[8, 104])])
def test_a_batch_larger_than_the_training_images_is_refused(study: StudyPlan) -> None:
    with pytest.raises(TuneError, match="exceeds the 100 training images; use at most 100"):
        check_batches(study, DATA, device_count=8)


def test_a_batch_that_devices_cannot_share_is_refused() -> None:
    with pytest.raises(TuneError, match="cannot be divided evenly over 8 devices") as caught:
        check_batches(plan(60), DATA, device_count=8)

    assert "per_device: 7" in (caught.value.hint or "")
