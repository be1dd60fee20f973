"""Dominance and the Pareto front: by hand, then their laws."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st
from tests.pareto.strategies import DIRECTIONS, MEASUREMENTS, point

from effv2_tune.pareto import Objective, dominates, front_of, pareto_front
from effv2_tune.study.trial import Trial

if TYPE_CHECKING:
    from random import Random

    from effv2_tune.pareto import QualityDirection
    from effv2_tune.study.trial import Measurement


def test_slower_and_worse_is_off_the_front() -> None:
    fast, accurate, beaten = point(0.90, 100), point(0.95, 300), point(0.89, 200)

    assert pareto_front([fast, accurate, beaten]) == [True, True, False]


def test_ties_all_stay() -> None:
    assert pareto_front([point(0.9, 100), point(0.9, 100)]) == [True, True]


def test_a_loss_is_better_when_it_is_lower() -> None:
    assert pareto_front([point(0.3, 10), point(0.5, 10)], quality_direction="minimize") == [
        True,
        False,
    ]


@given(MEASUREMENTS, DIRECTIONS)
def test_the_front_is_what_nothing_dominates(
    ms: list[Measurement], direction: QualityDirection
) -> None:
    by_definition = [
        not any(dominates(other, one, Objective(direction)) for other in ms) for one in ms
    ]

    assert pareto_front(ms, quality_direction=direction) == by_definition


@given(MEASUREMENTS)
def test_a_front_is_its_own_front(ms: list[Measurement]) -> None:
    front = [m for m, keep in zip(ms, pareto_front(ms), strict=True) if keep]

    assert all(pareto_front(front))


@given(MEASUREMENTS, st.randoms())
def test_the_front_does_not_depend_on_the_order(ms: list[Measurement], chance: Random) -> None:
    shuffled = list(ms)
    chance.shuffle(shuffled)

    def front(of: list[Measurement]) -> list[tuple[float, float]]:
        kept = [m for m, keep in zip(of, pareto_front(of), strict=True) if keep]
        return sorted((m.quality, m.train_seconds) for m in kept)

    assert front(shuffled) == front(ms)


@given(MEASUREMENTS, DIRECTIONS)
def test_trials_on_the_front_come_fastest_first_and_unmeasured_ones_never(
    ms: list[Measurement], direction: QualityDirection
) -> None:
    trials = [Trial(number=n, state="complete", config={}, measurement=m) for n, m in enumerate(ms)]
    unmeasured = Trial(number=len(ms), state="failed", config={})

    front = front_of([unmeasured, *trials], Objective(direction))

    marks = pareto_front(ms, quality_direction=direction)
    expected = [trial for trial, on_front in zip(trials, marks, strict=True) if on_front]
    assert front == sorted(expected, key=lambda t: (ms[t.number].train_seconds, t.number))
