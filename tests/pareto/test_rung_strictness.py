"""How strict a rung may be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from effv2_tune.pareto import FullCurve, rank_correlation, strictness
from effv2_tune.pareto.rung_strictness import corrected_correlation

QUALITIES = st.lists(st.floats(-1, 1), min_size=2, max_size=12)


def curves(at_rung: list[float], at_end: list[float]) -> list[FullCurve]:
    return [FullCurve(*pair) for pair in zip(at_rung, at_end, strict=True)]


def test_ranks_count_and_not_distances() -> None:
    assert rank_correlation(np.array([1.0, 2.0, 3.0]), np.array([0.0, 0.1, 9.0])) == 1.0
    assert rank_correlation(np.array([1.0, 2.0, 3.0]), np.array([3.0, 1.0, 2.0])) == -0.5


def test_ties_have_their_mean_rank() -> None:
    tied = rank_correlation(np.array([1.0, 1.0, 2.0]), np.array([1.0, 2.0, 3.0]))

    assert tied == pytest.approx(np.sqrt(3) / 2)


def test_a_constant_predicts_nothing() -> None:
    assert rank_correlation(np.ones(4), np.arange(4.0)) == 0.0
    assert strictness(curves([1, 1, 1], [1, 2, 3]), [1, 1, 1, 0]) == 0.0


def test_a_rung_that_ranks_as_the_end_does_is_fully_strict() -> None:
    assert strictness(curves([1, 2, 3], [4, 5, 6]), [0, 1, 2, 3]) == 1.0


def test_a_rung_that_ranks_against_the_end_has_no_strictness() -> None:
    assert strictness(curves([1, 2, 3], [6, 5, 4]), [0, 1, 2, 3]) == 0.0


def test_the_correlation_of_all_is_estimated_from_those_that_were_selected() -> None:
    rng = np.random.default_rng(0)
    at_rung = rng.standard_normal(4000)
    at_end = 0.8 * at_rung + 0.6 * rng.standard_normal(4000)
    best = at_rung > np.quantile(at_rung, 0.6)
    selected = curves(at_rung[best].tolist(), at_end[best].tolist())

    narrow = rank_correlation(at_rung[best], at_end[best])
    of_all = rank_correlation(at_rung, at_end)

    assert narrow < of_all - 0.2
    assert corrected_correlation(selected, at_rung.tolist()) == pytest.approx(of_all, abs=0.07)


@given(QUALITIES, st.integers(0, 2**16))
def test_strictness_is_from_0_to_1(at_rung: list[float], seed: int) -> None:
    at_end = np.random.default_rng(seed).random(len(at_rung)).tolist()

    assert 0.0 <= strictness(curves(at_rung, at_end), at_rung) <= 1.0
