"""The hours of a study."""

from __future__ import annotations

import pytest
from tests.forecast.examples import forecast, plan_of, target

from effv2_tune.forecast.cost import count_sessions
from effv2_tune.study.space import Space


def test_cached_features_are_extracted_once_for_all_trials_of_a_network() -> None:
    plan = plan_of(recipe={"resolution": 64, "backbone": "frozen", "weights": "imagenet"})

    found = forecast(plan, target("v5e"))

    trials = [one.trial for one in found.buckets if one.trial is not None]
    once = sum(trial.extraction_once for trial in trials)
    assert [one.share.key.takes_features for one in found.buckets] == [True, True]
    assert all(trial.extraction > 10 * trial.epoch for trial in trials)
    assert found.cost is not None
    steps = sum(
        100 * one.share.share * one.trial.longest for one in found.buckets if one.trial is not None
    )
    assert found.cost.hours * 3600 == pytest.approx(once + steps)
    assert found.disk.features == 2 * 60_000 * 1280 * 4
    space = {
        "flip": {"type": "choice", "values": [False, True]},
        "variant": {"type": "choice", "values": ["b0"]},
    }
    mirrored = forecast(
        plan.model_copy(update={"search_space": Space.model_validate(space)}), target("v5e")
    )
    assert mirrored.disk.features == (60_000 + 45_000) * 1280 * 4  # one set, with a second side
    assert found.disk.checkpoints == 3 * (1 + 2) * 4 * (1280 + 1) * 10


def test_evaluating_both_views_takes_twice_as_long_and_features_of_each() -> None:
    network = {"resolution": 64, "schedule": "constant"}
    once, twice = (
        forecast(plan_of(recipe=network | {"evaluation_flip": flip}), target("v5e"))
        for flip in (False, True)
    )
    for one, other in zip(once.buckets, twice.buckets, strict=True):
        assert one.trial is not None
        assert other.trial is not None
        assert other.trial.evaluation == 2 * one.trial.evaluation
        assert other.trial.whole == one.trial.whole
    frozen = network | {"backbone": "frozen", "weights": "imagenet", "evaluation_flip": True}
    cached = forecast(plan_of(recipe=frozen), target("v5e"))
    assert cached.disk.features == 2 * (45_000 + 2 * 15_000) * 1280 * 4


def test_a_study_costs_its_trials_or_its_hours_whichever_ends_it() -> None:
    where = target("v5e-8")
    by_trials = forecast(plan_of(), where).cost
    assert by_trials is not None
    half = by_trials.hours / 2
    by_hours = forecast(plan_of(hours=half), where).cost
    by_devices = forecast(plan_of(accelerator_hours=8 * half), where).cost
    endless = forecast(plan_of(trials=None, stop_when={"trials": 20}), where).cost

    assert (by_trials.limited_by, by_trials.trials) == ("trials", 100)
    assert by_trials.device_hours == 8 * by_trials.hours
    assert by_hours is not None
    assert (by_hours.limited_by, by_hours.hours) == ("hours", half)
    assert by_hours.trials in (49, 50)
    assert by_devices is not None
    assert by_devices.limited_by == "accelerator_hours"
    assert by_devices.hours == pytest.approx(half)
    assert endless is not None
    assert (endless.limited_by, endless.trials) == ("stop_when", 100)
    assert [count_sessions(hours, 9) for hours in (0.1, 9, 9.1, 28)] == [1, 1, 2, 4]


def test_gpus_with_a_worker_each_halve_the_hours_and_not_the_device_hours() -> None:
    one, two = (forecast(plan_of(workers=workers), target("t4")).cost for workers in (1, 2))

    assert one is not None
    assert two is not None
    assert two.hours == pytest.approx(one.hours / 2)
    assert two.device_hours == pytest.approx(one.device_hours)


def test_confirming_the_picks_costs_its_limit_beyond_the_search() -> None:
    where = target("v5e-8")

    def hours(**limits: float) -> float:
        found = forecast(plan_of(trials=100, search={"confirm": limits}), where).cost
        assert found is not None
        return found.confirm_hours

    alone = forecast(plan_of(trials=100), where).cost
    assert alone is not None
    assert alone.confirm_hours == 0
    assert hours(hours=0.5) == 0.5
    assert hours(trials=10) == pytest.approx(hours(trials=20) / 2)
    assert hours(trials=100) == pytest.approx(hours())
    assert hours(trials=10, hours=1e-6) == 1e-6
