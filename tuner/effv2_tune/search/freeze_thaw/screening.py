"""Decides whether trainings on a subset of the images tell enough, and which test that.

A screening is one more input of the model: a coordinate beside those of the config, the fidelity,
whose length scale says how far a subset correlates with all images (as the data set size in Klein
et al., "Fast Bayesian Optimization of Machine Learning Hyperparameters on Large Datasets", arXiv
1605.07079). Screenings of complete trials come first. Others are begun while the rank correlation
of these pairs is high.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.stats import rankdata  # type: ignore[import-untyped]

from effv2_tune.search.freeze_thaw.kernel import Points, covariance, prior_variance

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from effv2_tune.search.freeze_thaw.history import History, Observation, Screening, Trial
    from effv2_tune.search.freeze_thaw.kernel import Floats, Hyperparameters

#: Pairs that are trained to test the correlation.
TEST_PAIRS = 5
#: The rank correlation from which screenings are begun: that of a rung which has earned all of its
#: strictness.
LEAST_CORRELATION = 0.8
#: The coordinate of a screening. At the median of the priors of length scales, the correlation of a
#: subset with all images is .7; a fit can bring it to .99, or to 0.
_SUBSET = 0.5


class Pair(NamedTuple):
    """A config that was trained both ways.

    Attributes:
        screened: Quality on the subset.
        whole: Quality of the complete training.
    """

    screened: float
    whole: float


def on_all_images(configs: Floats) -> Floats:
    """Configs [m, d] with the fidelity of a whole training [m, d + 1]."""
    return np.column_stack([configs, np.zeros(len(configs))])


def on_subset(configs: Floats) -> Floats:
    """Configs [m, d] with the fidelity of a screening [m, d + 1]."""
    return np.column_stack([configs, np.full(len(configs), _SUBSET)])


def fidelity_correlation(hyper: Hyperparameters) -> float:
    """The correlation of the subset with all images, for the same config."""
    config = np.zeros((1, len(hyper.length_scales) - 1))
    whole, subset = (Points.ends(one(config)) for one in (on_all_images, on_subset))
    return float(covariance(whole, subset, hyper)[0, 0] / prior_variance(whole, hyper)[0])


def pairs_of(
    trials: Mapping[int, Trial],
    observations: Sequence[Observation],
    screenings: Mapping[int, Screening],
) -> list[Pair]:
    """The configs that have ended both ways, in the order of their complete trainings."""
    whole = {
        trials[one.trial].config: one.quality
        for one in observations
        if one.trial in trials and one.share >= 1 and trials[one.trial].state == "complete"
    }
    screened = {
        screenings[one.trial].config: one.quality for one in observations if one.trial in screenings
    }
    return [
        Pair(screened[config], quality) for config, quality in whole.items() if config in screened
    ]


def is_shown(history: History) -> bool:
    """Whether the rank correlation of the pairs is high enough to begin further screenings."""
    pairs = pairs_of(history.trials, history.observations, history.screenings or {})
    return len(pairs) >= TEST_PAIRS and rank_correlation(pairs) >= LEAST_CORRELATION


def rank_correlation(pairs: Sequence[Pair]) -> float:
    """Spearman's, of two pairs at least; 0 where either quality is constant."""
    screened, whole = (rankdata(column) for column in zip(*pairs, strict=True))
    if not (np.ptp(screened) and np.ptp(whole)):
        return 0.0
    return float(np.corrcoef(screened, whole)[0, 1])


def next_test(history: History) -> tuple[float, ...] | None:
    """The complete trial whose config is screened next to test the correlation.

    None before enough trials are complete, and from when enough screenings have begun.
    """
    screenings = history.screenings or {}
    complete = [one.config for one in history.trials.values() if one.state == "complete"]
    if len(screenings) >= TEST_PAIRS or len(complete) < TEST_PAIRS:
        return None
    begun = {one.config for one in screenings.values()}
    return next((config for config in complete if config not in begun), None)


def screening_gain(
    trials: Mapping[int, Trial],
    observations: Sequence[Observation],
    screenings: Mapping[int, Screening],
    ends: Mapping[int, float],
) -> float:
    """The median gain in quality from the subset to all images.

    Of the pairs; without any, the difference of the medians.

    Args:
        trials: By number.
        observations: Of both, one of a screening at least.
        screenings: By number.
        ends: What each trial is roughly expected to reach.
    """
    pairs = pairs_of(trials, observations, screenings)
    if pairs:
        return float(np.median([one.whole - one.screened for one in pairs]))
    screened = [one.quality for one in observations if one.trial in screenings]
    return float(np.median(list(ends.values())) - np.median(screened))
