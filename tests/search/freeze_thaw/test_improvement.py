from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from effv2_tune.pareto import hypervolume
from effv2_tune.search.freeze_thaw.curves import Warp
from effv2_tune.search.freeze_thaw.improvement import (
    Front,
    Outcomes,
    Reference,
    expected_improvement,
)
from effv2_tune.study.trial import Measurement

PLAIN = Warp(center=-100.0, scale=1.0)  # qualities above the center are not compressed
REFERENCE = Reference(quality=0.0, log_seconds=np.log(1000.0))
outcomes = st.lists(st.tuples(st.floats(0.01, 1.0), st.floats(1.0, 2000.0)), min_size=0, max_size=8)


def front_of(points: list[tuple[float, float]]) -> Front:
    qualities, seconds = np.array([q for q, _ in points]), np.array([s for _, s in points])
    return Front.of(np.log(seconds) if points else seconds, qualities, REFERENCE)


def gain(
    front: Front,
    quality: float,
    seconds: float,
    deviation: float = 1e-9,
    *,
    seconds_error: float = 0.0,
) -> float:
    warped = PLAIN.forward(np.array([quality]))
    variance, error = np.array([deviation**2]), np.array([seconds_error])
    found = Outcomes(warped, variance, np.log([seconds]), error)
    return float(expected_improvement(found, front, PLAIN)[0])


@settings(deadline=None)
@given(outcomes, st.floats(0.01, 1.0), st.floats(1.0, 2000.0))
def test_a_certain_outcome_adds_what_the_hypervolume_gains(
    points: list[tuple[float, float]], quality: float, seconds: float
) -> None:
    corner = Measurement(quality=0.0, train_seconds=1000.0)
    before = [Measurement(quality=q, train_seconds=s) for q, s in points]
    after = [*before, Measurement(quality=quality, train_seconds=seconds)]

    expected = hypervolume(after, corner) - hypervolume(before, corner)

    assert gain(front_of(points), quality, seconds) == pytest.approx(expected, abs=1e-6)


@settings(deadline=None)
@given(outcomes, st.floats(0.01, 1.0), st.floats(1.0, 900.0), st.floats(0.0, 0.5))
def test_better_faster_or_less_certain_is_never_worth_less(
    points: list[tuple[float, float]], quality: float, seconds: float, deviation: float
) -> None:
    front = front_of(points)
    worth = gain(front, quality, seconds, deviation)

    assert gain(front, quality + 0.1, seconds, deviation) >= worth - 1e-9
    assert gain(front, quality, seconds / 2, deviation) >= worth - 1e-9
    assert worth >= 0
    wider = gain(front_of([*points, (0.9, 5.0)]), quality, seconds, deviation)
    assert wider <= worth + 1e-9


def test_a_chance_to_be_faster_than_all_else_is_worth_something() -> None:
    front = front_of([(0.8, 100.0)])

    assert gain(front, 0.8, 110.0) == pytest.approx(0, abs=1e-8)
    assert gain(front, 0.8, 110.0, seconds_error=0.2) > 0.01


def test_over_uncertain_seconds_the_expectation_is_that_of_many_draws() -> None:
    front = front_of([(0.5, 100.0), (0.8, 400.0)])
    draws = 150.0 * np.exp(0.3 * np.random.default_rng(0).standard_normal(4000))

    expected = np.mean([gain(front, 0.7, seconds) for seconds in draws])

    assert gain(front, 0.7, 150.0, seconds_error=0.3) == pytest.approx(expected, rel=0.03)


def test_the_expectation_is_that_of_many_draws() -> None:
    front = front_of([(0.5, 100.0), (0.8, 400.0)])
    draws = 0.6 + 0.2 * np.random.default_rng(0).standard_normal(4000)

    mean = np.mean([gain(front, float(draw), 50.0) for draw in draws])

    assert gain(front, 0.6, 50.0, 0.2) == pytest.approx(mean, rel=0.03)
