"""Bounds of the learning rates by range tests: what they replace, and when they hold."""

from __future__ import annotations

from typing import Any

import pytest

from effv2_tune.errors import TuneError
from effv2_tune.search.learning_rates import (
    RatesTest,
    digest_of,
    find_version,
    next_key,
    version_of,
    versions_of,
    with_bounds,
)
from effv2_tune.study.plan import StudyPlan

SPACE: dict[str, Any] = {
    "initial_learning_rate": {"type": "float", "low": 1e-6, "high": 1e-1, "scale": "log"},
    "maximal_learning_rate": {"type": "float", "low": 1e-5, "high": 1.0, "scale": "log"},
    "dropout": {"type": "float", "low": 0.0, "high": 0.5},
}


def plan_of(space: dict[str, Any] = SPACE, **keys: Any) -> StudyPlan:
    facts = {"name": "x", "trials": 2, "search": {"range_test": True}, "search_space": space}
    return StudyPlan.from_plain(facts | keys)


def rates_test(maximal: tuple[float, float] | None, **changes: Any) -> RatesTest:
    known: dict[str, Any] = {"label": "b0@32 batch 64", "share": 0.5, "steps": 9, "seconds": 2.0}
    if maximal is not None:
        known["initial"] = (maximal[0] / 100, maximal[0])
    return RatesTest(**(known | {"maximal": maximal} | changes))


TESTS = (
    rates_test((1e-3, 1e-2)),
    rates_test((2e-3, 5e-2)),
    rates_test(None, reason="Does not fit"),
)


def bounds_of(plan: StudyPlan, name: str) -> tuple[float, float]:
    parameter = plan.search_space.parameters[name]
    return parameter.low, parameter.high  # type: ignore[union-attr]


def test_the_bounds_contain_the_proposals_of_all_families_and_nothing_else_changes() -> None:
    plan = plan_of()

    bounded = with_bounds(plan, version_of(plan, TESTS))

    assert bounds_of(bounded, "maximal_learning_rate") == (1e-3, 5e-2)
    assert bounds_of(bounded, "initial_learning_rate") == (1e-5, 2e-3)
    assert bounded.search_space.parameters["dropout"] == plan.search_space.parameters["dropout"]
    assert bounded.model_copy(update={"search_space": plan.search_space}) == plan


def test_configs_that_are_tried_first_stay_inside() -> None:
    rates = {"initial_learning_rate": 1e-6, "maximal_learning_rate": 0.5}
    plan = plan_of(enqueue=[rates | {"dropout": 0.1}])

    bounded = with_bounds(plan, version_of(plan, TESTS, first=[{"maximal_learning_rate": 1e-4}]))

    assert bounded.search_space.contains(plan.enqueue[0])
    assert bounds_of(bounded, "maximal_learning_rate") == (1e-4, 0.5)


def test_a_rate_that_is_not_searched_bounds_the_other_one() -> None:
    space = {name: SPACE[name] for name in ("maximal_learning_rate", "dropout")}
    plan = plan_of(space, recipe={"initial_learning_rate": 4e-3})

    assert version_of(plan, TESTS).bounds == {"maximal_learning_rate": (4e-3, 5e-2)}
    with pytest.raises(TuneError, match=r"0.001 to 0.05, the bounds .* not above .* 0.06"):
        version_of(plan_of(space, recipe={"initial_learning_rate": 0.06}), TESTS)
    # A schedule that never uses the initial rate proposes nothing for it.
    constant = [rates_test((1e-3, 1e-2), initial=None)]
    assert version_of(plan_of(), constant).bounds == {"maximal_learning_rate": (1e-3, 1e-2)}


def test_where_nothing_is_learned_there_are_no_bounds() -> None:
    with pytest.raises(TuneError, match="No bucket learns anything"):
        version_of(plan_of(), [rates_test(None)])


def test_a_version_holds_for_its_plan_with_and_without_the_bounds_and_for_no_other() -> None:
    plan, wider = plan_of(), plan_of(recipe={"optimizer": "sgd"})
    facts: dict[str, Any] = {}
    for one in (plan, wider):
        facts[next_key(facts)] = version_of(one, TESTS).model_dump(mode="json")
    facts |= {"plan": "other", "bucket:1": {}}

    first, second = versions_of(facts)

    assert list(facts)[:2] == ["learning_rates:1", "learning_rates:2"]
    assert find_version(plan, facts) == first
    assert find_version(with_bounds(plan, first), facts) == first
    assert find_version(wider, facts) == second
    assert find_version(plan_of(recipe={"optimizer": "adamw"}), facts) is None
    more = plan.model_copy(update={"trials": 9, "workers": 2})
    assert find_version(more, facts) == first
    assert find_version(plan_of(search={}), facts) is None


def test_a_plan_that_was_stored_has_the_digest_of_the_plan_that_was_read() -> None:
    plan = plan_of(recipe={"mixup": 0.1})

    again = StudyPlan.model_validate_json(plan.model_dump_json(exclude_unset=True))

    assert digest_of(again) == digest_of(plan)
