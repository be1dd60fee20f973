"""The wall time of trials, by kind of work and by bucket."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from effv2_tune.report.spending import saved_seconds, spent_by_bucket, spent_seconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from effv2_tune.report.input import ReportInput
    from effv2_tune.study.trial import Trial


def test_time_spent_is_the_walls_and_adds_up_over_buckets(
    study_maker: Callable[..., ReportInput],
) -> None:
    trials = study_maker(60).trials

    total = sum(spent_seconds(trials).values())

    assert total == pytest.approx(sum(trial.times.wall for trial in trials), rel=0.05)
    bars = spent_by_bucket(trials)
    assert sum(sum(parts.values()) for _, parts in bars) == pytest.approx(total)
    assert len(bars) <= 12


def test_what_stopping_saved_is_projected_less_spent(trial_maker: Callable[..., Trial]) -> None:
    stopped, whole = trial_maker(0, state="pruned"), trial_maker(1, state="complete")

    saved = saved_seconds([stopped, whole])

    assert saved == pytest.approx(stopped.rungs[-1].projected_seconds - stopped.times.train)
