"""Scalarizes quality and training seconds with random weights (ParEGO)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Weight of the sum beside the larger weighted loss (Knowles 2006, section III).
SUM_SHARE = 0.05


def scalar_losses(losses: Sequence[tuple[float, float]], *, seed: int, number: int) -> list[float]:
    """Compute the augmented Chebyshev loss of each trial, with weights from (seed, number).

    Each of the two losses is scaled to 0 at the lowest seen and 1 at the highest. With weights
    ``w`` and ``1 - w``, ``w`` uniform over 0 to 1, the result is the larger of the weighted losses
    plus :data:`SUM_SHARE` times their sum. Its minimum is on the Pareto front whatever the weights,
    and each point of the front, concave parts included, is the minimum for some weights: with new
    weights for each trial, a single-objective engine explores the whole front.

    Source: Knowles, "ParEGO: a hybrid algorithm with on-line landscape approximation for expensive
    multiobjective optimization problems" (2006), section III, equation 2; there the weights come
    from a fixed set.

    Args:
        losses: (quality as a loss, log seconds) of each trial, less being better.
        seed: Of the study.
        number: Of the trial to be sampled.

    Returns:
        One loss for each trial, from 0 to 1.05.
    """
    if not losses:
        return []
    points = np.asarray(losses, float)
    low, high = points.min(axis=0), points.max(axis=0)
    scaled = (points - low) / np.where(high > low, high - low, 1.0)
    weight = np.random.default_rng([seed, number]).random()
    weighted = scaled * np.array([weight, 1.0 - weight])
    summed = weighted.max(axis=1) + SUM_SHARE * weighted.sum(axis=1)
    return [float(loss) for loss in summed]
