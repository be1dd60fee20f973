"""Picks of a point on the Pareto front."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from tests.pareto.strategies import DIRECTIONS, LOSS, MEASUREMENTS, point

from effv2_tune.pareto import Objective, fastest, knee, most_accurate, pareto_front, within

if TYPE_CHECKING:
    from effv2_tune.pareto import QualityDirection
    from effv2_tune.study.trial import Measurement


def test_the_knee_is_where_the_front_bends() -> None:
    ms = [point(0.50, 10), point(0.90, 20), point(0.92, 160), point(0.40, 100)]

    assert knee(ms) == 1
    assert most_accurate(ms) == 2
    assert fastest(ms) == 0


def test_the_knee_of_two_is_the_better_one() -> None:
    assert knee([point(0.5, 10), point(0.9, 100)]) == 1


def test_there_is_nothing_to_pick_from_nothing() -> None:
    assert (knee([]), most_accurate([]), fastest([])) == (None, None, None)


@given(MEASUREMENTS.filter(bool), DIRECTIONS)
def test_every_pick_is_on_the_front(ms: list[Measurement], direction: QualityDirection) -> None:
    front = pareto_front(ms, quality_direction=direction)

    for pick in (knee, most_accurate, fastest):
        position = pick(ms, Objective(direction))
        assert position is not None
        assert front[position]


def test_budgets_keep_what_is_within_them() -> None:
    ms = [point(0.5, 10), point(0.9, 100), point(0.8, 50)]

    assert within(ms, max_seconds=50) == [0, 2]
    assert within(ms, min_quality=0.8) == [1, 2]
    assert within(ms, LOSS, min_quality=0.8) == [0, 2]
