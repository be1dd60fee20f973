"""The forecast of a whole study."""

from __future__ import annotations

import pytest
from tests.forecast.examples import DATA, forecast, plan_of, target

from effv2_tune.forecast.study import StudyForecast, forecast_study
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


def on_chips(**changes: object) -> StudyForecast:
    """B0 and S on one chip each, for a final training on eight."""
    plan = plan_of(
        workers=8,
        devices_per_worker=1,
        target={"devices": 8},
        recipe={"resolution": 224, "schedule": "constant", "batch_size": {"per_device": 128}},
        **changes,
    )
    return forecast_study(
        plan,
        DATA,
        target("v5e-1"),
        on_disk=False,
        feature_limit=int(20e9),
        final=target("v5e-8"),
    )


def test_seconds_are_those_of_the_target_and_hours_those_of_the_workers() -> None:
    found = on_chips(trials=80)

    (small, large) = found.buckets
    assert {one.share.key.batch for one in found.buckets} == {1024}
    assert small.target is not None
    assert small.target.key.device_count == 8
    assert small.time is not None
    assert small.target.time is not None
    assert small.time.step_seconds > 4 * small.target.time.step_seconds
    # S in batches of 1024 does not fit a chip of 16 GB; divided over eight it does.
    assert (small.fits, small.is_large, large.fits, large.is_large) == (True, False, False, True)
    assert large.target is not None
    assert large.target.trial is not None
    assert small.trial is not None
    assert found.cost is not None
    # Before the first trial two changes, and both buckets are timed; then the trials of S wait for
    # the target, and are served between two changes, eight at a time.
    side_by_side = small.share.share * small.trial.longest / 8
    alone = large.share.share * large.target.trial.longest
    waiting = 80 * large.share.share
    assert 7 * (side_by_side + alone) < 1800 * large.share.share
    assert found.cost.placement_changes == pytest.approx(2 + 2 * waiting / 8)
    assert found.cost.timing_hours * 3600 == pytest.approx(
        30 * found.cost.placement_changes + 2 * 5
    )
    expected = 80 * (side_by_side + alone) / 3600 + found.cost.timing_hours
    assert found.cost.hours == pytest.approx(expected)


def test_a_budget_of_hours_includes_the_changes_of_placement() -> None:
    whole = on_chips(trials=80).cost
    assert whole is not None

    half = on_chips(trials=80, hours=whole.hours / 2).cost

    assert half is not None
    assert half.hours == pytest.approx(whole.hours / 2)
    first, each = 2 * 30 + 2 * 5, (whole.placement_changes - 2) / 80
    seconds = (3600 * whole.hours - first) / 80
    assert half.trials == int((3600 * half.hours - first) / seconds)
    assert half.placement_changes == pytest.approx(2 + half.trials * each)


def test_without_a_target_nothing_is_counted_for_one() -> None:
    found = forecast(plan_of(), target("v5e-8"))

    assert found.cost is not None
    assert found.cost.timing_hours == 0
    assert found.cost.placement_changes == 0
    assert all(one.target is None and not one.is_large for one in found.buckets)
