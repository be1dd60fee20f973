"""Conditions the model of learning curves on observations, and predicts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import cho_solve, solve_triangular  # type: ignore[import-untyped]

from effv2_tune.search.freeze_thaw.kernel import Points, covariance, prior_variance

if TYPE_CHECKING:
    from effv2_tune.search.freeze_thaw.kernel import Floats, Hyperparameters

#: Added to the variance of each observation, so that a decomposition exists in float64.
JITTER = 1e-8


@dataclass(frozen=True)
class Posterior:
    """The Gaussian process given observations.

    Attributes:
        hyper: Its hyperparameters.
        points: Of the observations, n.
        values: [n], warped quality.
        factor: [n, n], lower Cholesky factor of their covariance with noise.
    """

    hyper: Hyperparameters
    points: Points
    values: Floats
    factor: Floats

    @classmethod
    def given(
        cls, hyper: Hyperparameters, points: Points, values: Floats, noise: Floats
    ) -> Posterior:
        """Condition on ``values`` [n] with noise of these variances [n]."""
        total = covariance(points, points, hyper)
        total[np.diag_indices_from(total)] += noise + hyper.variances[3] + JITTER
        return cls(hyper, points, values, np.asarray(np.linalg.cholesky(total), np.float64))

    def predict(self, points: Points) -> tuple[Floats, Floats]:
        """Mean and variance [m] of the curves, without the noise of a measurement."""
        cross = covariance(self.points, points, self.hyper)
        half = solve_triangular(self.factor, cross, lower=True, check_finite=False)
        weights = cho_solve((self.factor, True), self.values, check_finite=False)
        variance = prior_variance(points, self.hyper) - (half * half).sum(axis=0)
        return np.asarray(cross.T @ weights), np.maximum(variance, 1e-12)

    def extended(self, points: Points, values: Floats) -> Posterior:
        """Condition on further observations; O(n²) each, by extending the Cholesky factor."""
        cross = covariance(self.points, points, self.hyper)
        half = solve_triangular(self.factor, cross, lower=True, check_finite=False)
        own = covariance(points, points, self.hyper) - half.T @ half
        own[np.diag_indices_from(own)] += self.hyper.variances[3] + JITTER
        corner = np.linalg.cholesky(own)
        factor = np.block([[self.factor, np.zeros_like(half)], [half.T, corner]])
        joined = Points(
            np.vstack([self.points.configs, points.configs]),
            np.concatenate([self.points.remaining, points.remaining]),
            np.concatenate([self.points.trials, points.trials]),
        )
        return Posterior(self.hyper, joined, np.concatenate([self.values, values]), factor)

    def with_expected_ends(self, configs: Floats) -> Posterior:
        """With trials in training ending as expected: fantasies at the mean.

        The "kriging believer" of Ginsbourger, Le Riche and Carraro, "Kriging is well-suited to
        parallelize optimization" (2010): the mean stays, the variance near the trials shrinks.
        """
        if not len(configs):
            return self
        ends = Points.ends(configs)
        return self.extended(ends, self.predict(ends)[0])
