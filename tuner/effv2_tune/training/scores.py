"""Computes the scores of a split from counts per class; no prediction leaves the device."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from effv2_tune.pareto import binomial_error
from effv2_tune.study.trial import Scores

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

TOP = 5
#: Of the bootstrap; the standard errors of 400 resamples are known to 4 %.
_RESAMPLES = 400
_BOOTSTRAP_SEED = 0


@dataclass(frozen=True)
class Counts:
    """The counts of an evaluation.

    Attributes:
        support: Images of each class, int64 [classes].
        predicted: Images predicted as each class, int64 [classes].
        correct: Images of each class that were predicted as it, int64 [classes].
        in_top5: Images whose class is among the five most likely.
        loss_sum: Sum of the images' cross-entropies, without smoothing and class weights.
        loss_squares: Sum of their squares.
    """

    support: NDArray[np.int64]
    predicted: NDArray[np.int64]
    correct: NDArray[np.int64]
    in_top5: int
    loss_sum: float
    loss_squares: float

    def __add__(self, other: Counts) -> Counts:
        """The counts over both sets of images."""
        return Counts(*(getattr(self, one.name) + getattr(other, one.name) for one in fields(self)))

    def as_data(self) -> dict[str, Any]:
        """The same as plain values, for a checkpoint."""
        return {name: np.asarray(value).tolist() for name, value in vars(self).items()}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Counts:
        """The counts that :meth:`as_data` gave."""
        values: dict[str, Any] = {
            name: np.asarray(value, np.int64) if isinstance(value, list) else value
            for name, value in data.items()
        }
        return cls(**values)

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
        loss_squares=float(totals["loss_squares"]),
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


def standard_errors_of(counts: Counts) -> Scores:
    """The standard error of each score of ``counts``, as an estimate for all images.

    * Accuracy and top-5: binomial, corrected so that a score of 1 is not certain.
    * Balanced accuracy and macro-F1: a parametric bootstrap over the counts, with the same
      correction and a fixed seed.
    * Loss: from the variance between the images.
    """
    images = counts.images
    balanced, f1 = _bootstrap(counts)
    return Scores(
        accuracy=binomial_error(int(counts.correct.sum()) / images, images),
        balanced_accuracy=balanced,
        macro_f1=f1,
        # Among five classes or fewer, every class is in the top 5.
        top5=binomial_error(counts.in_top5 / images, images) if len(counts.support) > TOP else 0.0,
        loss=_loss_error(counts),
    )


def _loss_error(counts: Counts) -> float:
    """Of the mean loss; of a single image, the loss itself."""
    images, mean = counts.images, counts.loss_sum / counts.images
    squares = counts.loss_squares - images * mean**2
    if images == 1 or not math.isfinite(squares):
        return mean
    return math.sqrt(max(squares, 0.0) / (images - 1) / images)


def _bootstrap(counts: Counts) -> tuple[float, float]:
    """Standard errors of balanced accuracy and macro-F1.

    Images are drawn from the estimated shares of: those of each class that are correct, and the
    wrong ones. True and predicted class of a wrong one are drawn independently, as the counts know
    only their totals. Two correct and two wrong images are added to the counts, over the classes in
    proportion to their images, as Agresti and Coull (1998) do for a single share.
    """
    rng = np.random.default_rng(_BOOTSTRAP_SEED)
    classes = counts.support / counts.images
    missed = counts.support - counts.correct + 2 * classes
    mistaken = counts.predicted - counts.correct + 2 * classes
    cells = np.concatenate([counts.correct + 2 * classes, [missed.sum()]])
    drawn = rng.multinomial(counts.images + 4, cells / cells.sum(), _RESAMPLES)
    correct, wrong = drawn[:, :-1], drawn[:, -1]
    support = correct + rng.multinomial(wrong, missed / missed.sum())
    predicted = correct + rng.multinomial(wrong, mistaken / mistaken.sum())
    recalls = correct / np.maximum(support, 1)
    f1 = 2 * correct / np.maximum(support + predicted, 1)
    balanced = recalls.sum(axis=1) / (support > 0).sum(axis=1)
    macro = f1.sum(axis=1) / ((support > 0) | (predicted > 0)).sum(axis=1)
    return float(balanced.std(ddof=1)), float(macro.std(ddof=1))
