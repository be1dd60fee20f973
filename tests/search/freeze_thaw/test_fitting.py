from __future__ import annotations

import numpy as np
import pytest
from tests.search.freeze_thaw.curves_of_a_family import end_of, history_of

from effv2_tune.search.freeze_thaw.curves import curve_data
from effv2_tune.search.freeze_thaw.fitting import fit, negative_log_posterior, prior
from effv2_tune.search.freeze_thaw.gaussian_process import Posterior
from effv2_tune.search.freeze_thaw.kernel import Gram, Points

CONFIGS = np.random.default_rng(0).random((24, 2))
#: A quarter of the trials are complete, the others paused at the first or second rung.
HISTORY = history_of(CONFIGS, [4, 1, 2, 1] * 6)
DATA = curve_data(HISTORY.trials, HISTORY.observations, 200)


@pytest.fixture(scope="module")
def posterior() -> Posterior:
    hyper = fit(DATA.points, DATA.values, DATA.noise, seed=0)
    return Posterior.given(hyper, DATA.points, DATA.values, DATA.noise)


def test_the_gradient_is_that_of_the_density() -> None:
    means, spreads = prior(2)
    features = np.random.default_rng(2).standard_normal((len(DATA.values), 2))
    gram = Gram.of(DATA.points, DATA.noise + 0.01, features)
    at = means + 0.3 * np.random.default_rng(1).standard_normal(len(means))

    def density(logs: np.ndarray) -> float:
        return negative_log_posterior(logs, gram, DATA.values, means, spreads)[0]

    steps = 1e-5 * np.eye(len(at))
    numeric = [(density(at + step) - density(at - step)) / 2e-5 for step in steps]

    _, gradient = negative_log_posterior(at, gram, DATA.values, means, spreads)
    assert gradient == pytest.approx(numeric, rel=1e-5, abs=1e-5)


def test_the_ends_of_paused_trials_are_recovered(posterior: Posterior) -> None:
    paused = CONFIGS[[place for place in range(24) if place % 4]]

    mean, variance = posterior.predict(Points.ends(paused))

    errors = mean - DATA.warp.forward(end_of(paused))
    assert np.median(np.abs(errors)) < 0.1
    assert np.mean(np.abs(errors) < 3 * np.sqrt(variance)) > 0.8


def test_the_ends_of_new_configs_are_recovered(posterior: Posterior) -> None:
    new = np.random.default_rng(5).uniform(0.1, 0.9, (40, 2))

    mean, _ = posterior.predict(Points.ends(new))

    assert np.corrcoef(DATA.warp.inverse(mean), end_of(new))[0, 1] > 0.97


def test_a_dimension_that_matters_less_has_the_longer_scale(posterior: Posterior) -> None:
    first, second = posterior.hyper.length_scales

    assert second > 1.5 * first


def test_two_observations_give_a_model() -> None:
    points = Points(*(part[:2] for part in DATA.points))

    hyper = fit(points, DATA.values[:2], DATA.noise[:2], seed=0)

    means, spreads = prior(2)
    assert (np.abs(hyper.logs - means) < 2 * spreads).all()


def test_the_order_of_the_observations_changes_no_hyperparameter_much() -> None:
    order = np.random.default_rng(2).permutation(len(DATA.values))
    shuffled = Points(*(part[order] for part in DATA.points))

    one = fit(DATA.points, DATA.values, DATA.noise, seed=0)
    other = fit(shuffled, DATA.values[order], DATA.noise[order], seed=0)

    elsewhere = Points.ends(np.random.default_rng(3).random((20, 2)))
    ours = Posterior.given(one, DATA.points, DATA.values, DATA.noise).predict(elsewhere)
    theirs = Posterior.given(other, shuffled, DATA.values[order], DATA.noise[order])
    assert ours[0] == pytest.approx(theirs.predict(elsewhere)[0], abs=0.05)
