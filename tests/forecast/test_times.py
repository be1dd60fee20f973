"""Measured buckets correct the predictions of the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.forecast.examples import bucket, forecast, plan_of, target

from effv2_tune.forecast.times import KnownTime, StepTime
from effv2_tune.forecast.work import work_of

if TYPE_CHECKING:
    from effv2_tune.study.plan import StudyPlan


def test_a_timed_bucket_counts_and_corrects_the_roofline_of_the_others() -> None:
    where = target()
    alone = {one.share.key.variant: one for one in forecast(plan_of(), where).buckets}
    guess = alone["b0"].time
    assert guess is not None
    timed = KnownTime(
        key=alone["b0"].share.key.model_copy(update={"weights": "imagenet"}),
        step_seconds=2 * guess.step_seconds,
        source="recorded",
        origin="recorded by study x",
        start_seconds=30.0,
    )

    found = {one.share.key.variant: one for one in forecast(plan_of(), where, b0=timed).buckets}

    times = {name: one.time for name, one in found.items()}
    assert times["b0"] is not None
    assert times["s"] is not None
    assert alone["s"].time is not None
    assert (times["b0"].source, times["s"].source) == ("recorded", "scaled")
    assert times["b0"].step_seconds == timed.step_seconds
    assert times["s"].step_seconds == pytest.approx(2 * alone["s"].time.step_seconds)
    assert found["b0"].trial is not None
    assert found["b0"].trial.epoch == pytest.approx(351 * timed.step_seconds)


@pytest.mark.parametrize("source", ["roofline", "measured"])
def test_evaluation_is_timed_at_its_own_resolution(source: str) -> None:
    where = target()
    at_128, at_160, both = (
        plan_of(recipe={"resolution": 128} | more)
        for more in ({}, {"resolution": 160}, {"evaluation_resolution": 160})
    )

    def times(plan: StudyPlan) -> StepTime:
        one = next(b for b in forecast(plan, where).buckets if b.share.key.variant == "b0")
        if source == "measured":
            timed = KnownTime(one.share.key, 0.25, "measured", "just now")
            buckets = forecast(plan, where, b0=timed).buckets
            one = next(b for b in buckets if b.share.key.variant == "b0")
        assert one.time is not None
        return one.time

    assert times(both).step_seconds == times(at_128).step_seconds
    growth = times(both).evaluation_seconds / times(at_128).evaluation_seconds
    work = {size: work_of(bucket(where, resolution=size)[0]) for size in (128, 160)}
    assert growth == pytest.approx(work[160].forward_flops / work[128].forward_flops)
    if source == "roofline":
        assert times(both).evaluation_seconds == times(at_160).evaluation_seconds
