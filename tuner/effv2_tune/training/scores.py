"""Computes the scores of a split from counts per class; no prediction leaves the device."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from effv2_tune.study.trial import Scores

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

TOP = 5


@dataclass(frozen=True)
class Counts:
    """The counts of an evaluation.

    Attributes:
        support: Images of each class, int64 [classes].
        predicted: Images predicted as each class, int64 [classes].
        correct: Images of each class that were predicted as it, int64 [classes].
        in_top5: Images whose class is among the five most likely.
        loss_sum: Sum of the images' cross-entropies, without smoothing and class weights.
    """

    support: NDArray[np.int64]
    predicted: NDArray[np.int64]
    correct: NDArray[np.int64]
    in_top5: int
    loss_sum: float

    @property
    def images(self) -> int:
        """How many images were counted."""
        return int(self.support.sum())


def sum_counts(batches: Iterable[Mapping[str, Any]]) -> Counts:
    """Add up the results of `loss.evaluation_counts` for each batch."""
    totals: dict[str, Any] = {}
    for batch in batches:
        for name, value in batch.items():
            # Batch sums are whole and far below 2**24: exact in float32.
            totals[name] = totals.get(name, 0) + np.asarray(value, np.float64)
    return Counts(
        support=totals["support"].astype(np.int64),
        predicted=totals["predicted"].astype(np.int64),
        correct=totals["correct"].astype(np.int64),
        in_top5=int(totals["in_top5"]),
        loss_sum=float(totals["loss_sum"]),
    )


def scores_of(counts: Counts) -> Scores:
    """The scores of ``counts``.

    Balanced accuracy is the mean recall over the classes that occur; macro-F1 the mean F1 over the
    classes that occur or were predicted, as in scikit-learn. With five classes or fewer, top-5
    accuracy is 1.
    """
    occurring = counts.support > 0
    seen = occurring | (counts.predicted > 0)
    recalls = counts.correct[occurring] / counts.support[occurring]
    f1 = 2 * counts.correct[seen] / (counts.support[seen] + counts.predicted[seen])
    return Scores(
        accuracy=int(counts.correct.sum()) / counts.images,
        balanced_accuracy=float(recalls.mean()),
        macro_f1=float(f1.mean()),
        top5=counts.in_top5 / counts.images,
        loss=counts.loss_sum / counts.images,
    )


def standard_error(accuracy: float, images: int) -> float:
    """Standard error of an accuracy that was measured on so many images (binomial)."""
    return math.sqrt(accuracy * (1 - accuracy) / images)
