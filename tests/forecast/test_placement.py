"""Changes between the workers' devices and the target."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from effv2_tune.forecast.placement import placement_cost

HOUR = 3600.0


def test_where_all_buckets_are_expected_and_fit_only_the_first_trial_waits_for_two_changes() -> (
    None
):
    found = placement_cost([(0.75, False), (0.25, False)], trials=40, workers=8)

    assert (found.expected, found.waiting) == (2, 0)
    assert found.first_seconds == 2 * 30 + 2 * 5
    assert found.seconds_each(60.0) == 0


def test_frequent_trials_wait_until_there_is_one_for_each_worker() -> None:
    found = placement_cost([(0.5, False), (0.5, True)], trials=80, workers=8)

    assert 80 * found.changes_each(10.0) == pytest.approx(2 * 40 / 8)
    assert 80 * found.seconds_each(10.0) == pytest.approx(30 * 2 * 40 / 8)


def test_rare_ones_wait_for_half_an_hour_or_for_the_end_of_the_study() -> None:
    found = placement_cost([(0.75, False), (0.25, True)], trials=80, workers=8)

    # One of four trials of an hour each: one waits alone, with 1/8 of another half an hour later.
    assert 80 * found.changes_each(HOUR) == pytest.approx(2 * 20 / (1 + 1 / 8))
    short = placement_cost([(0.95, False), (0.05, True)], trials=40, workers=8)
    assert 40 * short.changes_each(10.0) == pytest.approx(2)


def test_a_bucket_of_less_than_one_trial_costs_as_often_as_it_is_drawn() -> None:
    found = placement_cost([(0.99, False), (0.01, False)], trials=10, workers=8)

    drawn = 1 - 0.99**10
    assert (found.expected, found.unexpected) == (1, pytest.approx(drawn))
    assert 10 * found.seconds_each(60.0) == pytest.approx(drawn * (2 * 30 + 5))


@given(
    st.floats(0.0, 1.0),
    st.integers(1, 1000),
    st.integers(1, 256),
    st.floats(0.0, 1e6),
)
def test_no_trial_that_waits_costs_more_than_two_changes_nor_less_than_its_part_of_them(
    large: float, trials: int, workers: int, seconds: float
) -> None:
    found = placement_cost([(1 - large, False), (large, True)], trials=trials, workers=workers)

    changes = trials * found.changes_each(seconds)

    assert changes <= 2 * found.waiting * (1 + 1e-9)
    assert changes >= 2 * found.waiting / workers * (1 - 1e-9)
