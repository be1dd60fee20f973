"""The peak disk usage of a study."""

from __future__ import annotations

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
