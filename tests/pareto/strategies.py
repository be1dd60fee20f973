"""Measurements and rung results for the tests of Pareto decisions."""

from __future__ import annotations

from hypothesis import strategies as st

from effv2_tune.pareto import Objective
from effv2_tune.study.trial import Measurement, RungResult

DIRECTIONS = st.sampled_from(["maximize", "minimize"])
LOSS = Objective("minimize")


def point(quality: float, seconds: float) -> Measurement:
    return Measurement(quality=quality, train_seconds=seconds)


def at_rung(quality: float, seconds: float) -> RungResult:
    return RungResult(rung=0, epoch=5, quality=quality, projected_seconds=seconds)


# Few distinct numbers, so that ties are common.
QUALITIES = st.integers(0, 8).map(lambda n: n / 8)
SECONDS = st.integers(0, 8).map(float)
MEASUREMENTS = st.lists(st.builds(point, QUALITIES, SECONDS), max_size=20)


POINTS = st.lists(st.tuples(QUALITIES, SECONDS), max_size=16)


EPOCHS = st.integers(1, 200)
