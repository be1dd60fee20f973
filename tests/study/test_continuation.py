"""Continuing a study with an edited plan: which changes are listed, and which are refused."""

from __future__ import annotations

from typing import Any

import pytest

from effv2_tune.errors import TuneError
from effv2_tune.study import StudyPlan
from effv2_tune.study.continuation import changes_since, refuse_another_study


def plan(**changes: Any) -> StudyPlan:
    space = {"epochs": {"type": "int", "low": 1, "high": 9}}
    return StudyPlan.from_plain({"name": "mine", "search_space": space, "trials": 3} | changes)


def test_a_change_is_listed_with_its_old_and_its_new_value() -> None:
    allowed = plan(trials=5, search={"seed": 1})

    assert changes_since(plan(), plan(), location="runs/mine") == []
    assert changes_since(plan(), allowed, location="runs/mine") == [
        "trials: 3 -> 5",
        "search.seed: 42 -> 1",
    ]


def test_only_the_changes_that_are_not_allowed_are_refused() -> None:
    now = plan(trials=5, recipe={"epochs": 3}, search={"seed": 1})

    with pytest.raises(TuneError, match="not comparable") as caught:
        changes_since(plan(), now, location="runs/mine")

    assert caught.value.message.splitlines()[1:] == ["  recipe.epochs: 25 -> 3"]
    assert "--warm-start runs/mine" in (caught.value.hint or "")


def test_another_study_is_refused_and_named() -> None:
    with pytest.raises(TuneError, match="runs/mine holds another study, theirs"):
        changes_since(plan(name="theirs"), plan(), location="runs/mine")

    refuse_another_study(["theirs", "mine"], plan(), location="shared.db")
    refuse_another_study([], plan(), location="empty")
