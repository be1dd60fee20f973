"""The peak disk usage of a study."""

from __future__ import annotations

from typing import Any

import pytest
from tests.forecast.examples import forecast, plan_of, target

from effv2_tune import catalog
from effv2_tune.forecast.disk import kept_trials


def test_disk_holds_three_checkpoints_of_each_worker_and_the_weights_that_are_kept() -> None:
    disks = {
        keep: forecast(plan_of(keep=keep, workers=2), target()).disk
        for keep in ("none", "front", "all")
    }
    large = catalog.find_variant("s")
    weights = catalog.count_parameters(large, 10)
    state = 2 * (weights - catalog.count_moving_statistics(large))

    assert {disk.checkpoints for disk in disks.values()} == {2 * 3 * 4 * (weights + state)}
    assert disks["none"].kept_weights == 0
    assert disks["all"].kept_weights > 5 * disks["front"].kept_weights > 0
    # 3 (1 + 1/2 + ... + 1/100) = 15.6
    assert [kept_trials("front", trials) for trials in (1, 5, 100)] == [1, 5, 16]


def test_an_engine_that_pauses_keeps_two_checkpoints_of_every_trial() -> None:
    alike: dict[str, Any] = {
        "trials": 10,
        "recipe": {"resolution": 64, "schedule": "constant", "variant": "s"},
        "search_space": {"weight_decay": {"type": "float", "low": 1e-6, "high": 1e-1}},
    }
    usual = forecast(plan_of(**alike), target()).disk

    disk = forecast(plan_of(**alike, search={"engine": "freeze_thaw"}), target()).disk

    assert usual.paused == 0
    assert disk.paused == pytest.approx(9 * 2 / 3 * disk.checkpoints)
    assert disk.out == pytest.approx(usual.out + disk.paused)
