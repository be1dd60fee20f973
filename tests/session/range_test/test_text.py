"""Range tests in a terminal of 80 columns, and as plain data."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np

from effv2_tune.optimizers.range_test import propose_bounds, rising_rates
from effv2_tune.session.range_test.testing import (
    BucketRange,
    RangeTestSettings,
    joint_proposal,
)
from effv2_tune.session.range_test.text import as_data, curves, lines, proposal_lines
from effv2_tune.study.bucket import DataFacts, Placement, bucket_key
from effv2_tune.study.recipe import Recipe

SETTINGS = RangeTestSettings(low=1e-6, high=10.0, steps=100, at_most=8)
DATA = DataFacts(
    classes=10, image_shape=(32, 32, 3), train=4000, validation=500, test=500, digest="0"
)
PLACE = Placement(backend="tensorflow", device_kind="a CPU", device_count=1, precision="float32")


def _tested(
    *, schedule: str = "triangular2", is_flat: bool = False, fits: bool = True
) -> BucketRange:
    rates = tuple(rising_rates(1e-6, 10.0, 100))
    at = np.log10(rates)
    losses = [*(2.3 - np.clip(at + 4, 0, 2) + 5 * np.maximum(at + 1, 0) ** 2), math.nan][:96]
    if is_flat:
        losses = [2.3] * 96
    key = bucket_key(Recipe(variant="tiny", resolution=32, schedule=schedule), DATA, PLACE)
    if not fits:
        return BucketRange(key, 0.25, (), (), None, 0.0, "Does not fit: too large")
    found = propose_bounds(rates[:96], losses, steps=100)
    return BucketRange(key, 0.5, rates[:96], tuple(map(float, losses)), found, 12.0)


def test_no_line_is_wider_than_a_terminal_and_every_bucket_has_its_chart() -> None:
    tested = [_tested(), _tested(is_flat=True), _tested(fits=False)]

    shown = list(lines(tested, SETTINGS))

    assert all(len(line) <= 80 for line in shown)
    text = "\n".join(shown)
    assert text.count("tiny@32 batch 128, adabelief rectify: 50 % of the trials") == 2
    assert "Does not fit: too large" in text
    assert "the loss does not fall by more than its noise; 96 steps in 12 s" in text
    (axis,) = [line for line in shown if set("blu") <= set(line) and line.lstrip().startswith("+")]
    assert axis.index("b") < axis.index("l") < axis.index("u")
    (ticks,) = {line for line in shown if "1e-6" in line and "1e1" in line}
    found = tested[0].proposal
    assert found is not None
    # Where the axis is marked is where the tick of that power is.
    assert (
        abs(axis.index("b") - (ticks.index("1e-4") + math.log10(found.begins / 1e-4) * 72 / 7)) < 2
    )


def test_the_bounds_of_all_buckets_are_lines_of_a_search_space() -> None:
    bounds = joint_proposal([_tested(), _tested(is_flat=True)])

    assert list(bounds) == ["maximal_learning_rate", "initial_learning_rate"]
    first, second = proposal_lines(bounds)
    low, high = bounds["maximal_learning_rate"].pair
    assert first == (
        f"  maximal_learning_rate: {{type: float, low: {low:.3g}, high: {high:.3g}, scale: log}}"
    )
    assert len(first) <= 80
    assert second.startswith("  initial_learning_rate: {type: float, low: ")


def test_a_bucket_that_never_uses_the_initial_rate_has_none_to_propose() -> None:
    unused = replace(_tested(schedule="constant"), has_initial=False)

    assert list(joint_proposal([unused])) == ["maximal_learning_rate"]
    assert joint_proposal([unused, _tested()]) == joint_proposal([_tested()])


def test_plain_data_is_valid_json_and_a_picture_shows_what_fits() -> None:
    tested = [_tested(), _tested(fits=False)]

    data = json.loads(json.dumps(as_data(tested, SETTINGS), allow_nan=False))

    assert data[0]["losses"][-1] == tested[0].losses[-1]
    assert data[0]["proposal"]["maximal_learning_rate"]["low"] == tested[0].proposal.maximal.low
    assert data[1]["proposal"] is None
    assert data[1]["reason"] == "Does not fit: too large"
    (curve,) = curves(tested, SETTINGS)
    assert curve.maximal == tested[0].proposal.maximal.pair
