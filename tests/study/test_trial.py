"""The values of a trial."""

from __future__ import annotations

from effv2_tune.study.trial import Times


def test_a_step_time_is_an_outlier_from_a_tenth_on() -> None:
    own = [
        Times(step_bucket=1.0, step_median=own).is_timing_outlier
        for own in (1.11, 0.89, 1.09, 0.91)
    ]

    assert own == [True, True, False, False]
    assert not Times(step_bucket=1.0).is_timing_outlier
    assert not Times(step_median=1.0).is_timing_outlier
