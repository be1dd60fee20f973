"""The importance of hyperparameters: what decides an objective comes first."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from effv2_tune.report.analysis import analyse
from effv2_tune.report.html.sections import importance_sections
from effv2_tune.report.importance import FEWEST_TRIALS, best_share, importances

if TYPE_CHECKING:
    from collections.abc import Callable

    from effv2_tune.report.input import ReportInput


def configs(count: int) -> list[dict[str, Any]]:
    chance = random.Random(7)  # noqa: S311 - made-up configs
    return [
        {
            "decisive": 10 ** chance.uniform(-4, -1),
            "idle": chance.uniform(0, 1),
            "epochs": chance.choice([4, 8, 12]),
            "optimizer": chance.choice(["sgd", "adamw"]),
        }
        for _ in range(count)
    ]


def test_what_decides_the_objective_comes_first() -> None:
    tried = configs(120)

    found = importances(tried, [config["decisive"] for config in tried])

    assert found[0].parameter == "decisive"
    assert found[0].share > 0.5
    assert sum(one.share for one in found) == 1 or abs(sum(one.share for one in found) - 1) < 1e-9
    assert {one.trials for one in found} == {120}


def test_an_interval_is_wider_with_fewer_trials() -> None:
    def width(count: int) -> float:
        tried = configs(count)
        first = importances(tried, [config["decisive"] for config in tried])[0]
        return first.high - first.low

    assert width(400) < width(25)


def test_a_conditional_hyperparameter_is_rated_and_counted() -> None:
    tried = configs(120)
    for config in tried:
        if config["optimizer"] == "sgd":
            config["momentum"] = config["idle"]

    found = {one.parameter: one for one in importances(tried, [c["decisive"] for c in tried])}

    assert 0 < found["momentum"].trials < 120
    assert found["momentum"].share < found["decisive"].share


def test_the_same_trials_have_the_same_importance() -> None:
    tried = configs(40)
    costs = [config["decisive"] for config in tried]

    assert importances(tried, costs) == importances(tried, costs)


def test_few_trials_and_equal_configs_have_none() -> None:
    tried = configs(FEWEST_TRIALS - 1)

    assert importances(tried, [config["idle"] for config in tried]) == []
    assert importances([{"epochs": 4}] * 30, [float(n) for n in range(30)]) == []


def test_at_least_five_trials_are_the_best() -> None:
    assert best_share(20) * 20 >= 5
    assert best_share(500) == 0.1


def test_the_page_says_how_many_trials_it_needs(study_maker: Callable[..., ReportInput]) -> None:
    few, many = (importance_sections(analyse(study_maker(count))) for count in (12, 60))

    assert "from 20 complete trials on" in few[0].text
    assert few[0].plot is None
    assert many[0].plot is not None
    assert [view.label for view in many[0].plot.views] == ["For accuracy", "For training time"]
    assert "90 % intervals" in many[0].caption
