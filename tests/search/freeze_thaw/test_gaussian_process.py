from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from effv2_tune.search.freeze_thaw.fitting import prior
from effv2_tune.search.freeze_thaw.gaussian_process import Posterior
from effv2_tune.search.freeze_thaw.kernel import (
    Hyperparameters,
    Points,
    covariance,
    prior_variance,
    remaining_of,
)

if TYPE_CHECKING:
    from effv2_tune.search.freeze_thaw.kernel import Floats

SEEDS = st.integers(0, 10**6)
few = settings(max_examples=40, deadline=None)


def hyperparameters(dimensions: int, *, noise: float = 0.05, own: float = 0.15) -> Hyperparameters:
    logs = prior(dimensions)[0].copy()
    logs[-3], logs[-2] = np.log(own), np.log(noise)
    return Hyperparameters(logs)


def curves(seed: int, trials: int = 6, dimensions: int = 3) -> tuple[Points, Floats]:
    """Three observations of each trial, and qualities."""
    rng = np.random.default_rng(seed)
    configs = np.repeat(rng.random((trials, dimensions)), 3, axis=0)
    remaining = remaining_of(np.tile([0.1, 0.3, 1.0], trials))
    return Points(configs, remaining, np.repeat(np.arange(trials), 3)), rng.normal(size=3 * trials)


def ordered(points: Points, order: Floats) -> Points:
    return Points(*(part[order] for part in points))


@few
@given(SEEDS)
def test_the_posterior_interpolates_exact_ends(seed: int) -> None:
    points, values = curves(seed)
    ends = ordered(points, np.arange(2, 18, 3))

    posterior = Posterior.given(hyperparameters(3, noise=1e-6), ends, values[2::3], np.zeros(6))

    mean, variance = posterior.predict(Points.ends(ends.configs))
    assert mean == pytest.approx(values[2::3], abs=1e-3)
    assert variance.max() < 1e-4


@few
@given(SEEDS)
def test_the_order_of_the_observations_changes_nothing(seed: int) -> None:
    points, values = curves(seed)
    noise = np.random.default_rng(seed).random(18)
    order = np.random.default_rng(seed + 1).permutation(18)
    elsewhere = Points.ends(np.random.default_rng(seed + 2).random((5, 3)))

    one = Posterior.given(hyperparameters(3), points, values, noise)
    other = Posterior.given(hyperparameters(3), ordered(points, order), values[order], noise[order])

    assert np.array(one.predict(elsewhere)) == pytest.approx(
        np.array(other.predict(elsewhere)), abs=1e-6
    )


@few
@given(SEEDS)
def test_an_observation_never_makes_a_prediction_less_certain(seed: int) -> None:
    points, values = curves(seed)
    elsewhere = Points.ends(np.random.default_rng(seed + 2).random((5, 3)))
    hyper = hyperparameters(3)

    fewer = Posterior.given(hyper, ordered(points, np.arange(12)), values[:12], np.zeros(12))
    all_of_them = Posterior.given(hyper, points, values, np.zeros(18))

    assert (all_of_them.predict(elsewhere)[1] <= fewer.predict(elsewhere)[1] + 1e-9).all()
    assert (fewer.predict(elsewhere)[1] <= prior_variance(elsewhere, hyper) + 1e-9).all()


@few
@given(SEEDS, st.floats(0.01, 2.0))
def test_noise_makes_a_prediction_less_certain(seed: int, variance: float) -> None:
    points, values = curves(seed)
    elsewhere = Points.ends(np.random.default_rng(seed + 2).random((5, 3)))

    exact = Posterior.given(hyperparameters(3), points, values, np.zeros(18))
    noisy = Posterior.given(hyperparameters(3), points, values, np.full(18, variance))

    assert (noisy.predict(elsewhere)[1] >= exact.predict(elsewhere)[1] - 1e-9).all()


@few
@given(SEEDS)
def test_a_later_rung_is_worth_more(seed: int) -> None:
    rng = np.random.default_rng(seed)
    config = rng.random((1, 3))
    early, late = np.sort(rng.uniform(0.05, 1.0, 2))
    hyper = hyperparameters(3)

    variances = [
        Posterior.given(
            hyper, Points(config, remaining_of(np.array([share])), np.zeros(1, int)), [0.3], [0.0]
        ).predict(Points.ends(config))[1][0]
        for share in (early, late)
    ]

    assert variances[1] <= variances[0] + 1e-9


@few
@given(SEEDS)
def test_extending_equals_conditioning_on_all_at_once(seed: int) -> None:
    points, values = curves(seed)
    new = Points.ends(np.random.default_rng(seed + 3).random((2, 3)))
    joined = Points(*(np.concatenate(parts) for parts in zip(points, new, strict=True)))
    elsewhere = Points.ends(np.random.default_rng(seed + 2).random((5, 3)))

    at_once = Posterior.given(
        hyperparameters(3), joined, np.append(values, [0.5, -0.5]), np.zeros(20)
    )
    extended = Posterior.given(hyperparameters(3), points, values, np.zeros(18)).extended(
        new, np.array([0.5, -0.5])
    )

    assert np.array(extended.predict(elsewhere)) == pytest.approx(
        np.array(at_once.predict(elsewhere)), abs=1e-6
    )


def test_expected_ends_change_no_mean_and_reduce_the_variance_there() -> None:
    points, values = curves(7)
    posterior = Posterior.given(hyperparameters(3), points, values, np.zeros(18))
    running = np.array([[0.2, 0.8, 0.5]])

    with_fantasies = posterior.with_expected_ends(running)

    elsewhere = Points.ends(np.vstack([running, np.random.default_rng(0).random((4, 3))]))
    before, after = posterior.predict(elsewhere), with_fantasies.predict(elsewhere)
    assert after[0] == pytest.approx(before[0], abs=1e-6)
    assert after[1][0] < 0.1 * before[1][0]
    assert posterior.with_expected_ends(np.zeros((0, 3))) is posterior


@few
@given(SEEDS)
def test_the_covariance_is_symmetric_positive_and_has_the_prior_variance(seed: int) -> None:
    points, _ = curves(seed)
    hyper = hyperparameters(3)

    total = covariance(points, points, hyper)

    assert total == pytest.approx(total.T)
    assert np.diag(total) == pytest.approx(prior_variance(points, hyper))
    assert np.linalg.eigvalsh(total).min() > -1e-8
