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

from effv2_tune.search.freeze_thaw.expectations import Basis
from effv2_tune.search.freeze_thaw.gaussian_process import JITTER
from effv2_tune.search.freeze_thaw.kernel import Gram, Hyperparameters

if TYPE_CHECKING:
    from collections.abc import Sequence

    from effv2_tune.search.freeze_thaw.expectations import Expectation
    from effv2_tune.search.freeze_thaw.kernel import Floats, Points

_STARTS = 3
#: Of each start so many rounds of at most so many steps, one of them in a part of a fit.
_ROUNDS, _STEPS = 8, 5
PARTS = _STARTS * _ROUNDS
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


class Fit:
    """A fit of the hyperparameters in parts, to be spread over several decisions.

    The result is the same however the parts are spread.

    Args:
        points: n.
        values: [n].
        noise: [n], variances of the values.
        seed: Of the starts.
        expectations: Of configs.
    """

    def __init__(
        self,
        points: Points,
        values: Floats,
        noise: Floats,
        *,
        seed: int,
        expectations: Sequence[Expectation] = (),
    ) -> None:
        means, spreads = prior(points.configs.shape[1])
        features = Basis.of(expectations, points.configs).at(points.configs)
        surprise = values - features.sum(axis=1)
        self._posterior = (Gram.of(points, noise, features), surprise, means, spreads)
        draws = np.random.default_rng(seed).standard_normal((_STARTS - 1, len(means)))
        self._at = [means, *(means + 0.7 * draws * spreads)]
        self._losses = [math.inf] * _STARTS
        self._converged = [False] * _STARTS
        self._bounds = list(zip(means - _WIDEST * spreads, means + _WIDEST * spreads, strict=True))
        self._done = 0

    def advance(self, parts: int) -> None:
        """Compute the first so many parts, of `PARTS`, as far as they are not computed yet."""
        while self._done < min(parts, PARTS):
            self._step(self._done // _ROUNDS)
            self._done += 1

    def result(self) -> Hyperparameters:
        """The most probable hyperparameters found; it computes what is left."""
        self.advance(PARTS)
        best = min(range(_STARTS), key=self._losses.__getitem__)
        return Hyperparameters(np.asarray(self._at[best]))

    def _step(self, start: int) -> None:
        """A few steps from where a start has got to."""
        if self._converged[start]:
            return
        found = minimize(
            negative_log_posterior,
            self._at[start],
            self._posterior,
            jac=True,
            method="L-BFGS-B",
            bounds=self._bounds,
            options={"maxiter": _STEPS},
        )
        self._at[start], self._losses[start] = found.x, float(found.fun)
        self._converged[start] = found.nit < _STEPS


def fit(points: Points, values: Floats, noise: Floats, *, seed: int) -> Hyperparameters:
    """The most probable hyperparameters for ``values`` [n] with noise of these variances [n]."""
    return Fit(points, values, noise, seed=seed).result()


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
