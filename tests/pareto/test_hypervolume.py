"""The hypervolume: by hand, then its laws."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.pareto.strategies import DIRECTIONS, MEASUREMENTS, QUALITIES, SECONDS, point

from effv2_tune.pareto import Objective, front_reference, hypervolume

if TYPE_CHECKING:
    from effv2_tune.pareto import QualityDirection
    from effv2_tune.study.trial import Measurement


def test_hypervolume_of_two_steps_by_hand() -> None:
    corner = point(0.0, math.e**3)
    steps = [point(0.5, math.e**1), point(0.8, math.e**2)]

    assert hypervolume(steps, corner) == pytest.approx(2 * 0.5 + 1 * 0.3)


@given(MEASUREMENTS, DIRECTIONS)
def test_hypervolume_is_the_area_of_a_union_of_boxes(
    ms: list[Measurement], direction: QualityDirection
) -> None:
    corner = point(0.25 if direction == "maximize" else 0.75, 6.0)
    sign = 1 if direction == "maximize" else -1
    edges_q = sorted({sign * m.quality for m in ms} | {sign * corner.quality})
    edges_t = sorted({math.log(max(m.train_seconds, 1e-9)) for m in ms} | {math.log(6.0)})
    area = 0.0
    for (q0, q1), (t0, t1) in itertools.product(
        itertools.pairwise(edges_q), itertools.pairwise(edges_t)
    ):
        covered = any(
            sign * m.quality >= q1 and math.log(max(m.train_seconds, 1e-9)) <= t0 for m in ms
        )
        if covered and q0 >= sign * corner.quality and t1 <= math.log(6.0):
            area += (q1 - q0) * (t1 - t0)

    assert hypervolume(ms, corner, Objective(direction)) == pytest.approx(area, abs=1e-9)


@given(MEASUREMENTS, st.builds(point, QUALITIES, SECONDS))
def test_one_more_trial_never_shrinks_the_hypervolume(
    ms: list[Measurement], more: Measurement
) -> None:
    corner = point(0.0, 7 * 24 * 3600.0)

    assert hypervolume([*ms, more], corner) >= hypervolume(ms, corner) - 1e-12


@given(MEASUREMENTS.filter(bool), DIRECTIONS)
def test_every_point_of_the_front_is_inside_its_reference(
    ms: list[Measurement], direction: QualityDirection
) -> None:
    corner = front_reference(ms, Objective(direction))

    assert all(hypervolume([one], corner, Objective(direction)) > 0 for one in ms)


def test_the_reference_is_a_tenth_of_the_front_beyond_its_ends() -> None:
    front = [point(0.50, 10.0), point(0.80, 100.0), point(0.90, 1000.0)]

    reference = front_reference(front)

    assert reference.quality == pytest.approx(0.50 - 0.04)
    assert reference.train_seconds == pytest.approx(1000.0 * 100**0.1)


def test_the_reference_of_one_point_leaves_it_an_area() -> None:
    reference = front_reference([point(0.9, 100.0)])

    assert reference.quality == pytest.approx(0.89)
    assert reference.train_seconds == pytest.approx(110.0)
