"""Summarizes a score of trainings of one recipe with several seeds."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING

from effv2_tune.pareto.estimates import SEED_SHARE
from effv2_tune.study.base import Value

if TYPE_CHECKING:
    from collections.abc import Sequence


class SeedSummary(Value):
    """A score over trainings that differ in their seed alone.

    Attributes:
        mean: Over the trainings.
        deviation: Standard deviation between them; None of a single training.
        seed_standard_error: Of the mean, as an estimate for all seeds on these very images:
            ``deviation`` divided by the root of their number; None likewise.
        standard_error: Of the mean, as an estimate for all seeds and all images.
        values: One for each training.
    """

    mean: float
    deviation: float | None
    seed_standard_error: float | None
    standard_error: float
    values: tuple[float, ...]


def summarize_seeds(values: Sequence[float], standard_errors: Sequence[float]) -> SeedSummary:
    """Summarize a score that several trainings have on the same images.

    More seeds average out the seed's part of the error, and leave that of the choice of the images,
    which all trainings share. The share of the seed is the greater one of what these trainings show
    and of what is usual (``SEED_SHARE``): a few seeds may agree by chance.

    Args:
        values: Of each training.
        standard_errors: Of each of them alone, as an estimate for all images.

    Raises:
        ValueError: There is no training.
    """
    count = len(values)
    if count == 0 or len(standard_errors) != count:
        raise ValueError("a score and a standard error of at least one training are needed")
    deviation = statistics.stdev(values) if count > 1 else None
    single = statistics.fmean(error**2 for error in standard_errors)
    between = max((deviation or 0.0) ** 2, SEED_SHARE * single)
    return SeedSummary(
        mean=statistics.fmean(values),
        deviation=deviation,
        seed_standard_error=None if deviation is None else deviation / math.sqrt(count),
        standard_error=math.sqrt((1 - SEED_SHARE) * single + between / count),
        values=tuple(values),
    )
