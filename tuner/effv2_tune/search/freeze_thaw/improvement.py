"""Computes the expected hypervolume improvement over (quality, log seconds).

Where the seconds of a candidate are known, the expectation is over its quality alone: a sum, over
the steps of the front that are slower than the candidate, of the step's width in log seconds times
the expected improvement on its quality. Where they are estimated, it is over log seconds, too,
which are normal and independent of the quality: what may be faster than all else is worth a trial.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from effv2_tune.search.freeze_thaw.curves import Warp
    from effv2_tune.search.freeze_thaw.kernel import Floats

_nodes, _weights = np.polynomial.hermite_e.hermegauss(16)
_NODES, _WEIGHTS = np.asarray(_nodes, float), np.asarray(_weights / _weights.sum(), float)
_nodes, _weights = np.polynomial.hermite_e.hermegauss(5)
_TIME_NODES, _TIME_WEIGHTS = np.asarray(_nodes, float), np.asarray(_weights / _weights.sum(), float)


class Reference(NamedTuple):
    """The corner that hypervolume is measured from."""

    quality: float
    log_seconds: float


class Front(NamedTuple):
    """A front as steps: from ``starts[k]`` on, ``qualities[k]`` is reached.

    Attributes:
        starts: [k], log seconds, rising; the first is minus infinity.
        ends: [k], of the steps; the last is the reference.
        qualities: [k], rising, from the reference on.
    """

    starts: Floats
    ends: Floats
    qualities: Floats

    @classmethod
    def of(cls, log_seconds: Floats, qualities: Floats, reference: Reference) -> Front:
        """The front of outcomes [n], in any order, those beyond the reference ignored."""
        starts, levels = [-np.inf], [reference.quality]
        for place in np.lexsort((-qualities, log_seconds)):
            if qualities[place] > levels[-1] and log_seconds[place] < reference.log_seconds:
                starts.append(log_seconds[place])
                levels.append(qualities[place])
        ends = [*starts[1:], reference.log_seconds]
        return cls(np.array(starts), np.array(ends), np.array(levels))

    @property
    def area(self) -> float:
        """The hypervolume, in quality times log seconds."""
        widths, heights = self.ends[1:] - self.starts[1:], self.qualities[1:] - self.qualities[0]
        return float(np.sum(widths * heights))


class Outcomes(NamedTuple):
    """What candidates are expected to reach.

    Attributes:
        mean: Of the warped quality [m].
        variance: Likewise [m].
        log_seconds: [m].
        seconds_error: Standard deviation of the log seconds [m]; None where all are known.
    """

    mean: Floats
    variance: Floats
    log_seconds: Floats
    seconds_error: Floats | None = None


def expected_improvement(outcomes: Outcomes, front: Front, warp: Warp) -> Floats:
    """Expected gain in area [m] of candidates.

    By Gauss-Hermite quadrature, because the plain quality is a nonlinear function of the warped
    one.
    """
    widths = _widths(front, outcomes.log_seconds, outcomes.seconds_error)
    deviations = np.sqrt(outcomes.variance)[:, None]
    draws = warp.inverse(outcomes.mean[:, None] + deviations * _NODES[None])
    gains = np.maximum(draws[:, :, None] - front.qualities[None, None], 0.0)
    return np.asarray(np.einsum("mqk,mk,q->m", gains, widths, _WEIGHTS, optimize=True))


def _widths(front: Front, log_seconds: Floats, error: Floats | None) -> Floats:
    """Of the steps of the front beside candidates, expected over their log seconds [m, k]."""
    if error is None or not error.any():
        widths = front.ends[None] - np.maximum(front.starts[None], log_seconds[:, None])
        return np.maximum(widths, 0.0)
    drawn = log_seconds + _TIME_NODES[:, None] * error
    each = front.ends - np.maximum(front.starts, drawn[:, :, None])
    return np.asarray(np.einsum("tmk,t->mk", np.maximum(each, 0.0), _TIME_WEIGHTS))
