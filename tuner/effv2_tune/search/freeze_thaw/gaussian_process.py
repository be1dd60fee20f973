"""Conditions the model of learning curves on observations, and predicts."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import cho_solve, solve_triangular  # type: ignore[import-untyped]

from effv2_tune.search.freeze_thaw.expectations import Basis
from effv2_tune.search.freeze_thaw.kernel import Points, covariance, prior_variance

if TYPE_CHECKING:
    from collections.abc import Sequence

    from effv2_tune.search.freeze_thaw.expectations import Expectation
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
        basis: What is expected of configs.
        features: [n, k], of the basis at the observations.
    """

    hyper: Hyperparameters
    points: Points
    values: Floats
    factor: Floats
    basis: Basis
    features: Floats

    @classmethod
    def given(
        cls,
        hyper: Hyperparameters,
        points: Points,
        values: Floats,
        noise: Floats,
        expectations: Sequence[Expectation] = (),
    ) -> Posterior:
        """Condition on ``values`` [n] with noise of these variances [n]."""
        basis = Basis.of(expectations, points.configs)
        features = basis.at(points.configs)
        total = covariance(points, points, hyper) + features @ features.T
        total[np.diag_indices_from(total)] += noise + hyper.variances[3] + JITTER
        factor = np.asarray(np.linalg.cholesky(total), np.float64)
        return cls(hyper, points, values, factor, basis, features)

    def predict(self, points: Points) -> tuple[Floats, Floats]:
        """Mean and variance [m] of the curves, without the noise of a measurement."""
        features = self.basis.at(points.configs)
        cross = self._cross(points, features)
        half = solve_triangular(self.factor, cross, lower=True, check_finite=False)
        before = prior_variance(points, self.hyper) + (features * features).sum(axis=1)
        mean = features.sum(axis=1) + cross.T @ self._weights
        return np.asarray(mean), np.maximum(before - (half * half).sum(axis=0), 1e-12)

    def _cross(self, points: Points, features: Floats) -> Floats:
        """The covariance of the observations and other points [n, m]."""
        return covariance(self.points, points, self.hyper) + self.features @ features.T

    @functools.cached_property
    def _weights(self) -> Floats:
        """The inverse covariance of the observations times what is not expected of them [n]."""
        surprise = self.values - self.features.sum(axis=1)
        return np.asarray(cho_solve((self.factor, True), surprise, check_finite=False))

    def extended(self, points: Points, values: Floats) -> Posterior:
        """Condition on further observations; O(n²) each, by extending the Cholesky factor."""
        features = self.basis.at(points.configs)
        cross = self._cross(points, features)
        half = solve_triangular(self.factor, cross, lower=True, check_finite=False)
        own = covariance(points, points, self.hyper) + features @ features.T - half.T @ half
        own[np.diag_indices_from(own)] += self.hyper.variances[3] + JITTER
        corner = np.linalg.cholesky(own)
        factor = np.block([[self.factor, np.zeros_like(half)], [half.T, corner]])
        joined = Points(
            np.vstack([self.points.configs, points.configs]),
            np.concatenate([self.points.remaining, points.remaining]),
            np.concatenate([self.points.trials, points.trials]),
        )
        return replace(
            self,
            points=joined,
            values=np.concatenate([self.values, values]),
            factor=factor,
            features=np.vstack([self.features, features]),
        )

    def with_expected_ends(self, configs: Floats) -> Posterior:
        """With trials in training ending as expected: fantasies at the mean.

        The "kriging believer" of Ginsbourger, Le Riche and Carraro, "Kriging is well-suited to
        parallelize optimization" (2010): the mean stays, the variance near the trials shrinks.
        """
        if not len(configs):
            return self
        ends = Points.ends(configs)
        return self.extended(ends, self.predict(ends)[0])
