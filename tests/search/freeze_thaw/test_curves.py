from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.search.freeze_thaw.curves_of_a_family import history_of

from effv2_tune.search.freeze_thaw import Observation
from effv2_tune.search.freeze_thaw.curves import Warp, curve_data, median_gains, rough_ends

if TYPE_CHECKING:
    from collections.abc import Sequence


def ends_of(observations: Sequence[Observation]) -> dict[int, float]:
    return rough_ends(observations, median_gains(observations))


qualities = st.lists(st.floats(0.0, 1.0), min_size=1, max_size=20)


@given(qualities, st.floats(-1.0, 2.0))
def test_warping_is_invertible_and_rising(ends: list[float], quality: float) -> None:
    warp = Warp(float(np.median(ends)), 0.1)

    warped = warp.forward(np.array([quality, quality + 0.01]))

    assert warp.inverse(warped) == pytest.approx([quality, quality + 0.01], abs=1e-9)
    assert warped[1] > warped[0]


@given(st.floats(-1.0, 2.0))
def test_the_slope_is_the_derivative(quality: float) -> None:
    warp = Warp(0.5, 0.1)
    around = np.array([quality - 1e-6, quality + 1e-6])

    numeric = np.diff(warp.forward(around))[0] / 2e-6

    assert warp.slope(np.array([quality]))[0] == pytest.approx(numeric, rel=1e-3)


@pytest.mark.parametrize("ends", [[0.5], [0.5, 0.5, 0.5], [0.0, 0.0]])
def test_equal_ends_have_a_scale(ends: list[float]) -> None:
    warped = Warp.of(np.array(ends)).forward(np.array(ends))

    assert warped == pytest.approx(np.zeros(len(ends)))


def test_a_paused_trial_gains_as_full_curves_do() -> None:
    observations = [
        Observation(0, 0.1, 0.2),
        Observation(0, 1.0, 0.8),
        Observation(1, 0.1, 0.4),
        Observation(1, 1.0, 0.8),
        Observation(2, 0.1, 0.3),
    ]

    assert ends_of(observations) == pytest.approx({0: 0.8, 1: 0.8, 2: 0.3 + 0.5})


def test_a_rung_between_observations_is_interpolated_over_the_log_of_the_share() -> None:
    observations = [
        Observation(0, 0.01, 0.2),
        Observation(0, 1.0, 0.8),
        Observation(1, 0.1, 0.3),
    ]

    assert ends_of(observations)[1] == pytest.approx(0.3 + 0.3)


def test_curves_of_equal_gain_are_lifted_to_their_ends() -> None:
    history = history_of(np.random.default_rng(0).random((8, 2)), [4] * 8)
    ends = ends_of(history.observations)
    parallel = [
        Observation(o.trial, o.share, ends[o.trial] + 0.3 * np.log10(o.share))
        for o in history.observations
    ]

    data = curve_data(history.trials, parallel, 50)

    expected = data.warp.forward(np.array([ends[trial] for trial in data.points.trials]))
    assert data.values == pytest.approx(expected)


def test_with_too_many_observations_the_last_ones_near_the_front_stay() -> None:
    configs = np.random.default_rng(0).random((60, 2))
    history = history_of(configs, [4, 1, 2, 1] * 15)
    ends = ends_of(history.observations)
    best = max(ends, key=lambda one: ends[one])

    data = curve_data(history.trials, history.observations, 50)

    assert len(data.values) == len(data.noise) <= 50
    kept = set(zip(data.points.trials.tolist(), data.points.remaining.tolist(), strict=True))
    assert min(remaining for trial, remaining in kept if trial == best) == pytest.approx(
        -np.log10(history.last_shares()[best]), abs=1e-9
    )
    assert len(kept) == len(data.values)


def test_standard_errors_become_noise() -> None:
    history = history_of(np.random.default_rng(0).random((6, 2)), [1] * 6)
    noisy = [Observation(o.trial, o.share, o.quality, 0.01) for o in history.observations]

    data = curve_data(history.trials, noisy, 50)

    assert data.noise == pytest.approx(
        (0.01 * data.warp.slope(np.array([o.quality for o in noisy]))) ** 2
    )
