"""The forecast of a whole study."""

from __future__ import annotations

import pytest
from tests.forecast.examples import forecast, plan_of, target

from effv2_tune.forecast.times import KnownTime
from effv2_tune.host import Hardware
from effv2_tune.session.forecast import target_here
from effv2_tune.study.loading import load_plan


def test_what_did_not_fit_when_it_was_tried_takes_no_time_and_is_marked() -> None:
    where = target()
    before = forecast(plan_of(), where)
    small, large = before.buckets
    killed = KnownTime(
        key=large.share.key, step_seconds=None, source="measured", origin="now", reason="killed"
    )

    after = forecast(plan_of(), where, s=killed)

    assert [one.fits for one in after.buckets] == [True, False]
    assert before.cost is not None
    assert after.cost is not None
    assert small.trial is not None
    assert after.cost.hours < before.cost.hours
    assert after.cost.hours == pytest.approx(100 * small.trial.longest / 3600, rel=1e-6)


def test_workers_that_share_a_cpu_train_side_by_side_each_with_its_share(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    alone = load_plan("quickstart").plan
    four = alone.model_copy(update={"workers": 4})
    cpu = Hardware(kind="cpu", backend="tensorflow", devices=1, why="")

    assert target_here(alone, cpu).cores == 8
    assert target_here(four, cpu).cores == 2
