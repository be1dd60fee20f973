"""Computes the covariance of learning curves over (config, share of epochs).

A curve is its end plus a deviation that shrinks to zero at the end:

    quality(x, t) = end(x) + drift * v(t) + deviation(x, t) + own(t) + noise

``end`` is a Gaussian process with a Matern-5/2 kernel of separate length scales (ARD). The
remaining epochs enter as v(t) = (log t / log 0.1)^p, which is 0 at the end and 1 after a tenth of
the epochs. ``drift`` is the gain that all curves share, with a wide prior, integrated out
(Rasmussen and Williams, "Gaussian Processes for Machine Learning", section 2.7); ``deviation`` is
Brownian motion in v, as smooth over configs as the end; ``own`` is Brownian motion of each curve
alone, as the curve kernel of freeze-thaw (arXiv 1406.3896, section 3.1) is. So rungs that rank
poorly have a large deviation, which is learned from the curves of this study.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]

#: Standard deviation of the common gain from a tenth of the epochs to the end, in warped quality.
DRIFT = 2.0
_ROOT5 = math.sqrt(5.0)
_TENTH = -math.log(0.1)
#: Hyperparameters besides the length scales.
SCALARS = 5


class Points(NamedTuple):
    """Places in the domain of the model.

    Attributes:
        configs: [n, d].
        remaining: [n], log(1 / share) / log(10): 0 at the end, 1 after a tenth of the epochs.
        trials: [n], equal for observations of one curve.
    """

    configs: Floats
    remaining: Floats
    trials: Integers

    @classmethod
    def ends(cls, configs: Floats) -> Points:
        """The ends of new curves."""
        count = len(configs)
        return cls(configs, np.zeros(count), -1 - np.arange(count))


def remaining_of(shares: Floats) -> Floats:
    """The coordinate of shares of the epochs [n]."""
    return np.asarray(np.maximum(-np.log(shares), 0.0) / _TENTH)


@dataclass(frozen=True)
class Hyperparameters:
    """Of the kernel, as logarithms [d + 5].

    The length scales [d]; the standard deviations of end, deviation, own deviation and noise; the
    exponent p.
    """

    logs: Floats

    @property
    def length_scales(self) -> Floats:
        """[d], of the unit cube."""
        return np.asarray(np.exp(self.logs[:-SCALARS]))

    @property
    def variances(self) -> Floats:
        """Of end, deviation, own deviation and noise [4]."""
        return np.asarray(np.exp(2 * self.logs[-SCALARS:-1]))

    @property
    def exponent(self) -> float:
        """Of the remaining epochs, p."""
        return float(np.exp(self.logs[-1]))


def squared_differences(a: Floats, b: Floats) -> Floats:
    """Of each dimension [d, n, m]."""
    differences = a.T[:, :, None] - b.T[:, None, :]
    return np.asarray(differences * differences)


def covariance(a: Points, b: Points, hyper: Hyperparameters) -> Floats:
    """Between the curves at two sets of points [n, m], without the noise."""
    scaled_a, scaled_b = a.configs / hyper.length_scales, b.configs / hyper.length_scales
    squares = (scaled_a**2).sum(1)[:, None] + (scaled_b**2).sum(1)[None] - 2 * scaled_a @ scaled_b.T
    matern, _ = _matern(np.maximum(squares, 0.0))
    end, deviation, own, _ = hyper.variances
    if not b.remaining.any():
        return np.asarray(matern * end)  # with ends; all other terms are 0 there
    v_a, v_b = a.remaining**hyper.exponent, b.remaining**hyper.exponent
    common = np.minimum(v_a[:, None], v_b[None])
    same = a.trials[:, None] == b.trials[None]
    return np.asarray(
        matern * (end + deviation * common)
        + own * common * same
        + DRIFT**2 * v_a[:, None] * v_b[None]
    )


def prior_variance(points: Points, hyper: Hyperparameters) -> Floats:
    """The diagonal of the covariance [n]."""
    end, deviation, own, _ = hyper.variances
    v = points.remaining**hyper.exponent
    return np.asarray(end + (deviation + own) * v + DRIFT**2 * v * v)


def _matern(squares: Floats) -> tuple[Floats, Floats]:
    """The Matern-5/2 correlation, and its derivative factor (5 / 3) (1 + √5 r) exp(-√5 r)."""
    r = np.sqrt(squares)
    decay = np.exp(-_ROOT5 * r)
    return (1 + _ROOT5 * r + 5 / 3 * squares) * decay, 5 / 3 * (1 + _ROOT5 * r) * decay


@dataclass(frozen=True)
class Gram:
    """Parts of the covariance of observations that no hyperparameter changes.

    Attributes:
        squares: [d, n, n], squared differences of configs.
        common: [n, n], the smaller of two remaining coordinates.
        remaining: [n].
        same: [n, n], 1 within a curve.
        noise: [n], variances of the measurements.
        expected: [n, n], the covariance of what is expected of the configs.
    """

    squares: Floats
    common: Floats
    remaining: Floats
    same: Floats
    noise: Floats
    expected: Floats

    @classmethod
    def of(cls, points: Points, noise: Floats, features: Floats) -> Gram:
        """Of observations, the variances of their noise [n], and the basis at them [n, k]."""
        return cls(
            squared_differences(points.configs, points.configs),
            np.minimum(points.remaining[:, None], points.remaining[None]),
            points.remaining,
            (points.trials[:, None] == points.trials[None]).astype(float),
            noise,
            features @ features.T,
        )

    def evaluate(self, hyper: Hyperparameters) -> Evaluation:
        """The covariance with noise, with what its gradient needs."""
        scales = hyper.length_scales
        matern, slope = _matern(np.tensordot(scales**-2.0, self.squares, 1))
        end, deviation, own, noise = hyper.variances
        v = self.remaining**hyper.exponent
        common = self.common**hyper.exponent
        amplitude = end + deviation * common
        total = matern * amplitude + own * common * self.same + DRIFT**2 * np.outer(v, v)
        total += self.expected
        total[np.diag_indices_from(total)] += self.noise + noise
        return Evaluation(self, hyper, total, matern, slope * amplitude, common, v)


@dataclass(frozen=True)
class Evaluation:
    """The covariance [n, n] of observations under some hyperparameters, and its gradient."""

    gram: Gram
    hyper: Hyperparameters
    total: Floats
    matern: Floats
    slope: Floats
    common: Floats
    v: Floats

    def gradient(self, weights: Floats) -> Floats:
        """The sum of ``weights`` [n, n] times the derivative by each logarithm [d + 5]."""
        gram, hyper = self.gram, self.hyper
        end, deviation, own, noise = hyper.variances
        scales = np.tensordot(gram.squares, weights * self.slope, 2) / hyper.length_scales**2
        over_configs = weights * self.matern
        per_curve = weights * gram.same
        logs = np.log(np.maximum(gram.remaining, 1e-300)) * hyper.exponent
        by_v = self.v * logs
        by_common = self.common * np.log(np.maximum(gram.common, 1e-300)) * hyper.exponent
        exponent = ((over_configs * deviation + per_curve * own) * by_common).sum()
        exponent += DRIFT**2 * (by_v @ weights @ self.v + self.v @ weights @ by_v)
        scalars = [
            2 * end * over_configs.sum(),
            2 * deviation * (over_configs * self.common).sum(),
            2 * own * (per_curve * self.common).sum(),
            2 * noise * np.trace(weights),
            exponent,
        ]
        return np.concatenate([scales, scalars])
