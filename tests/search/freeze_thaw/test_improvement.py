from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from effv2_tune.pareto import hypervolume
from effv2_tune.search.freeze_thaw.curves import Warp
from effv2_tune.search.freeze_thaw.improvement import Front, Reference, expected_improvement
from effv2_tune.study.trial import Measurement

PLAIN = Warp(center=-100.0, scale=1.0)  # qualities above the center are not compressed
REFERENCE = Reference(quality=0.0, log_seconds=np.log(1000.0))
outcomes = st.lists(st.tuples(st.floats(0.01, 1.0), st.floats(1.0, 2000.0)), min_size=0, max_size=8)


def front_of(points: list[tuple[float, float]]) -> Front:
    qualities, seconds = np.array([q for q, _ in points]), np.array([s for _, s in points])
    return Front.of(np.log(seconds) if points else seconds, qualities, REFERENCE)


def gain(front: Front, quality: float, seconds: float, deviation: float = 1e-9) -> float:
    warped = PLAIN.forward(np.array([quality]))
    variance = np.array([deviation**2])
    return float(expected_improvement(warped, variance, np.log([seconds]), front, PLAIN)[0])


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


def test_the_expectation_is_that_of_many_draws() -> None:
    front = front_of([(0.5, 100.0), (0.8, 400.0)])
    draws = 0.6 + 0.2 * np.random.default_rng(0).standard_normal(4000)

    mean = np.mean([gain(front, float(draw), 50.0) for draw in draws])

    assert gain(front, 0.6, 50.0, 0.2) == pytest.approx(mean, rel=0.03)
