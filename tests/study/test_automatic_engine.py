"""The engine that `auto` stands for."""

from __future__ import annotations

from typing import Any

import pytest

from effv2_tune.study import StudyPlan
from effv2_tune.study.automatic_engine import automatic_engine
from effv2_tune.study.space import Space

REAL = {"type": "float", "low": 0.0, "high": 1.0}
NAMES = {"type": "choice", "values": ["a", "b", "c"]}
SIZES = {"type": "choice", "values": [32, 64, 128, 224]}


def engine_of(**parameters: Any) -> str:
    return automatic_engine(Space.model_validate(parameters))


def reals(count: int) -> dict[str, Any]:
    return {f"x{number}": REAL for number in range(count)}


def test_a_space_of_numbers_is_searched_by_freeze_thaw() -> None:
    assert engine_of(**reals(15)) == "freeze_thaw"
    assert engine_of(**reals(3), size=SIZES) == "freeze_thaw"


@pytest.mark.parametrize(
    "parameters",
    [
        reals(16),
        {**reals(13), "names": NAMES},  # three coordinates more
        {"a": NAMES, "b": NAMES, "x": REAL},
        {"a": SIZES, "x": REAL | {"when": {"a": 32}}, "y": REAL | {"when": {"a": 64}}},
        {"a": {"type": "fixed", "value": 1}},
    ],
    ids=["many", "many coordinates", "choices", "conditions", "nothing to search"],
)
def test_any_other_space_is_searched_by_tpe(parameters: dict[str, Any]) -> None:
    assert engine_of(**parameters) == "tpe"


def test_a_third_of_the_dimensions_may_be_without_order() -> None:
    assert engine_of(**reals(2), names=NAMES) == "freeze_thaw"
    assert engine_of(**reals(1), names=NAMES) == "tpe"


@pytest.mark.parametrize(
    ("engine", "searched_by", "pauses"),
    [("auto", "freeze_thaw", True), ("tpe", "tpe", False), ("freeze_thaw", "freeze_thaw", True)],
)
def test_a_plan_has_the_engine_that_auto_stands_for(
    engine: str, searched_by: str, *, pauses: bool
) -> None:
    plan = StudyPlan.from_plain(
        {
            "name": "mine",
            "trials": 1,
            "search": {"engine": engine},
            "search_space": {"weight_decay": {"type": "float", "low": 0.0, "high": 0.1}},
        }
    )

    assert (plan.engine, plan.pauses) == (searched_by, pauses)
