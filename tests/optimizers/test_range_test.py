"""The rule of the range test, on curves whose answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from effv2_tune.optimizers.range_test import (
    Bounds,
    has_diverged,
    joint_bounds,
    propose_bounds,
    rising_rates,
    smoothed,
)

STEPS = 300
RATES = rising_rates(1e-6, 10.0, STEPS)


def _losses(
    begins: float = 1e-4, ends: float = 1e-1, *, noise: float = 0.02, seed: int = 0
) -> list[float]:
    """Flat at 2.3, falling to 1.3 between two rates, then rising with the rate."""
    at = np.log10(RATES)
    share = np.clip((at - math.log10(begins)) / (math.log10(ends) - math.log10(begins)), 0, 1)
    beyond = np.maximum(at - math.log10(ends), 0)
    loss = 2.3 - share + 3 * beyond**2
    return list(loss + noise * np.random.default_rng(seed).standard_normal(STEPS))


def test_rates_rise_exponentially_from_the_lowest_to_the_highest() -> None:
    assert rising_rates(1e-3, 10.0, 5) == pytest.approx([1e-3, 1e-2, 1e-1, 1.0, 10.0])


def test_the_bounds_of_a_clear_curve_are_where_it_falls_and_rises_again() -> None:
    found = propose_bounds(RATES, _losses())

    assert found is not None
    assert found.begins == pytest.approx(1e-4 * 10 ** (0.1 * 3), rel=0.35)
    assert found.lowest == pytest.approx(1e-1, rel=0.35)
    assert found.unstable == pytest.approx(1e-1 * 10 ** math.sqrt(0.25 / 3), rel=0.35)
    assert found.maximal.low == found.initial.high == pytest.approx(4.5e-3, rel=0.35)
    assert found.initial.low == pytest.approx(found.begins / 10, rel=0.1)


@given(
    begins=st.floats(-5, -3),
    decades=st.floats(1, 2.5),
    noise=st.floats(0, 0.05),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_ranges_meet_and_never_cross(
    begins: float, decades: float, noise: float, seed: int
) -> None:
    losses = _losses(10**begins, 10 ** (begins + decades), noise=noise, seed=seed)

    found = propose_bounds(RATES, losses)

    assert found is not None
    assert 0 < found.initial.low < found.initial.high == found.maximal.low < found.maximal.high
    assert found.begins <= found.lowest <= found.unstable


@given(scale=st.floats(0.1, 10), offset=st.floats(-1, 5))
def test_the_unit_of_the_loss_does_not_matter(scale: float, offset: float) -> None:
    losses = _losses()

    assert propose_bounds(RATES, [offset + scale * loss for loss in losses]) == propose_bounds(
        RATES, losses
    )


def test_rates_ten_times_as_high_give_bounds_ten_times_as_high() -> None:
    found = propose_bounds(RATES, _losses())
    higher = propose_bounds([10 * rate for rate in RATES], _losses())

    assert found is not None
    assert higher is not None
    assert higher.maximal.pair == pytest.approx([10 * bound for bound in found.maximal.pair])
    assert higher.initial.pair == pytest.approx([10 * bound for bound in found.initial.pair])


@pytest.mark.parametrize("seed", range(20))
def test_noise_alone_proposes_nothing(seed: int) -> None:
    noise = np.random.default_rng(seed).standard_normal(STEPS)

    assert propose_bounds(RATES, list(2.3 + 0.1 * noise)) is None


def test_a_test_ends_at_nan_or_far_above_its_beginning_and_is_judged_up_to_there() -> None:
    losses = [2.3] * 40
    assert not has_diverged(losses, STEPS)
    assert not has_diverged([*losses, 6.0], STEPS)
    assert has_diverged([*losses, 10.0], STEPS)
    assert has_diverged([*losses, math.nan], STEPS)
    assert has_diverged([math.nan], STEPS)

    short = [*_losses()[:240], math.nan]
    found = propose_bounds(RATES, short, steps=STEPS)
    assert found is not None
    assert found.unstable <= RATES[240]
    assert np.isfinite(smoothed(short, STEPS)).all()
    assert propose_bounds(RATES, [math.nan], steps=STEPS) is None


def test_a_single_batch_does_not_move_the_curve() -> None:
    losses = _losses(noise=0.0)
    losses[150] = 20.0

    assert smoothed(losses, STEPS) == pytest.approx(smoothed(_losses(noise=0.0), STEPS), abs=0.05)


def test_the_joint_bounds_contain_those_of_each_bucket() -> None:
    assert joint_bounds([Bounds(1e-3, 1e-1), Bounds(1e-4, 1e-2)]) == Bounds(1e-4, 1e-1)
