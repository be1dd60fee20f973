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


def small_validation_hint(images: int, quality: Quality) -> str:
    """A hint where one percentage point of accuracy is within the noise; empty where it is not.

    Args:
        images: Of the validation split.
        quality: Of the study; a loss has no noise that is known beforehand.
    """
    noise = noise_of_difference(images)
    if quality == "loss" or noise <= WANTED_DIFFERENCE:
        return ""
    enough = math.ceil(2 * TYPICAL_ACCURACY * (1 - TYPICAL_ACCURACY) / WANTED_DIFFERENCE**2)
    return (
        f"{images:,} validation images: differences under {100 * noise:.1f} points are noise (one "
        f"standard error of a difference, at an accuracy of {TYPICAL_ACCURACY}). One point takes "
        f"{enough:,} images: set a larger 'validation:' where there are more."
    )
