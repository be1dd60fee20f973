"""The growth of a front: by hand, then its laws."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.pareto.strategies import DIRECTIONS, QUALITIES, point

from effv2_tune.pareto import Objective, Outcome, dominates, front_growth, outcome_of, pareto_front
from effv2_tune.study.trial import Scores, Trial

if TYPE_CHECKING:
    from collections.abc import Sequence

    from effv2_tune.pareto import QualityDirection
    from effv2_tune.study.trial import Measurement

SECONDS = st.integers(1, 9).map(float)
NOISES = st.sampled_from([0.0, 0.05, 0.2])
OUTCOMES = st.builds(Outcome, st.builds(point, QUALITIES, SECONDS), NOISES)
ENDED = st.lists(st.none() | OUTCOMES, max_size=16)


def outcome(quality: float, seconds: float, noise: float = 0.01) -> Outcome:
    return Outcome(point(quality, seconds), noise)


def new_points(*ended: Outcome | None) -> list[bool]:
    return list(front_growth(ended).is_new_point)


def measurements(ended: Sequence[Outcome | None]) -> list[Measurement]:
    return [one.measurement for one in ended if one is not None]


def test_the_first_complete_trial_is_a_point() -> None:
    assert new_points(None, outcome(0.1, 50)) == [False, True]


def test_a_gain_within_one_standard_error_of_the_difference_is_noise() -> None:
    # That of two standard errors of 0.01 is 0.0141.
    assert new_points(outcome(0.90, 50), outcome(0.914, 50)) == [True, False]
    assert new_points(outcome(0.90, 50), outcome(0.915, 50)) == [True, True]


def test_small_gains_count_once_they_exceed_the_noise_together() -> None:
    steps = [outcome(0.90 + 0.005 * step, 50) for step in range(4)]

    assert new_points(*steps) == [True, False, False, True]


def test_a_faster_trial_is_compared_with_those_as_fast_only() -> None:
    slow, fast = outcome(0.95, 100), outcome(0.80, 10)

    assert new_points(slow, fast, outcome(0.90, 50)) == [True, True, True]
    assert new_points(slow, fast, outcome(0.81, 50)) == [True, True, False]


def test_the_share_is_that_of_the_present_hypervolume_by_hand() -> None:
    # The first point dominates down to (0.48, 100 * 10**0.1), the second adds the rest.
    growth = front_growth([outcome(0.5, 10), outcome(0.7, 100)])
    reference = growth.reference

    assert reference is not None
    assert reference.quality == pytest.approx(0.48)
    before, gain = 0.02 * 1.1 * math.log(10), 0.2 * 0.1 * math.log(10)
    assert growth.shares == pytest.approx([before / (before + gain), 1.0])
    assert growth.added_by_last(1) == pytest.approx(gain / (before + gain))
    assert growth.added_by_last(2) == growth.added_by_last(99) == 1.0


def test_trials_are_counted_since_the_last_new_point() -> None:
    assert front_growth([None, None]).since_new_point is None
    assert front_growth([outcome(0.5, 10)]).since_new_point == 0
    assert front_growth([outcome(0.5, 10), None, outcome(0.5, 11)]).since_new_point == 2


@given(ENDED, DIRECTIONS)
def test_the_hypervolume_never_shrinks(
    ended: list[Outcome | None], direction: QualityDirection
) -> None:
    growth = front_growth(ended, Objective(direction))

    assert all(0.0 <= share <= 1.0 + 1e-12 for share in growth.shares)
    assert all(a <= b + 1e-12 for a, b in zip(growth.shares, growth.shares[1:], strict=False))
    assert growth.shares[-1:] == ((1.0,) if measurements(ended) else (0.0,) * bool(ended))


@given(ENDED, DIRECTIONS, st.sampled_from([1e-3, 1 / 3600, 1e3, 7.0]))
def test_the_unit_of_time_changes_nothing(
    ended: list[Outcome | None], direction: QualityDirection, unit: float
) -> None:
    scaled = [
        one
        and Outcome(
            point(one.measurement.quality, one.measurement.train_seconds * unit),
            one.standard_error,
        )
        for one in ended
    ]
    ours, theirs = (front_growth(each, Objective(direction)) for each in (ended, scaled))

    assert ours.is_new_point == theirs.is_new_point
    assert ours.shares == pytest.approx(theirs.shares, abs=1e-9)


@given(ENDED, DIRECTIONS, NOISES, st.data())
def test_a_dominated_trial_changes_nothing(
    ended: list[Outcome | None], direction: QualityDirection, noise: float, data: st.DataObject
) -> None:
    objective = Objective(direction)
    ended = [one and Outcome(one.measurement, noise) for one in ended]
    before = front_growth(ended, objective)
    at = data.draw(st.integers(0, len(ended)))
    more = data.draw(OUTCOMES).measurement
    is_dominated = any(dominates(one, more, objective) for one in measurements(ended[:at]))
    added = Outcome(more, noise) if is_dominated else None

    after = front_growth([*ended[:at], added, *ended[at:]], objective)

    assert not after.is_new_point[at]
    assert after.reference == before.reference
    assert after.is_new_point[:at] + after.is_new_point[at + 1 :] == before.is_new_point
    assert after.shares[:at] + after.shares[at + 1 :] == before.shares


@given(ENDED, DIRECTIONS)
def test_without_noise_a_new_point_is_one_that_nothing_so_far_dominates_or_equals(
    ended: list[Outcome | None], direction: QualityDirection
) -> None:
    exact = [one and Outcome(one.measurement) for one in ended]
    so_far: list[Measurement] = []
    expected = []
    for one in exact:
        expected.append(one is not None and one.measurement not in so_far)
        if one is not None:
            so_far.append(one.measurement)
            expected[-1] &= pareto_front(so_far, quality_direction=direction)[-1]

    assert list(front_growth(exact, Objective(direction)).is_new_point) == expected


@given(ENDED, DIRECTIONS)
def test_more_noise_never_makes_the_last_trial_a_new_point(
    ended: list[Outcome | None], direction: QualityDirection
) -> None:
    objective = Objective(direction)
    if not ended or ended[-1] is None:
        return
    noisy = [*ended[:-1], Outcome(ended[-1].measurement, ended[-1].standard_error + 0.1)]

    was_new = front_growth(ended, objective).is_new_point[-1]

    assert was_new or not front_growth(noisy, objective).is_new_point[-1]


def test_a_search_that_finds_nothing_better_adds_fewer_points_than_its_noise_would() -> None:
    rng = np.random.default_rng(0)

    def late_points(noise: float) -> float:
        """Points added after the 20th of 60 equally good trials on 288 images; mean of 100."""
        found = [
            front_growth(
                [
                    outcome(quality, seconds, noise)
                    for quality, seconds in zip(
                        rng.binomial(288, 0.95, 60) / 288, rng.choice([10, 20, 40], 60), strict=True
                    )
                ]
            )
            for _ in range(100)
        ]
        return float(np.mean([sum(growth.is_new_point[20:]) for growth in found]))

    assert late_points(0.0) > 1.2
    assert late_points(0.0128) < 0.6


def test_the_noise_of_a_trial_is_its_standard_error_or_binomial() -> None:
    errors = {"accuracy": 0.1, "balanced_accuracy": 0.2, "macro_f1": 0.3, "top5": 0.4, "loss": 0.5}
    measured = Trial(
        number=0,
        state="complete",
        config={},
        measurement=point(1.0, 10.0),
        standard_errors=Scores.model_validate(errors),
    )
    earlier = measured.model_copy(update={"standard_errors": None})
    pruned = measured.model_copy(update={"state": "pruned"})

    assert outcome_of(measured, "macro_f1", 96) == Outcome(point(1.0, 10.0), 0.3)
    assert outcome_of(earlier, "accuracy", None) == Outcome(point(1.0, 10.0), 0.0)
    of_96 = outcome_of(earlier, "accuracy", 96)
    assert of_96 is not None
    assert of_96.standard_error == pytest.approx(0.014)
    assert outcome_of(pruned, "accuracy", 96) is None
