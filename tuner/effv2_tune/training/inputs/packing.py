"""Packs stored images into the rows in which accelerators gather them, and unpacks batches."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from effv2_tune.image_rows import packed_bytes, packed_shape

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from effv2_tune.training.inputs.pipeline import Source


@dataclass(frozen=True)
class PackedImages:
    """The images of a split, each in rows of 128 bytes; see :class:`pipeline.Source`.

    Attributes:
        images: Not packed.
        image_shape: Of one of them.
    """

    images: Source
    image_shape: tuple[int, ...]

    @property
    def labels(self) -> NDArray[np.int32]:
        """[count]."""
        return self.images.labels

    @property
    def nbytes(self) -> int:
        """Of all images, with their padding."""
        return len(self.labels) * packed_bytes(self.image_shape)

    def take(self, positions: NDArray[np.int32]) -> NDArray[np.uint8]:
        """[positions, rows, 128]."""
        return packed(self.images.take(positions))

    def whole(self) -> NDArray[np.uint8]:
        """[count, rows, 128]."""
        return packed(self.images.whole())


def packed_sources(sources: Mapping[str, Source]) -> dict[str, Source]:
    """The same splits with images in rows; features are left as they are."""
    return {
        name: source if source.image_shape is None else PackedImages(source, source.image_shape)
        for name, source in sources.items()
    }


def packed(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Images [count, height, width, channels] as [count, rows, 128]; a view if none is padded."""
    count, *image_shape = images.shape
    padding = packed_bytes(image_shape) - math.prod(image_shape)
    flat = images.reshape(count, math.prod(image_shape))
    if padding:
        flat = np.pad(flat, ((0, 0), (0, padding)))
    return flat.reshape(count, *packed_shape(image_shape))


def unpacked(batch: Any, image_shape: Sequence[int]) -> Any:
    """A stored batch of images as [batch, height, width, channels].

    Args:
        batch: [batch, rows, 128]; or images that are not packed, which are returned as they are.
        image_shape: Height, width and channels.
    """
    if len(batch.shape) != len(packed_shape(image_shape)) + 1:
        return batch
    flat = batch.reshape(len(batch), math.prod(batch.shape[1:]))
    return flat[:, : math.prod(image_shape)].reshape(len(batch), *image_shape)
