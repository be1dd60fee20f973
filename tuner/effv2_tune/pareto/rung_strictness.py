"""Computes how strict a rung may be, from how well it has predicted the ends of trials."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

#: Rank correlations: a rung with the first one or less has no strictness, with the second one all.
_LEAST, _MOST = 0.5, 0.8


class FullCurve(NamedTuple):
    """A complete trial at a rung.

    Attributes:
        at_rung: Its quality there.
        at_end: Its quality at the end.
    """

    at_rung: float
    at_end: float


def strictness(full: Sequence[FullCurve], seen: Sequence[float]) -> float:
    """How strict a rung may be, from 0 to 1.

    It is 0 up to a rank correlation of .5 between the quality at the rung and at the end, 1 from .8
    on, and linear between.

    Args:
        full: The complete trials, at the rung.
        seen: The qualities of all trials that have reached the rung, these included.
    """
    correlation = corrected_correlation(full, seen)
    return min(max((correlation - _LEAST) / (_MOST - _LEAST), 0.0), 1.0)


def corrected_correlation(full: Sequence[FullCurve], seen: Sequence[float]) -> float:
    """The rank correlation that all trials would have, had none been stopped; 0 where undefined.

    Complete trials are mostly those that were good at the rung, and within a narrow range any two
    qualities correlate less. With u the ratio of the standard deviations of ranks at the rung, of
    all trials to the complete ones, the correction for direct selection (Thorndike, "Personnel
    Selection", 1949, case 2) is r u / sqrt(1 - r² + r² u²).

    Args:
        full: As of :func:`strictness`.
        seen: Likewise.
    """
    at_rung = np.array([one.at_rung for one in full])
    spearman = rank_correlation(at_rung, np.array([one.at_end for one in full]))
    everyone = np.array(seen)
    deviation = float(np.std(_ranks(at_rung, everyone)))
    if spearman == 0 or deviation == 0:
        return 0.0
    ratio = max(float(np.std(_ranks(everyone, everyone))) / deviation, 1.0)
    return spearman * ratio / math.sqrt(1 - spearman**2 + (spearman * ratio) ** 2)


def rank_correlation(a: Floats, b: Floats) -> float:
    """Spearman's rank correlation, ties at their mean rank; 0 where one of them is constant."""
    ranks_a, ranks_b = _ranks(a, a), _ranks(b, b)
    spread = float(np.std(ranks_a) * np.std(ranks_b))
    if spread == 0:
        return 0.0
    return float(np.mean((ranks_a - ranks_a.mean()) * (ranks_b - ranks_b.mean()))) / spread


def _ranks(values: Floats, among: Floats) -> Floats:
    """The mean ranks of values [n] among others [m]: [n]."""
    below = (among[None] < values[:, None]).sum(axis=1)
    equal = (among[None] == values[:, None]).sum(axis=1)
    return np.asarray(below + equal / 2)
