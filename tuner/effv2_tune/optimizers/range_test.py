"""Proposes bounds of the learning rate from the losses of a range test.

Smith, "Cyclical Learning Rates for Training Neural Networks", arXiv 1506.01186, section 3.3: train
a few hundred steps while the learning rate rises, and note where learning begins and where it
becomes ragged. Here the rate rises exponentially, as no linear range spans what optimizers need.
This module imports no framework.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

#: The first steps, whose rates are too low to learn anything: this share of the test.
_BEFORE_SHARE = 0.1
#: The test ends early at a loss of so many times that of the first steps.
_DIVERGED_FACTOR = 4.0
#: Steps of each of the two windows that smooth the losses, as a share of the test.
_WINDOW_SHARE = 0.05
#: Shares of the whole fall of the loss: after it has fallen by the first, learning has begun; after
#: it has risen again by the second, it has become unstable.
_BEGUN_SHARE, _UNSTABLE_SHARE = 0.1, 0.25
#: The fall has to be so many times the noise of a smoothed loss.
_LEAST_FALL = 6.0
#: From the median absolute deviation of normal values to their standard deviation.
_DEVIATIONS = 1.4826
#: The lower bound of `initial_learning_rate`, as a share of the rate at which learning begins.
_FLOOR_SHARE = 0.1
_DIGITS = 2


@dataclass(frozen=True)
class Bounds:
    """A range of learning rates.

    Attributes:
        low: Its lower bound.
        high: Its upper bound.
    """

    low: float
    high: float

    @property
    def pair(self) -> tuple[float, float]:
        """Both bounds."""
        return self.low, self.high


@dataclass(frozen=True)
class RangeProposal:
    """What a range test says about a bucket.

    Attributes:
        begins: The rate at which learning begins: the smoothed loss has fallen by a tenth of its
            whole fall.
        lowest: The rate of the lowest smoothed loss.
        unstable: The rate at which it has risen again by a quarter of that fall; the highest rate
            of the test if it never has.
        initial: For `initial_learning_rate`: from a tenth of ``begins`` to the lower bound of
            ``maximal``.
        maximal: For `maximal_learning_rate`: from the geometric mean of ``begins`` and ``lowest``
            to ``unstable``.
    """

    begins: float
    lowest: float
    unstable: float
    initial: Bounds
    maximal: Bounds


def rising_rates(low: float, high: float, steps: int) -> list[float]:
    """The learning rate of each step of a test: rising exponentially, both bounds included."""
    return [float(rate) for rate in np.geomspace(low, high, steps)]


def has_diverged(losses: Sequence[float], steps: int) -> bool:
    """Whether a test can end: the newest loss is NaN, or far above those of the first steps.

    Args:
        losses: Of the steps so far.
        steps: Of the whole test.
    """
    before = losses[: max(1, int(_BEFORE_SHARE * steps))]
    newest = losses[-1]
    return not math.isfinite(newest) or newest > _DIVERGED_FACTOR * float(np.median(before))


def smoothed(losses: Sequence[float], steps: int) -> NDArray[np.float64]:
    """The losses without their noise: a running median, then a running mean, both centered.

    The median removes single batches, and neither shifts the curve towards higher rates, as an
    exponential average would.

    Args:
        losses: Of the steps; those that are not finite count as the largest one before them.
        steps: Of the whole test.
    """
    width = max(1, int(_WINDOW_SHARE * steps)) // 2 * 2 + 1
    values = np.asarray(losses, np.float64)
    highest = np.fmax.accumulate(np.where(np.isfinite(values), values, np.nan))
    values = np.where(np.isfinite(values), values, highest)
    medians = np.median(_windows(values, width), axis=1)
    return np.asarray(_windows(medians, width).mean(axis=1), np.float64)


def propose_bounds(
    rates: Sequence[float], losses: Sequence[float], *, steps: int | None = None
) -> RangeProposal | None:
    """Propose bounds of the learning rate.

    Args:
        rates: Of the steps, rising.
        losses: Of the same steps, as far as the test was run.
        steps: Of the whole test; those that were run if left out.

    Returns:
        The proposal; None where the loss does not fall by more than its noise.
    """
    steps = len(losses) if steps is None else steps
    curve = smoothed(losses, steps)
    first = max(1, int(_BEFORE_SHARE * steps))
    if len(curve) <= first:
        return None
    at_first = float(np.median(curve[:first]))
    lowest = first + int(np.argmin(curve[first:]))
    fall = at_first - float(curve[lowest])
    if not fall > _LEAST_FALL * _noise(losses, curve, steps):
        return None
    before = np.flatnonzero(curve[:lowest] >= at_first - _BEGUN_SHARE * fall)
    begun = int(before[-1]) + 1 if len(before) else 0
    after = np.flatnonzero(curve[lowest:] > curve[lowest] + _UNSTABLE_SHARE * fall)
    unstable = lowest + int(after[0]) if len(after) else len(losses) - 1
    begins, best, end = rates[begun], rates[lowest], rates[unstable]
    middle = _rounded(math.sqrt(begins * best), math.floor)
    return RangeProposal(
        begins=begins,
        lowest=best,
        unstable=end,
        initial=Bounds(_rounded(_FLOOR_SHARE * begins, math.floor), middle),
        maximal=Bounds(middle, max(_rounded(end, math.ceil), _rounded(2 * middle, math.ceil))),
    )


def joint_bounds(bounds: Sequence[Bounds]) -> Bounds:
    """The narrowest range that contains all of some ranges."""
    return Bounds(min(one.low for one in bounds), max(one.high for one in bounds))


def _noise(losses: Sequence[float], curve: NDArray[np.float64], steps: int) -> float:
    """The standard error of a smoothed loss, from the steps before anything is learned."""
    count = max(2, int(_BEFORE_SHARE * steps))
    deviations = np.abs(np.asarray(losses[:count], np.float64) - curve[:count])
    width = max(1.0, _WINDOW_SHARE * steps)
    return _DEVIATIONS * float(np.median(deviations)) / math.sqrt(width)


def _windows(values: ArrayLike, width: int) -> NDArray[np.float64]:
    """[count, width]: the values around each one; beyond the ends, their mirror image."""
    padded = np.pad(np.asarray(values, np.float64), width // 2, mode="reflect")
    return np.lib.stride_tricks.sliding_window_view(padded, width)


def _rounded(value: float, direction: Any) -> float:
    """``value`` with two significant digits, rounded down or up."""
    unit = 10.0 ** (math.floor(math.log10(value)) - _DIGITS + 1)
    return float(f"{direction(value / unit) * unit:.{_DIGITS - 1}e}")
