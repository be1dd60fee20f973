"""Resizes and scales stored images for a network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from keras import ops

from effv2_tune.catalog import SCALINGS

if TYPE_CHECKING:
    from effv2_tune.catalog import Scaling
    from effv2_tune.tensor import Tensor


def preprocess(
    images: Tensor, resolution: int, *, scaling: Scaling, interpolation: str = "bilinear"
) -> Tensor:
    """Resize and scale images on the device.

    Pure, on `keras.ops`: for use inside a compiled step. An image that already has the resolution
    is not resampled. Resizing does not smooth (`antialias=False`).

    Args:
        images: [batch, height, width, 3] (or 1: grey is repeated), any dtype, in 0 to 255.
        resolution: Side of the result, in pixels.
        scaling: As the weights expect: `input_scaling`.
        interpolation: `bilinear` or `bicubic`.

    Returns:
        [batch, resolution, resolution, 3], float32.
    """
    images = ops.cast(images, "float32")
    if images.shape[-1] == 1:
        images = ops.concatenate([images, images, images], axis=-1)
    if tuple(images.shape[1:3]) != (resolution, resolution):
        images = ops.image.resize(
            images,
            (resolution, resolution),
            interpolation=interpolation,
            antialias=False,
            data_format="channels_last",
        )
    mean, divisor = (np.asarray(channels, "float32") for channels in SCALINGS[scaling])
    return (images - mean) / divisor
