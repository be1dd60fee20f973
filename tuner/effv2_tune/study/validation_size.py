"""Assesses whether a validation split is large enough to tell trials apart."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from effv2_tune.study.recipe import Quality

#: The accuracy at which the noise of a validation split is stated: at 0.95 it is 0.73 times as
#: large.
TYPICAL_ACCURACY = 0.9
#: Differences that a study is expected to see: one percentage point.
WANTED_DIFFERENCE = 0.01


def noise_of_difference(images: int, accuracy: float = TYPICAL_ACCURACY) -> float:
    """One standard error of the difference of two accuracies, each on so many images (binomial)."""
    return math.sqrt(2 * accuracy * (1 - accuracy) / images)


def small_validation_hint(images: int, quality: Quality, *, folds: int = 1) -> str:
    """A hint where one percentage point of accuracy is within the noise; empty where it is not.

    Args:
        images: That the quality is measured on: the validation split, or those of all folds.
        quality: Of the study; a loss has no noise that is known beforehand.
        folds: Of the training images.
    """
    noise = noise_of_difference(images)
    if quality == "loss" or noise <= WANTED_DIFFERENCE:
        return ""
    enough = math.ceil(2 * TYPICAL_ACCURACY * (1 - TYPICAL_ACCURACY) / WANTED_DIFFERENCE**2)
    what, advice = (
        "validation images",
        (": set a larger 'validation:', or 'folds:' to validate on every training image once"),
    )
    if folds > 1:
        what, advice = f"validation images in {folds} folds", ""
    return (
        f"{images:,} {what}: differences under {100 * noise:.1f} points are noise (one standard "
        f"error of a difference, at an accuracy of {TYPICAL_ACCURACY}). One point takes "
        f"{enough:,} images{advice}."
    )


def folds_text(folds: int) -> str:
    """What follows the counts of images where they are those of the first fold; else empty."""
    return f"; the first of {folds} folds" if folds > 1 else ""
