"""Shrunken estimates of qualities: by hand, by simulation, then their laws."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.pareto.simulated import (
    candidate,
    simulated_accuracies,
    simulated_studies,
    simulated_trainings,
)
from tests.pareto.strategies import LOSS

from effv2_tune.pareto import (
    SEED_SHARE,
    Candidate,
    binomial_error,
    estimates,
    seed_variance,
)
from effv2_tune.pareto.estimates import (
    COMMON_SEED_EFFECT,
    COMMON_SHARE,
    SEED_EFFECT,
    own_variance,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.pareto.simulated import SimulatedStudy


def test_a_single_config_is_estimated_as_it_was_measured() -> None:
    (estimate,) = estimates([candidate(0.9, error=0.015)])

    assert estimate.raw == 0.9
    assert estimate.quality == pytest.approx(0.9, abs=0.001)
    assert estimate.standard_error == pytest.approx(0.015, rel=0.05)
    assert (estimate.low, estimate.high) == pytest.approx((0.875, 0.925), abs=0.002)
    assert estimate.replicates == 1


def test_nothing_is_estimated_of_nothing() -> None:
    assert estimates([]) == []


def test_the_best_of_many_equals_is_drawn_towards_them() -> None:
    rng = np.random.default_rng(0)
    measured = 0.9 + 0.0077 * rng.standard_normal(30)

    found = estimates([candidate(float(quality)) for quality in measured])

    best = max(found, key=lambda estimate: estimate.raw)
    assert best.raw > 0.91
    assert best.quality < 0.905


def test_a_config_far_from_all_others_is_not_drawn_towards_them() -> None:
    found = estimates([candidate(0.90), candidate(0.91), candidate(0.30), candidate(0.6)])

    assert found[2].quality == pytest.approx(0.30, abs=0.003)
    assert found[2].standard_error == pytest.approx(0.01, rel=0.1)


def test_a_perfect_accuracy_is_not_certain() -> None:
    (estimate,) = estimates([candidate(1.0, error=binomial_error(1.0, 400))])

    assert estimate.quality < 1
    assert estimate.low < 0.997
    assert estimate.high == 1.0


def test_the_standard_error_of_90_percent_of_1000_images() -> None:
    assert binomial_error(0.9, 1000) == pytest.approx(0.00953, abs=1e-5)


def test_estimates_of_shares_stay_between_0_and_1() -> None:
    for extreme in (0.0, 1.0):
        found = estimates([candidate(extreme), candidate(extreme, error=0.0)])

        assert all(0 <= one.low <= one.quality <= one.high <= 1 for one in found)


def test_without_replicates_seeds_vary_by_their_share_of_the_binomial_variance() -> None:
    variance = seed_variance([candidate(0.9, error=0.02), candidate(0.8, error=0.03)])

    assert variance.ratio == 1.0
    assert variance.each == pytest.approx((SEED_SHARE * 0.02**2, SEED_SHARE * 0.03**2))


def test_few_replicates_are_pooled_and_many_speak_for_themselves() -> None:
    quiet = [candidate(*(0.9 + 0.007 * np.array([-1, 0, 1]))) for _ in range(8)]
    wild = candidate(*(0.9 + 0.04 * np.linspace(-1, 1, 20)))

    variance = seed_variance([*quiet, wild, candidate(0.9)])

    assert variance.each[0] == pytest.approx(variance.each[-1], rel=1.0)
    assert variance.each[8] > 5 * variance.each[0]
    assert variance.each[8] < np.var(wild.qualities, ddof=1)


def test_the_images_of_the_validation_split_do_not_average_out() -> None:
    config_share = 1 - SEED_SHARE - COMMON_SHARE
    one = candidate(0.9, error=0.02)

    assert own_variance(one, SEED_SHARE * 0.02**2, 1) == pytest.approx((1 - COMMON_SHARE) * 0.02**2)
    assert own_variance(one, 0.0008, 4) == pytest.approx(config_share * 0.02**2 + 0.0008 / 4)
    assert own_variance(one, 0.0, 10**9) == pytest.approx(config_share * 0.02**2)


def test_a_seed_changes_more_than_the_choice_of_the_images() -> None:
    def error(images: int, count: int = 1) -> float:
        alone = Candidate((0.9,) * count, 0.01, 1.0, 1.0, 1.0, images=images)
        return estimates([alone])[0].standard_error

    effects = SEED_EFFECT + COMMON_SEED_EFFECT
    assert error(900) == pytest.approx(error(0) * math.sqrt(1 + 900 * effects), rel=0.03)
    assert error(900) < error(9000)
    assert error(9000, 4) < error(9000) / 1.5


def test_the_variance_that_seeds_are_expected_to_have_grows_with_the_images() -> None:
    few, many = (Candidate((0.9,), 0.01, 1.0, 1.0, 1.0, images=n) for n in (500, 5000))

    variance = seed_variance([few, many])

    effects = SEED_EFFECT + COMMON_SEED_EFFECT
    expected = [(SEED_SHARE + effects * n) * 0.01**2 for n in (500, 5000)]
    assert variance.ratio == 1.0
    assert variance.each == pytest.approx(expected)


def test_what_is_not_known_of_the_seeds_makes_an_estimate_less_certain() -> None:
    """Two replicates that agree by chance leave the variance open."""
    others = [candidate(0.9 + 0.004 * k, 0.91 + 0.003 * k, error=0.01) for k in range(6)]
    agreeing = candidate(0.95, 0.95, error=0.01)

    its = seed_variance([agreeing, *others])

    assert its.each[0] >= SEED_SHARE * 0.01**2
    assert its.each[0] == pytest.approx(its.each[1], rel=0.6)


@pytest.mark.parametrize("shape", ["each once", "each three times", "the best again"])
def test_the_pick_is_as_good_as_its_estimate_where_seeds_change_the_true_quality(
    shape: str,
) -> None:
    """With the common error of the images taken out, which is the same for all candidates."""
    excess, covered = [], []
    for number in range(100):
        correct = simulated_trainings(seeds=6, blocks=1, own=0.009, number=number)
        accuracy = correct[:, :, 0] / 500
        true = simulated_accuracies(number)
        counts = np.full(len(true), 3 if shape == "each three times" else 1)
        if shape == "the best again":
            counts[np.argsort(accuracy[:, 0])[-6:]] = 6
        found = estimates(
            [
                Candidate(
                    tuple(map(float, row[:count])),
                    binomial_error(float(row[0]), 500),
                    *(1.0, 1.0, 1.0),
                    images=500,
                )
                for row, count in zip(accuracy, counts, strict=True)
            ]
        )
        common = np.mean(accuracy.mean(axis=1) - true)
        pick = max(range(len(found)), key=lambda position: found[position].quality)
        one = found[pick]
        excess.append((one.quality - common - true[pick]) / one.standard_error)
        covered.append(np.mean([e.low <= t <= e.high for e, t in zip(found, true, strict=True)]))

    assert abs(np.mean(excess)) < 0.3
    assert 0.85 < np.mean(covered) < 0.95


@pytest.mark.parametrize(("replicates", "seed_ratio"), [(1, 1.0), (3, 4.0)])
def test_intervals_cover_nine_in_ten_true_qualities_and_the_pick_is_not_overrated(
    replicates: int, seed_ratio: float
) -> None:
    studies = list(simulated_studies(80, replicates=replicates, seed_ratio=seed_ratio))
    found = [estimates(study.candidates) for study in studies]

    covered = [
        estimate.low <= true <= estimate.high
        for study, its in zip(studies, found, strict=True)
        for estimate, true in zip(its, study.qualities, strict=True)
    ]
    assert 0.85 < np.mean(covered) < 0.95

    def overrated(study: SimulatedStudy, values: Sequence[float]) -> float:
        pick = int(np.argmax(values))
        return (values[pick] - study.qualities[pick]) / study.candidates[pick].standard_error

    raw = np.mean([overrated(study, list(study.raw())) for study in studies])
    shrunken = np.mean(
        [
            overrated(study, [estimate.quality for estimate in its])
            for study, its in zip(studies, found, strict=True)
        ]
    )
    assert raw > 1
    assert abs(shrunken) < 0.2 * raw


MEASURED = st.lists(st.integers(40, 100).map(lambda n: n / 100), min_size=1, max_size=12)


@settings(max_examples=25, deadline=None)
@given(MEASURED)
def test_a_better_measurement_has_no_worse_estimate(
    measured: list[float],
) -> None:
    found = estimates([candidate(quality, error=0.02) for quality in sorted(measured)])

    assert all(one.quality <= other.quality + 1e-9 for one, other in pairwise(found))
    assert all(estimate.low <= estimate.quality <= estimate.high for estimate in found)


@settings(max_examples=25, deadline=None)
@given(MEASURED)
def test_an_error_rate_is_estimated_as_its_accuracy(measured: list[float]) -> None:
    accuracies = estimates([candidate(quality, error=0.02) for quality in measured])
    errors = estimates([candidate(1 - quality, error=0.02) for quality in measured], LOSS)

    for accuracy, error in zip(accuracies, errors, strict=True):
        assert error.quality == pytest.approx(1 - accuracy.quality, abs=1e-6)
        assert error.low == pytest.approx(1 - accuracy.high, abs=1e-6)
