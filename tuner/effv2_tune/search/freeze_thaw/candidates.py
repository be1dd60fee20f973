"""Draws the configs that are rated: some from the whole space, some near the front."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import qmc  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from effv2_tune.search.freeze_thaw.kernel import Floats

#: Standard deviation of a step, and probability that a dimension takes one.
Step = tuple[float, float]


def sobol_point(dimensions: int, seed: int, place: int) -> Floats:
    """Point ``place`` [1, d] of a scrambled Sobol sequence."""
    sequence = qmc.Sobol(dimensions, rng=np.random.default_rng(seed))
    if place:
        sequence.fast_forward(place)
    return np.asarray(sequence.random(1), float)


def neighbours(configs: Floats, count: int, step: Step, rng: np.random.Generator) -> Floats:
    """Configs [count, d] near given ones [n, d], each with one step at least."""
    deviation, probability = step
    base = configs[rng.integers(len(configs), size=count)]
    moved = rng.random(base.shape) < probability
    moved[np.arange(count), rng.integers(base.shape[1], size=count)] = True
    return np.clip(base + moved * deviation * rng.standard_normal(base.shape), 0.0, 1.0)
