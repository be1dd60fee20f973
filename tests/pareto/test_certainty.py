"""Probabilities of front and picks: by hand, by simulation, then their laws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.pareto.simulated import candidate, simulated_studies
from tests.pareto.strategies import LOSS, point

from effv2_tune.pareto import (
    fastest,
    front_probabilities,
    knee,
    most_accurate,
    pareto_front,
    pick_probabilities,
)


def test_a_clear_front_is_certain() -> None:
    fast, accurate, beaten = (
        candidate(0.80, seconds=10),
        candidate(0.95, seconds=30),
        candidate(0.70, seconds=20),
    )

    assert front_probabilities([fast, accurate, beaten]) == [1.0, 1.0, 0.0]
    assert front_probabilities([fast, accurate, beaten], LOSS)[2] == 1.0


def test_two_points_that_cannot_be_told_apart_are_equally_likely_the_best() -> None:
    front = [candidate(0.90, seconds=10), candidate(0.90, seconds=10.1)]

    assert front_probabilities(front) == pytest.approx([1.0, 0.5], abs=0.03)
    assert pick_probabilities(front)["most-accurate"] == pytest.approx([0.5, 0.5], abs=0.03)
    assert pick_probabilities(front)["fastest"] == [1.0, 0.0]


def test_of_two_equal_measurements_the_much_longer_training_is_rather_the_better_one() -> None:
    front = [candidate(0.90, seconds=10), candidate(0.90, seconds=20)]

    shorter, longer = pick_probabilities(front)["most-accurate"]

    assert 0.55 < longer < 0.7
    assert shorter + longer == 1


def test_picks_among_some_have_their_probabilities_and_the_others_none() -> None:
    study = [
        candidate(0.80, seconds=10),
        candidate(0.95, seconds=30),
        candidate(0.90, seconds=20),
        candidate(0.91, seconds=20),
    ]

    found = pick_probabilities(study, among=[3, 2])

    assert found["most-accurate"][:2] == found["fastest"][:2] == [0, 0]
    assert sum(found["most-accurate"]) == 1
    assert found["most-accurate"][3] > found["most-accurate"][2] > 0
    assert pick_probabilities(study, among=[1])["knee"] == [0, 1, 0, 0]


def test_nothing_has_no_probability() -> None:
    assert front_probabilities([]) == []
    assert pick_probabilities([]) == {"fastest": [], "knee": [], "most-accurate": []}


def test_the_same_candidates_have_the_same_probabilities() -> None:
    (study,) = simulated_studies(1)

    assert front_probabilities(study.candidates) == front_probabilities(study.candidates)


def test_probabilities_are_calibrated() -> None:
    predicted: list[float] = []
    happened: list[bool] = []
    picked: list[float] = []
    right: list[bool] = []
    for study in simulated_studies(160):
        true = [point(q, s) for q, s in zip(study.qualities, study.seconds, strict=True)]
        predicted += front_probabilities(study.candidates, draws=500)
        happened += pareto_front(true)
        chances = pick_probabilities(study.candidates, draws=500)["most-accurate"]
        picked.append(max(chances))
        right.append(chances.index(max(chances)) == most_accurate(true))

    for low, high in ((0.02, 0.2), (0.2, 0.5), (0.5, 0.8), (0.8, 1.01)):
        inside = [low <= chance < high for chance in predicted]
        assert np.mean(np.array(happened)[inside]) == pytest.approx(
            np.mean(np.array(predicted)[inside]), abs=0.08
        )
    assert np.mean(right) == pytest.approx(np.mean(picked), abs=0.1)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 99), st.integers(1, 50)),
        min_size=1,
        max_size=8,
        unique_by=(lambda pair: pair[0], lambda pair: pair[1]),
    )
)
def test_the_picks_of_exact_measurements_are_certain(pairs: list[tuple[int, int]]) -> None:
    measured = [point(quality / 100, float(seconds)) for quality, seconds in pairs]
    exact = [candidate(m.quality, error=0.0, seconds=m.train_seconds) for m in measured]

    chances = pick_probabilities(exact, draws=50)

    for name, pick in (("fastest", fastest), ("knee", knee), ("most-accurate", most_accurate)):
        position = pick(measured)
        assert position is not None
        assert chances[name][position] == 1.0
    assert [p == 1.0 for p in front_probabilities(exact, draws=50)] == pareto_front(measured)
