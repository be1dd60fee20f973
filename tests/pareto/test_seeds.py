"""A score over trainings with several seeds."""

from __future__ import annotations

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from effv2_tune.pareto import SEED_SHARE
from effv2_tune.pareto.seeds import summarize_seeds

accuracies = st.lists(st.floats(0, 1), min_size=1, max_size=9)


def test_mean_and_deviation_are_those_of_the_trainings() -> None:
    summary = summarize_seeds([0.90, 0.92, 0.94], [0.01, 0.01, 0.01])

    assert summary.mean == pytest.approx(0.92)
    assert summary.deviation == pytest.approx(0.02)
    assert summary.seed_standard_error == pytest.approx(0.02 / math.sqrt(3))
    images = (1 - SEED_SHARE) * 0.01**2
    assert summary.standard_error == pytest.approx(math.sqrt(images + 0.02**2 / 3))


def test_a_single_training_has_its_own_standard_error_and_no_deviation() -> None:
    summary = summarize_seeds([0.9], [0.013])

    assert (summary.deviation, summary.seed_standard_error) == (None, None)
    assert summary.standard_error == pytest.approx(0.013)


def test_seeds_that_agree_by_chance_are_not_taken_at_their_word() -> None:
    assert summarize_seeds([0.9, 0.9], [0.01, 0.01]).standard_error > 0.8 * 0.01


@given(accuracies, st.floats(1e-6, 0.1))
def test_more_seeds_leave_the_error_of_the_images(values: list[float], error: float) -> None:
    summary = summarize_seeds(values, [error] * len(values))

    assert summary.standard_error >= math.sqrt(1 - SEED_SHARE) * error
    assert min(values) - 1e-12 <= summary.mean <= max(values) + 1e-12
    if len(values) > 1:
        assert summary.deviation == pytest.approx(statistics.stdev(values))


def test_without_a_training_there_is_nothing_to_summarize() -> None:
    with pytest.raises(ValueError, match="at least one training"):
        summarize_seeds([], [])
