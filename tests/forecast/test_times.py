"""Measured buckets correct the predictions of the others."""

from __future__ import annotations

import pytest
from tests.forecast.examples import forecast, plan_of, target

from effv2_tune.forecast.times import KnownTime


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
