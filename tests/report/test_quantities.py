"""How the report writes seconds and numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from effv2_tune.plurals import pluralized
from effv2_tune.report.quantities import (
    human_seconds,
    label_of,
    ladder_ticks,
    short,
    spans_decades,
    time_unit,
)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "0 s"),
        (0.012, "0.012 s"),
        (4.25, "4.2 s"),
        (9.96, "10 s"),
        (42.4, "42 s"),
        (59.6, "1 min"),
        (60.0, "1 min"),
        (192.0, "3 min 12 s"),
        (3599.7, "1 h"),
        (7500.0, "2 h 05 min"),
        (90000.0, "1 d 1 h"),
    ],
)
def test_durations_are_in_common_units(seconds: float, words: str) -> None:
    assert human_seconds(seconds) == words


@given(st.floats(min_value=0, max_value=1e8))
def test_no_duration_has_sixty_seconds_or_sixty_minutes(seconds: float) -> None:
    words = human_seconds(seconds)

    assert not words.startswith(("60 s", "60 min"))
    assert " 60 " not in words


def test_units_keep_axis_numbers_small() -> None:
    assert [time_unit(longest).name for longest in (90, 3600, 40000)] == [
        "seconds",
        "minutes",
        "hours",
    ]


def test_an_axis_is_logarithmic_beyond_a_factor_of_ten() -> None:
    assert not spans_decades([10.0, 100.0])
    assert spans_decades([10.0, 101.0])
    assert not spans_decades([0.0, 100.0])
    assert not spans_decades([])


@given(st.floats(1e-2, 1e6), st.floats(10.5, 1e4))
def test_a_logarithmic_axis_always_has_ticks_within(shortest: float, ratio: float) -> None:
    longest = shortest * ratio

    assert len([t for t in ladder_ticks(shortest, longest) if shortest <= t <= longest]) >= 2


def test_settings_are_short_and_keep_their_meaning() -> None:
    values = [1e-5, 0.00123456, 96, True, None, "b0", {"per_device": 16}]

    assert [short(value) for value in values] == [
        "1e-05",
        "0.001235",
        "96",
        "yes",
        "none",
        "b0",
        "per_device: 16",
    ]
    assert label_of("maximal_learning_rate") == "maximal learning rate"
    assert (pluralized(1, "trial"), pluralized(1200, "trial")) == ("1 trial", "1,200 trials")
