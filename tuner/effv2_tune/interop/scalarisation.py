"""Quality and seconds as one number, weighed differently for each trial."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

#: How much the weighted sum counts beside the larger weighted loss (Knowles 2006, section III).
SUM_SHARE = 0.05


def scalar_losses(losses: Sequence[tuple[float, float]], *, seed: int, number: int) -> list[float]:
    """The augmented Chebyshev loss of each trial, with weights drawn from (seed, number).

    Each of the two losses is scaled to 0 at the least seen and 1 at the greatest. With weights
    ``w`` and ``1 - w``, ``w`` even over 0 to 1, the result is the larger of the weighted losses
    plus :data:`SUM_SHARE` times their sum. Its least value lies on the front whatever the weights,
    and each point of the front, also where that is hollow, has weights for which it lies there:
    asked anew for each trial, an engine for one objective walks along the whole front.

    Source: Knowles, "ParEGO: a hybrid algorithm with on-line landscape approximation for expensive
    multiobjective optimization problems" (2006), section III, equation 2; there the weights come
    from a fixed set.

    Args:
        losses: (quality as a loss, log seconds) of each trial, less being better.
        seed: Of the study.
        number: Of the trial that a config is wanted for.

    Returns:
        One number for each of ``losses``, from 0 to 1.05.
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
