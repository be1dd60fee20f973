"""The objective of a study: every quality and time as costs."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tests.pareto.strategies import DIRECTIONS, point

from effv2_tune.pareto import Objective


def test_an_accuracy_costs_less_the_higher_it_is_and_a_loss_the_lower() -> None:
    assert Objective("maximize").costs(point(0.9, 30.0)) == (-0.9, 30.0)
    assert Objective("minimize").costs(point(0.9, 30.0)) == (0.9, 30.0)


@given(st.floats(-10, 10), DIRECTIONS)
def test_the_cost_of_a_cost_is_the_quality(quality: float, direction: str) -> None:
    objective = Objective(direction)

    assert objective.quality_cost(objective.quality_cost(quality)) == quality
