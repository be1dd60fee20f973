"""What waits for the target: buckets until they are timed, trials until they can run elsewhere."""

from __future__ import annotations

import pytest

from effv2_tune.search.placement.target_work import TargetWork
from effv2_tune.study.bucket import BucketKey, DataFacts, Placement, bucket_key
from effv2_tune.study.recipe import Recipe

DATA = DataFacts(
    classes=10, image_shape=(8, 8, 3), train=1000, validation=100, test=100, digest="d"
)
EIGHT = Placement(backend="jax", device_kind="x", device_count=8, precision="float32")


def bucket_of(pixels: int) -> tuple[BucketKey, Recipe]:
    recipe = Recipe(resolution=pixels)
    return bucket_key(recipe, DATA, EIGHT), recipe


SMALL, LARGE = bucket_of(32), bucket_of(64)


def test_each_bucket_is_timed_once_in_the_order_of_expectation() -> None:
    work = TargetWork(workers=8)
    for bucket, recipe in (SMALL, LARGE, SMALL):
        work.expect(bucket, recipe)
    timed: list[BucketKey] = []

    while (following := work.next_untimed(timed.__contains__)) is not None:
        timed.append(following[0])

    assert timed == [SMALL[0], LARGE[0]]
    assert work.buckets == 0


def test_a_bucket_that_fails_twice_is_not_tried_again() -> None:
    work = TargetWork(workers=8)
    work.expect(*SMALL)
    for _ in range(2):
        assert not work.failure(SMALL[0])
        assert work.next_untimed(lambda _: False) == SMALL
        work.count_failure(SMALL[0], "Does not fit")

    assert work.next_untimed(lambda _: False) is None
    assert work.failure(SMALL[0]) == "Does not fit"
    assert not work.failure(LARGE[0])


def test_large_trials_stay_on_the_target_and_the_others_leave_it() -> None:
    work = TargetWork(workers=8)
    work.too_large.add(LARGE[0].digest)
    for number, (bucket, _) in enumerate((SMALL, LARGE, SMALL, LARGE)):
        work.defer(number, bucket, now=0.0)
    work.drop(3)

    assert work.take_large() == 1
    assert work.take_large() is None
    assert work.take_all() == [0, 2]
    assert work.trials == 0


@pytest.mark.parametrize(
    ("trials", "now", "is_due"),
    [(0, 9999.0, False), (1, 60.0, False), (1, 1900.0, True), (2, 0.0, True)],
)
def test_the_target_is_due_for_as_many_trials_as_workers_or_one_that_waits_long(
    trials: int, now: float, *, is_due: bool
) -> None:
    work = TargetWork(workers=2)
    for number in range(trials):
        work.defer(number, SMALL[0], now=0.0)

    assert work.is_due(now) == is_due
