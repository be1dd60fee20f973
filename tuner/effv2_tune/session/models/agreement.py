"""Compares the outputs of an exported model with those of the Keras model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from effv2_tune.study.base import Value

if TYPE_CHECKING:
    import numpy.typing as npt

#: Images that every exported model is compared on.
IMAGES = 32
#: The largest difference of a probability. Runtimes add float32 in another order: differences of
#: 1e-6 to 1e-5 are usual, and a wrong resize or scaling makes those of 1e-2 and more.
TOLERANCE = 1e-4
_BLOBS = 6
_SEED = 0


class Agreement(Value):
    """How an exported model compares with the Keras model.

    Attributes:
        images: Images that they were compared on.
        same_top1: Images for which both have the same most probable class.
        largest_difference: Of any probability of any image.
    """

    images: int
    same_top1: int
    largest_difference: float

    @property
    def is_close(self) -> bool:
        """Whether the most probable class is the same everywhere, and all probabilities agree."""
        return self.same_top1 == self.images and self.largest_difference <= TOLERANCE

    def sentence(self) -> str:
        """The figures in words."""
        return (
            f"the same top-1 class as the Keras model on {self.same_top1} of {self.images} images; "
            f"probabilities differ by up to {self.largest_difference:.1e} (tolerance "
            f"{TOLERANCE:.0e})"
        )


def agreement_of(expected: npt.NDArray[np.float32], found: npt.NDArray[np.float32]) -> Agreement:
    """Compare probabilities, [images, classes] each.

    Where the two most probable classes of an image are closer to each other than the tolerance
    allows either model to err, both count as its most probable class.
    """
    rows = np.arange(len(expected))
    behind = expected.max(axis=1) - expected[rows, found.argmax(axis=1)]
    return Agreement(
        images=len(expected),
        same_top1=int((behind <= 2 * TOLERANCE).sum()),
        largest_difference=float(np.abs(expected - found).max()),
    )


def probe_images(height: int, width: int, count: int = IMAGES) -> npt.NDArray[np.uint8]:
    """Colored blobs on noise, [count, height, width, 3]: the same ones at every call.

    They have large and small structures, so that a wrong resize, channel order or scaling shows.
    """
    rng = np.random.default_rng(_SEED)
    y, x = np.mgrid[:height, :width][..., None] / max(height, width)
    images = np.empty((count, height, width, 3), np.uint8)
    for row in range(count):
        picture = np.full((height, width, 3), rng.uniform(0, 255, 3))
        for _ in range(_BLOBS):
            center_y, center_x, radius = rng.uniform(0.0, 1.0, 3)
            distance = ((y - center_y) ** 2 + (x - center_x) ** 2) / (0.05 + radius) ** 2
            picture += np.exp(-4 * distance) * rng.uniform(-255, 255, 3)
        picture += rng.normal(0, 12, picture.shape)
        images[row] = np.clip(picture, 0, 255).astype(np.uint8)
    return images
