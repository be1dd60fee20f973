"""Estimates the quality of each config from all of them: shrunken, with a 90 % interval.

The best of many measured qualities is too good on average: it is the one whose chance was best (the
winner's curse). So each estimate is drawn towards what the other configs show to be usual. How far
follows from the data, by a hierarchical model:

* A measured quality is the true one plus normal noise, whose variance has three parts: one that all
  configs share, as they are judged on the same images (`COMMON_SHARE`); one of this config with
  these images; and one of the seed, which replicates average out (`SEED_SHARE`). The common part
  is the same for every config, and is kept apart: it only widens the intervals.
* The seed changes the true quality, too (`SEED_EFFECT`, `COMMON_SEED_EFFECT`). Replicates show by
  how much, but few of them leave the variance uncertain, so it is averaged over: the normal noise
  becomes a mixture, similar to Student's t. With one variance in its place, a config that has
  been lucky and whose replicates agree by chance would be picked and shrunken too little.
* The true qualities are those of a cluster of competitive configs (normal), and of others that are
  uniformly distributed over everything worse than its centre. Location, width and share of the
  cluster are unknown: the estimates are averaged over all of them, in proportion to how well each
  explains the data.
* Longer trainings belong to the cluster more often. So its share depends on the training time; how
  much is averaged over, too (a mixture of experts: Jacobs et al., "Adaptive mixtures of local
  experts", 1991). With one share for all, the fastest config is drawn towards the accuracy of
  longer trainings, by up to 0.4 of its standard errors (benchmarks/results/seeds.md); a linear
  trend of the quality over log time errs by as much in the other direction.

A nonparametric maximum-likelihood prior (Koenker and Mizera, "Convex optimization, shape
constraints, and compound decisions", 2014) is more flexible, but its posterior is a few atoms: in
simulations of 4 to 30 configs its 90 % intervals covered 70 to 93 % of the true qualities, and 61
to 75 % of those of the best. Those of the averaged prior cover 80 to 96 % of both.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from effv2_tune.pareto.hypervolume import log_seconds
from effv2_tune.pareto.objective import ACCURACY, Objective

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from effv2_tune.study.recipe import Quality
    from effv2_tune.study.trial import Trial

    Floats = NDArray[np.float64]

#: The share of the binomial variance of an accuracy that differs between trainings of a config with
#: other seeds on the same images; the rest is the choice of the images. It is one minus the
#: correlation of the correctness of single images between seeds. This and the next three are
#: those of a small network on CIFAR-10, from 15 of its 30 seeds (benchmarks/results/seeds.md).
SEED_SHARE = 0.48
#: The share of it that all configs have in common, because they are judged on the same images: that
#: correlation between different configs. It makes all configs look better or worse, and leaves
#: their order alone. That models err on the same images is known of ImageNet, too (Mania et al.,
#: "Model similarity mitigates test set overuse", 2019).
COMMON_SHARE = 0.48
#: The seed also changes the true accuracy, on all images, of the config: with this variance, in
#: units of that of a single image, p (1 - p). Only replicates show it.
SEED_EFFECT = 3.0e-4
#: And of all configs together, as the trials of a study start from the same seed.
COMMON_SEED_EFFECT = 1.9e-4
#: Half the width of a 90 % interval, in standard deviations of a normal distribution.
Z90 = 1.6448536269514722
#: How many observations of the seeds' variance the binomial expectation counts for.
_PRIOR_DEGREES = 2.0
#: Variances between seeds, relative to the expected one, that are distinguished.
_STEPS = 2.0 ** (np.arange(-16, 33) / 4)
#: The quantiles that stand for equal parts of their posterior.
_PARTS = (0.1, 0.3, 0.5, 0.7, 0.9)
#: Configs worse than the best by more standard errors than this do not influence the estimates of
#: the others, and are not shrunk themselves.
_REACH = 50.0
#: The competitive configs are around a quality that is worse than the best by at most this many.
_CLUSTER_REACH = 12.0
#: The cluster's shares that are averaged over, of configs with the mean log training time.
_SHARES = (0.95, 0.8, 0.5)
#: By how much the log odds of a share grow where the training time doubles, and how probable that
#: is before any candidate.
_GROWTHS = {0.0: 0.5, 4.0: 0.25, 8.0: 0.25}
_CELLS_PER_ERROR = 4
_MOST_CELLS = 1000


@dataclass(frozen=True)
class Candidate:
    """What is known of one config.

    Attributes:
        qualities: Of the original trial and its replicates, on the same validation images.
        standard_error: Of one of them, as an estimate for all images (binomial or bootstrap).
        seconds: Of the final training (``train_seconds``).
        seconds_low: Lower end of its 90 % interval.
        seconds_high: Upper end of it; both are equal to ``seconds`` where the time is exact.
        time_group: Candidates of one group, such as a bucket, share the error of their step time.
            Empty: its error is its own.
        images: Of the validation split; 0 where that is not known, and the effects of seeds cannot
            be allowed for.
    """

    qualities: tuple[float, ...]
    standard_error: float
    seconds: float
    seconds_low: float
    seconds_high: float
    time_group: str = ""
    images: int = 0

    @property
    def mean(self) -> float:
        """The raw quality: the mean over the replicates."""
        return sum(self.qualities) / len(self.qualities)


@dataclass(frozen=True)
class Estimate:
    """The quality to expect of a config on other images, trained with other seeds.

    Attributes:
        raw: The mean of what was measured.
        quality: The shrunken estimate: the mean of the posterior.
        standard_error: The standard deviation of the posterior.
        low: Lower end of the 90 % interval.
        high: Upper end of it.
        replicates: How many trainings were measured.
    """

    raw: float
    quality: float
    standard_error: float
    low: float
    high: float
    replicates: int


@dataclass(frozen=True)
class SeedVariance:
    """The variance between trainings of one config with other seeds, on the same images.

    Attributes:
        ratio: Pooled over all configs, in units of the expected variance: the share `SEED_SHARE` of
            the binomial one, and both effects of seeds; 1 without any replicate.
        each: Of each candidate, in units of the squared quality: its own variance, shrunken towards
            the pooled ratio, and never below the binomial one.
    """

    ratio: float
    each: tuple[float, ...]


def binomial_error(share: float, images: int) -> float:
    """Standard error of a share of correctly classified images.

    With two correct and two wrong images more, so that it is not 0 for a share of 1: Agresti and
    Coull, "Approximate is better than 'exact' for interval estimation of binomial proportions"
    (1998).
    """
    corrected = (share * images + 2) / (images + 4)
    return math.sqrt(corrected * (1 - corrected) / (images + 4))


def standard_error_of(trial: Trial, quality: Quality, validation: int | None) -> float | None:
    """Standard error of the measured quality of a complete trial.

    In records of earlier versions it is not measured. For a score from 0 to 1 it is then binomial,
    for a loss that of losses with an exponential distribution; None without the number of images.
    """
    if trial.standard_errors is not None:
        return trial.standard_errors.value_of(quality)
    if trial.measurement is None or not validation:
        return None
    if quality == "loss":
        return trial.measurement.quality / math.sqrt(validation)
    return binomial_error(min(max(trial.measurement.quality, 0.0), 1.0), validation)


def seed_variance(candidates: Sequence[Candidate]) -> SeedVariance:
    """Pool the variance between replicates over all configs, by empirical Bayes.

    The variances are scaled inverse-chi-square around a pooled one, relative to the expected one
    (Smyth, "Linear models and empirical Bayes methods for assessing differential expression", 2004,
    section 3). Pooled ratio and degrees of freedom are averaged over, in proportion to their
    marginal likelihood, where the expectation itself counts as two observations. As there, a
    candidate's variance is the reciprocal of its expected precision.
    """
    pooled, ratios, posterior = _ratio_posterior(candidates)
    variances = np.array([SEED_SHARE * _variance(one) for one in candidates])[:, None] * ratios
    return SeedVariance(pooled, tuple(map(float, 1 / (posterior / variances).sum(axis=1))))


def own_variance(candidate: Candidate, seed: float, replicates: int) -> float:
    """That variance without the part that all configs have in common, by images and by seeds.

    Args:
        candidate: The config.
        seed: Variance between its replicates (`SeedVariance.each`).
        replicates: Trainings, the original one included.
    """
    sampling = _variance(candidate)
    own = max(seed - COMMON_SEED_EFFECT * candidate.images * sampling, SEED_SHARE * sampling)
    return (1 - SEED_SHARE - COMMON_SHARE) * sampling + own / replicates


def estimates(candidates: Sequence[Candidate], objective: Objective = ACCURACY) -> list[Estimate]:
    """Estimate the quality of each candidate [n] from all of them.

    With one or two candidates there is next to nothing to shrink towards, and the estimate is about
    the measured one.
    """
    return Posterior(candidates, objective).estimates() if candidates else []


class Posterior:
    """The posterior distribution of the qualities of all candidates.

    Args:
        candidates: [n], at least one.
        objective: Of the study; a quality to be maximised is a share from 0 to 1, one to be
            minimised a loss from 0.
    """

    def __init__(self, candidates: Sequence[Candidate], objective: Objective = ACCURACY) -> None:
        self._candidates = candidates
        self._objective = objective
        # Everything is computed for the goodness, of which more is better.
        is_share = objective.quality_direction == "maximize"
        self._bounds = (0.0, 1.0) if is_share else (-math.inf, 0.0)
        self._raw = np.array([-objective.quality_cost(one.mean) for one in candidates])
        self._variance = np.array([_variance(one) for one in candidates])
        #: Variance of each mean without the common part, in units of the squared standard error:
        #: equally probable values [n, values].
        self._own = _own_variances(candidates)
        #: Common part of each variance, in the same units [n].
        seeds = [COMMON_SEED_EFFECT * one.images / len(one.qualities) for one in candidates]
        self._common = COMMON_SHARE + np.array(seeds)
        best = int(np.argmax(self._raw))
        distance = (self._raw[best] - self._raw) / np.sqrt(self._variance[best])
        #: Positions of the candidates that are estimated together.
        self._near = np.flatnonzero(distance <= _REACH)
        self._fit()

    def _fit(self) -> None:
        raw, own = self._raw[self._near], self._own[self._near]
        variance = self._variance[self._near]
        errors = np.sqrt(own.mean(axis=1) * variance)
        self._grid = _grid(raw, errors, self._bounds)
        self._step = float(self._grid[1] - self._grid[0])
        self._variance_at = _smooth(self._grid, raw, variance)
        #: [near, cells]: the likelihood of each true quality.
        self._likelihood = np.mean(
            [
                _normal(raw[:, None] - self._grid, column[:, None] * self._variance_at)
                for column in own.T
            ],
            axis=0,
        )
        times = np.array([log_seconds(one.seconds) for one in self._candidates])[self._near]
        self._priors = _Priors.of(self._grid, raw, float(np.median(errors)), times)
        self._posterior, self._weights = self._priors.averaged(self._likelihood)

    def moments(self) -> tuple[Floats, Floats, Floats]:
        """Of each candidate [n]: mean goodness, its variance in comparisons, and the common part.

        The goodness is the quality, negative for a loss.
        """
        mean, own = self._raw.copy(), self._own.mean(axis=1) * self._variance
        common = self._common * self._variance
        mean[self._near] = self._posterior @ self._grid
        squares = (self._grid - mean[self._near, None]) ** 2
        # Within a cell, all qualities are equally probable.
        own[self._near] = (self._posterior * squares).sum(axis=1) + self._step**2 / 12
        common[self._near] = self._common[self._near] * (self._posterior @ self._variance_at)
        return mean, own, common

    def estimates(self) -> list[Estimate]:
        """Mean, standard deviation and 90 % interval of each candidate."""
        mean, own, common = self.moments()
        return [
            self._estimate(candidate, float(good), math.sqrt(its))
            for candidate, good, its in zip(self._candidates, mean, own + common, strict=True)
        ]

    def draw(self, rng: np.random.Generator, draws: int) -> Floats:
        """Joint draws of the true qualities on these images [draws, n], to compare candidates.

        They are without the part of the error that all candidates have in common: it cancels.
        """
        count = len(self._candidates)
        goodness = self._raw + rng.standard_normal((draws, count)) * np.sqrt(
            self._own.mean(axis=1) * self._variance
        )
        goodness[:, self._near] = self._draw_near(rng, draws)
        return np.asarray(-self._objective.quality_cost(1.0) * goodness)

    def _draw_near(self, rng: np.random.Generator, draws: int) -> Floats:
        rows = np.arange(len(self._near))
        drawn = np.empty((draws, len(rows)))
        start = 0
        for prior, count in enumerate(rng.multinomial(draws, self._weights)):
            if count:
                density = self._likelihood * self._priors.density(prior)
                shares = np.cumsum(density, axis=1)
                # Row k of the cumulative shares lies between k and k + 1: one search serves all.
                shares = shares / shares[:, -1:] + rows[:, None]
                wanted = rng.random((count, len(rows))) + rows
                cells = np.searchsorted(shares.ravel(), wanted) - rows * len(self._grid)
                drawn[start : start + count] = self._grid[cells.clip(0, len(self._grid) - 1)]
                start += count
        # Two candidates in one cell are not equal.
        return drawn + self._step * (rng.random(drawn.shape) - 0.5)

    def _estimate(self, candidate: Candidate, goodness: float, error: float) -> Estimate:
        quality = self._objective.quality_cost(-goodness)
        high = quality + Z90 * error
        return Estimate(
            raw=candidate.mean,
            quality=quality,
            standard_error=error,
            low=max(quality - Z90 * error, 0.0),
            high=min(high, 1.0) if self._objective.quality_direction == "maximize" else high,
            replicates=len(candidate.qualities),
        )


def _variance(candidate: Candidate) -> float:
    """Of one quality; an exact one has a little, so that it can be divided by."""
    smallest = 1e-6 * max(abs(candidate.mean), 1e-6)
    return max(candidate.standard_error, smallest) ** 2


def _sample_variance(values: Sequence[float]) -> float:
    return float(np.var(values, ddof=1)) if len(values) > 1 else 0.0


def _ratio_posterior(candidates: Sequence[Candidate]) -> tuple[float, Floats, Floats]:
    """The pooled ratio, and the posterior of each candidate's seed variance.

    Returns:
        The ratio of `SeedVariance`; possible variances, in units of the least one, the share
        `SEED_SHARE` of the binomial one [n, steps]; and their probabilities [n, steps].
    """
    images = np.array([one.images for one in candidates])[:, None]
    expected = 1 + (SEED_EFFECT + COMMON_SEED_EFFECT) * images / SEED_SHARE
    degrees = np.array([len(one.qualities) - 1.0 for one in candidates])[:, None]
    # Before any replicate, seeds vary as usual. To average over what they may do in this study
    # makes the estimates of a usual one too careful: in simulations the pick is underrated by half
    # a standard error. So no pick is called clear before it has a replicate (`racing.Pick`).
    if not degrees.any():
        return 1.0, expected, np.ones(expected.shape)
    found = np.array([_sample_variance(one.qualities) / _variance(one) for one in candidates])
    found = found[:, None] / SEED_SHARE / expected
    # Of a sample variance: chi-square.
    fit = -0.5 * degrees * (np.log(_STEPS) + found / _STEPS)
    likelihood = np.exp(fit - fit.max(axis=1, keepdims=True))
    centers, priors = _ratio_priors()
    # The expectation, as one more variance with this many degrees of freedom.
    known = -0.5 * _PRIOR_DEGREES * (np.log(centers) + 1 / centers)
    posterior, weights = _averaged(likelihood, priors, known)
    return float(weights @ centers), np.maximum(expected * _STEPS, 1.0), posterior


def _ratio_priors() -> tuple[Floats, Floats]:
    """Scaled inverse-chi-square distributions on `_STEPS` [priors, steps], and their centres."""
    centers, degrees = (axis.ravel() for axis in np.meshgrid(_STEPS, [4.0, 8.0, 16.0, 1e4]))
    fit = -0.5 * degrees[:, None] * (np.log(_STEPS) + centers[:, None] / _STEPS)
    return centers, _to_shares(np.exp(fit - fit.max(axis=1, keepdims=True)))


def _averaged(
    likelihood: Floats, priors: Floats, known: Floats | float = 0.0
) -> tuple[Floats, Floats]:
    """Posterior [n, cells] under the average of priors [priors, cells], and the priors' weights.

    Args:
        likelihood: Of each cell [n, cells].
        priors: Rows add to 1.
        known: Log probability of each prior before any candidate.
    """
    evidence = likelihood @ priors.T + np.finfo(float).tiny
    weights = _weights(np.log(evidence).sum(axis=0) + known)
    return _to_shares(likelihood * ((weights / evidence) @ priors)), weights


def _weights(log_probability: Floats) -> Floats:
    shares = np.exp(log_probability - log_probability.max())
    return np.asarray(shares / shares.sum())


def _grid(raw: Floats, errors: Floats, bounds: tuple[float, float]) -> Floats:
    """Equidistant true qualities [cells] that cover all candidates by four standard errors."""
    low = min(max(float((raw - 4 * errors).min()), bounds[0]), float(raw.min()))
    high = max(min(float((raw + 4 * errors).max()), bounds[1]), float(raw.max()))
    cells = round((high - low) / float(errors.min()) * _CELLS_PER_ERROR) + 2
    return np.linspace(low, high, min(cells, _MOST_CELLS))


def _smooth(grid: Floats, raw: Floats, variance: Floats) -> Floats:
    """The variance of a measured quality as a function of the true one [cells].

    An estimate's own variance depends on its error: the luckiest accuracy has the smallest binomial
    variance. So the variances of the candidates near a true quality are averaged (Nadaraya-Watson,
    bandwidth of a standard error).
    """
    squares = (grid[:, None] - raw) ** 2 / variance
    weights = np.exp(-0.5 * (squares - squares.min(axis=1, keepdims=True)))
    return np.asarray((weights * variance).sum(axis=1) / weights.sum(axis=1))


def _own_variances(candidates: Sequence[Candidate]) -> Floats:
    """Equally probable variances of each mean, without the common part [n, values].

    In units of the squared standard error; they differ by what is not known of the seeds' variance.
    A single value in its place would be too small for some configs, and these would be picked.
    """
    _, ratios, posterior = _ratio_posterior(candidates)
    below = np.cumsum(posterior, axis=1) - posterior / 2
    parts = _PARTS if ratios.shape[1] > 1 else (0.5,)
    found = [np.interp(parts, *row) for row in zip(below, np.log(ratios), strict=True)]
    replicates, images = np.array([(len(one.qualities), one.images) for one in candidates]).T
    seeds = SEED_SHARE * np.exp(found) - COMMON_SEED_EFFECT * images[:, None]
    own = np.maximum(seeds, SEED_SHARE) / replicates[:, None]
    return np.asarray(1 - SEED_SHARE - COMMON_SHARE + own)


@dataclass(frozen=True)
class _Priors:
    """The distributions of true qualities that are averaged over.

    Prior ``k`` has shares ``k // clusters`` and cluster ``k % clusters``; each has a distribution
    for each candidate, since the cluster's share depends on the training time.

    Attributes:
        clusters: Competitive configs [clusters, cells], rows add to 1.
        others: The configs beside each cluster [clusters, cells], rows add to 1.
        shares: Of the cluster, for each candidate [shares, n].
        known: Log probability of each of these before any candidate [shares].
    """

    clusters: Floats
    others: Floats
    shares: Floats
    known: Floats

    @classmethod
    def of(cls, grid: Floats, raw: Floats, error: float, times: Floats) -> _Priors:
        """The priors for some candidates.

        Args:
            grid: True qualities [cells].
            raw: Measured ones [n].
            error: Their typical standard error, the unit of the widths.
            times: Log seconds of the trainings [n].
        """
        span = max(float(raw.max() - raw.min()), error)
        worst = max(grid[0], raw.max() - _CLUSTER_REACH * error)
        steps = round((grid[-1] - worst) / error * 2) + 2
        centers = np.linspace(worst, grid[-1], steps)[:, None]
        widths = np.maximum(np.geomspace(error / 8, span, 7), grid[1] - grid[0])
        clusters = [_to_shares(_normal(grid - centers, width**2)) for width in widths]
        others = _to_shares((grid <= centers).astype(float))
        doublings = (times - times.mean()) / math.log(2)
        odds = np.array([math.log(share / (1 - share)) for share in _SHARES])[:, None]
        shares = [1 / (1 + np.exp(-odds - growth * doublings)) for growth in _GROWTHS]
        return cls(
            np.concatenate(clusters),
            np.tile(others, (len(widths), 1)),
            np.concatenate(shares),
            np.repeat(np.log(list(_GROWTHS.values())), len(_SHARES)),
        )

    def averaged(self, likelihood: Floats) -> tuple[Floats, Floats]:
        """Posterior [n, cells] under the average of the priors, and their weights [priors]."""
        of_clusters, of_others = likelihood @ self.clusters.T, likelihood @ self.others.T
        shares = self.shares[:, :, None]
        evidence = shares * of_clusters + (1 - shares) * of_others + np.finfo(float).tiny
        weights = _weights((np.log(evidence).sum(axis=1) + self.known[:, None]).ravel())
        each = weights.reshape(len(shares), 1, -1) / evidence
        prior = (shares * each).sum(axis=0) @ self.clusters
        prior += ((1 - shares) * each).sum(axis=0) @ self.others
        return _to_shares(likelihood * prior), weights

    def density(self, prior: int) -> Floats:
        """Of one of them, for each candidate [n, cells]."""
        mixed, cluster = divmod(prior, len(self.clusters))
        share = self.shares[mixed][:, None]
        return np.asarray(share * self.clusters[cluster] + (1 - share) * self.others[cluster])


def _to_shares(rows: Floats) -> Floats:
    return np.asarray(rows / rows.sum(axis=1, keepdims=True))


def _normal(difference: Floats, variance: Floats | float) -> Floats:
    """The normal density, without its constant factor."""
    return np.asarray(np.exp(-0.5 * difference**2 / variance) / np.sqrt(variance))
