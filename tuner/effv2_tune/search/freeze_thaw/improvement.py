"""Computes the expected hypervolume improvement over (quality, log seconds).

The seconds of a candidate are known, so the expectation is over its quality alone: a sum, over the
steps of the front that are slower than the candidate, of the step's width in log seconds times the
expected improvement on its quality.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from effv2_tune.search.freeze_thaw.curves import Warp
    from effv2_tune.search.freeze_thaw.kernel import Floats

_nodes, _weights = np.polynomial.hermite_e.hermegauss(16)
_NODES, _WEIGHTS = np.asarray(_nodes, float), np.asarray(_weights / _weights.sum(), float)


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


def expected_improvement(
    mean: Floats, variance: Floats, log_seconds: Floats, front: Front, warp: Warp
) -> Floats:
    """Expected gain in area [m] of candidates with these warped qualities and log seconds [m].

    By Gauss-Hermite quadrature, because the plain quality is a nonlinear function of the warped
    one.
    """
    widths = front.ends[None] - np.maximum(front.starts[None], log_seconds[:, None])
    draws = warp.inverse(mean[:, None] + np.sqrt(variance)[:, None] * _NODES[None])
    gains = np.maximum(draws[:, :, None] - front.qualities[None, None], 0.0)
    return np.asarray(
        np.einsum("mqk,mk,q->m", gains, np.maximum(widths, 0.0), _WEIGHTS, optimize=True)
    )
