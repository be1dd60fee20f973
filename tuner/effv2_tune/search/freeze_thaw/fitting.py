"""Fits the hyperparameters of the model of learning curves.

The maximum of the posterior density (marginal likelihood times priors) by L-BFGS-B from several
starts. Log-normal priors on all hyperparameters keep a fit on few observations close to a model
that is sensible everywhere; the length scales grow with the root of the number of dimensions, as in
Hvarfner, Hellsten and Nardi, "Vanilla Bayesian Optimization Performs Great in High Dimensions"
(arXiv 2402.02229), since distances in the unit cube do.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import cho_solve, lapack  # type: ignore[import-untyped]
from scipy.optimize import minimize  # type: ignore[import-untyped]

from effv2_tune.search.freeze_thaw.gaussian_process import JITTER
from effv2_tune.search.freeze_thaw.kernel import Gram, Hyperparameters

if TYPE_CHECKING:
    from effv2_tune.search.freeze_thaw.kernel import Floats, Points

_STARTS = 3
_STEPS = 40
#: Medians and log standard deviations of the priors: end, deviation, own deviation and noise as
#: standard deviations in warped quality, and the exponent.
_MEDIANS = (1.0, 0.7, 0.15, 0.07, 1.5)
_SPREADS = (0.5, 0.8, 0.8, 0.75, 0.3)
_LENGTH_SCALE, _LENGTH_SPREAD = 0.7, 1.0
#: Standard deviations of the priors; keeps few exact observations from removing all noise.
_WIDEST = 2.0


def prior(dimensions: int) -> tuple[Floats, Floats]:
    """Mean and standard deviation of the logarithms [d + 5]."""
    scale = _LENGTH_SCALE * max(1.0, math.sqrt(dimensions / 7))
    means = np.concatenate([np.full(dimensions, math.log(scale)), np.log(_MEDIANS)])
    return means, np.concatenate([np.full(dimensions, _LENGTH_SPREAD), _SPREADS])


def fit(points: Points, values: Floats, noise: Floats, *, seed: int) -> Hyperparameters:
    """The most probable hyperparameters for ``values`` [n] with noise of these variances [n]."""
    means, spreads = prior(points.configs.shape[1])
    gram = Gram.of(points, noise)
    draws = np.random.default_rng(seed).standard_normal((_STARTS - 1, len(means)))
    starts = [means, *(means + 0.7 * draws * spreads)]
    bounds = list(zip(means - _WIDEST * spreads, means + _WIDEST * spreads, strict=True))
    found = [
        minimize(
            negative_log_posterior,
            start,
            (gram, values, means, spreads),
            jac=True,
            method="L-BFGS-B",
            bounds=bounds,
            options={"maxiter": _STEPS},
        )
        for start in starts
    ]
    return Hyperparameters(np.asarray(min(found, key=lambda one: float(one.fun)).x))


def negative_log_posterior(
    logs: Floats, gram: Gram, values: Floats, means: Floats, spreads: Floats
) -> tuple[float, Floats]:
    """Up to a constant, with its gradient [d + 5]."""
    evaluation = gram.evaluate(Hyperparameters(logs))
    total = evaluation.total
    total[np.diag_indices_from(total)] += JITTER
    factor, failed = lapack.dpotrf(total, lower=1)
    if failed:
        return 1e10, np.zeros_like(logs)
    weights = cho_solve((factor, True), values, check_finite=False)
    lower, _ = lapack.dpotri(factor, lower=1)
    inverse = np.tril(lower) + np.tril(lower, -1).T
    deviations = (logs - means) / spreads
    loss = 0.5 * (values @ weights + deviations @ deviations) + np.log(np.diag(factor)).sum()
    gradient = evaluation.gradient(0.5 * (inverse - np.outer(weights, weights)))
    return float(loss), gradient + deviations / spreads
