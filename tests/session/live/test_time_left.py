"""The time left: plan's figures at first, the trials of this machine soon after."""

from __future__ import annotations

import pytest

from effv2_tune.report.quantities import left_text
from effv2_tune.session.live.time_left import Progress, seconds_left


def test_before_any_trial_has_ended_the_prediction_counts() -> None:
    assert seconds_left(Progress(10, None, workers=2), 60.0) == 10 * 60 / 2


def test_trials_that_ended_correct_the_prediction() -> None:
    one = seconds_left(Progress(10, None, workers=1, ended=(120.0,)), 60.0)
    many = seconds_left(Progress(10, None, workers=1, ended=(120.0,) * 18), 60.0)

    assert one == 10 * (2 * 60 + 120) / 3
    assert many == 10 * (2 * 60 + 18 * 120) / 20


def test_the_time_that_running_trials_have_had_is_subtracted() -> None:
    progress = Progress(4, None, workers=1, running=(30.0,))

    assert seconds_left(progress, 60.0) == 4 * 60 - 30


def test_a_trial_that_takes_longer_than_expected_subtracts_one_whole_trial_at_most() -> None:
    progress = Progress(4, None, workers=1, running=(500.0,))

    assert seconds_left(progress, 60.0) == 3 * 60


def test_the_last_trial_has_one_worker() -> None:
    assert seconds_left(Progress(1, None, workers=4), 60.0) == 60


@pytest.mark.parametrize(("budget", "left"), [(90.0, 90.0), (9000.0, 600.0), (-5.0, 0.0)])
def test_the_limit_that_is_reached_first_counts(budget: float, left: float) -> None:
    assert seconds_left(Progress(10, budget, workers=1), 60.0) == left


def test_nothing_is_known_without_a_prediction_and_a_trial() -> None:
    assert seconds_left(Progress(10, None, workers=1), None) is None
    assert seconds_left(Progress(None, None, workers=1), 60.0) is None
    assert seconds_left(Progress(None, 40.0, workers=1), None) == 40


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (5.0, "less than a minute left"),
        (50.0, "about 1 min left"),
        (372.0, "about 6 min left"),
        (3590.0, "about 1 h left"),
        (8000.0, "about 2 h 15 min left"),
    ],
)
def test_the_time_left_has_no_more_digits_than_are_known(seconds: float, text: str) -> None:
    assert left_text(seconds) == text
