"""Augments training images on the device, at random; every magnitude is an input.

An augmentation is a function from images [batch, height, width, channels], float32 in 0 to 255, to
the same. Random numbers are an argument: ``draw(shape)`` gives uniform ones from [0, 1), different
at each call. The kinds of augmentation are compiled into the step, their magnitudes are not. How
much a step mixes is drawn on the host, by `shuffling.epoch_mixing`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from keras import ops

from effv2_tune.network.running_backend import exact_products
from effv2_tune.training.inputs.rand_augment import (
    COLORS,
    GREY,
    LUMA,
    WHITE,
    luma,
    rand_augment,
    unfused,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from effv2_tune.study.recipe import Recipe
    from effv2_tune.training.inputs.rand_augment import Draw, Fuse

_HALF = 0.5
#: RGB to the YIQ color space, whose first row is the luma.
_TO_YIQ = np.array([LUMA, (0.596, -0.274, -0.322), (0.211, -0.523, 0.312)], np.float32)
_FROM_YIQ = np.linalg.inv(_TO_YIQ).astype(np.float32)

_MAGNITUDES = (
    "crop_padding",
    "random_crop",
    "random_crop_aspect",
    "brightness",
    "contrast",
    "saturation",
    "hue",
    "rand_augment",
    "rand_augment_layers",
    "cutout",
)


def augmentation_magnitudes(recipe: Recipe) -> dict[str, float]:
    """The magnitudes that :func:`augment` takes, by name."""
    return {name: float(getattr(recipe, name)) for name in _MAGNITUDES}


def augment(
    images: Any,
    *,
    kinds: tuple[str, ...],
    magnitudes: Mapping[str, Any],
    draw: Draw,
    resolution: int,
    mirrored: Any = None,
    fuse: Fuse = unfused,
) -> Any:
    """Change a batch of training images at random.

    Args:
        images: [batch, height, width, channels], float32 in 0 to 255.
        kinds: Which augmentations: of the bucket key.
        magnitudes: By name, as scalars.
        draw: Gives uniform random numbers from [0, 1).
        resolution: Side of what a random crop gives, in pixels.
        mirrored: [batch], bool: the images that alternating flips mirror.
        fuse: Makes one kernel of a function, as `rand_augment` takes it.

    Returns:
        Images of the same shape; [batch, resolution, resolution, channels] after a random crop.
    """
    if "crop" in kinds:
        images = padded_crop(images, magnitudes["crop_padding"], draw)
    if "random_crop" in kinds:
        images = random_crop(
            images, magnitudes["random_crop"], magnitudes["random_crop_aspect"], draw, resolution
        )
    if "flip" in kinds:
        images = flip(images, draw)
    if "alternating_flip" in kinds:
        images = mirror(images, ops.reshape(mirrored, (-1, 1, 1, 1)))
    if "color" in kinds:
        images = jitter_colors(images, magnitudes, draw)
    if "rand_augment" in kinds:
        images = rand_augment(
            images,
            magnitudes["rand_augment"],
            magnitudes["rand_augment_layers"],
            draw,
            fuse=fuse,
        )
    if "cutout" in kinds:
        images = cutout(images, magnitudes["cutout"], draw)
    return images


def flip(images: Any, draw: Draw) -> Any:
    """Mirror each image with probability one half, left to right."""
    return mirror(images, is_mirrored(images.shape[0], draw))


def mirror(images: Any, mirrored: Any) -> Any:
    """Mirror some images of a batch, left to right: those where [batch, 1, 1, 1] is true."""
    return ops.where(mirrored, ops.flip(images, axis=2), images)


def is_mirrored(batch: int, draw: Draw) -> Any:
    """Which images of a batch are mirrored: [batch, 1, 1, 1], true with probability one half."""
    return draw((batch, 1, 1, 1)) < _HALF


def padded_crop(images: Any, padding: Any, draw: Draw) -> Any:
    """Shift each image by up to ``padding`` pixels each way; zeros come in.

    The same as padding with zeros and cropping back at random (He et al., arXiv 1512.03385,
    section 4.2).

    Args:
        images: [batch, height, width, channels].
        padding: Whole number as a float scalar; 0 changes nothing.
        draw: Gives uniform random numbers from [0, 1).
    """
    batch, height, width, _ = images.shape
    shifts = ops.floor(draw((batch, 2)) * (2.0 * padding + 1.0)) - padding
    # Whole numbers up to 256 are exact even in bfloat16, which a TPU multiplies by default.
    return _resample(
        images, _shift_matrices(shifts[:, 0], height), _shift_matrices(shifts[:, 1], width)
    )


def random_crop(
    images: Any, smallest_area: Any, widest_aspect: Any, draw: Draw, resolution: int
) -> Any:
    """Stretch a random rectangle of each image to a square.

    Szegedy et al., arXiv 1409.4842, section 6. Bilinear, smoothed where it shrinks.

    Args:
        images: [batch, height, width, channels].
        smallest_area: Of the rectangle, as a share of the image's; the area is uniform above it.
        widest_aspect: Width over height is log-uniform between its inverse and it.
        draw: Gives uniform random numbers from [0, 1).
        resolution: Side of the square, in pixels.

    Returns:
        [batch, resolution, resolution, channels].
    """
    batch, height, width, _ = images.shape
    uniform = draw((batch, 4))
    area = smallest_area + (1.0 - smallest_area) * uniform[:, 0]
    stretch = ops.exp((uniform[:, 1] - _HALF) * ops.log(widest_aspect))
    tall = ops.minimum(ops.sqrt(area) / stretch, 1.0)
    wide = ops.minimum(ops.sqrt(area) * stretch, 1.0)
    rows = _window_matrices((1.0 - tall) * uniform[:, 2], tall, height, resolution)
    columns = _window_matrices((1.0 - wide) * uniform[:, 3], wide, width, resolution)
    with exact_products():
        return _resample(images, rows, columns)


def jitter_colors(images: Any, magnitudes: Mapping[str, Any], draw: Draw) -> Any:
    """Change brightness, contrast, saturation and hue of each image, as torchvision's ColorJitter.

    In this order; grey images have neither saturation nor hue. Hue turns in the YIQ color space.
    """
    batch, *_, channels = images.shape
    uniform = 2.0 * draw((batch, 4)) - 1.0

    def factor(column: int, magnitude: Any) -> Any:
        return ops.reshape(1.0 + uniform[:, column] * magnitude, (-1, 1, 1, 1))

    images = ops.clip(images * factor(0, magnitudes["brightness"]), 0.0, WHITE)
    average = ops.mean(luma(images), axis=(1, 2, 3), keepdims=True)
    images = average + (images - average) * factor(1, magnitudes["contrast"])
    if channels == COLORS:
        grey = luma(images)
        images = grey + (images - grey) * factor(2, magnitudes["saturation"])
        with exact_products():
            turns = _hue_matrices(2.0 * math.pi * uniform[:, 3] * magnitudes["hue"])
            images = ops.einsum("bhwc,bdc->bhwd", images, turns)
    return ops.clip(images, 0.0, WHITE)


def cutout(images: Any, side: Any, draw: Draw) -> Any:
    """Cut a square out of each image.

    DeVries and Taylor, arXiv 1708.04552: its center is anywhere in the image.

    Args:
        images: [batch, height, width, channels].
        side: Of the square, as a share of the image's side.
        draw: Gives uniform random numbers from [0, 1).
    """
    batch, height, width, _ = images.shape
    middles = draw((batch, 2))
    inside = (
        _stripe(middles[:, 0], side, height)[:, :, None, None]
        & (_stripe(middles[:, 1], side, width)[:, None, :, None])
    )
    return ops.where(inside, GREY, images)


def mix(images: Any, targets: Any, *, kinds: tuple[str, ...], mixing: Any) -> tuple[Any, Any]:
    """Blend each image, or a rectangle of it, and its target with another one of the batch.

    Zhang et al., arXiv 1710.09412 (mixup), and Yun et al., arXiv 1905.04899 (CutMix); one draw for
    the whole batch, as in timm.

    Args:
        images: [batch, height, width, channels].
        targets: [batch, classes], probabilities times the weight of each image.
        kinds: Which augmentations: of the bucket key.
        mixing: Share of the image itself in mixup, and in CutMix; center of CutMix' rectangle, as
            shares of height and width. From `effv2_tune.training.inputs.shuffling.epoch_mixing`.

    Returns:
        Images and targets.
    """
    if "mixup" in kinds:
        share = mixing[0]
        images = share * images + (1.0 - share) * ops.flip(images, axis=0)
        targets = share * targets + (1.0 - share) * ops.flip(targets, axis=0)
    if "cutmix" in kinds:
        _, height, width, _ = images.shape
        side = ops.sqrt(1.0 - mixing[1])
        inside = ops.cast(
            _stripe(mixing[2:3], side, height)[:, :, None, None]
            & _stripe(mixing[3:4], side, width)[:, None, :, None],
            "float32",
        )
        # The rectangle may extend beyond the image: only its visible part counts.
        pasted = ops.mean(inside)
        images = images + inside * (ops.flip(images, axis=0) - images)
        targets = (1.0 - pasted) * targets + pasted * ops.flip(targets, axis=0)
    return images, targets


def _resample(images: Any, rows: Any, columns: Any) -> Any:
    """Make each new row a sum of old rows, likewise columns: fast on a matrix unit."""
    return ops.einsum("byh,bhwc,bxw->byxc", rows, images, columns)


def _shift_matrices(shifts: Any, size: int) -> Any:
    """[batch, size, size]: row i picks element i + shift, or nothing; exact."""
    to = ops.reshape(ops.arange(size, dtype="float32"), (1, size, 1))
    source = ops.reshape(ops.arange(size, dtype="float32"), (1, 1, size))
    return ops.cast(ops.equal(to + ops.reshape(shifts, (-1, 1, 1)), source), "float32")


def _window_matrices(start: Any, length: Any, size: int, resolution: int) -> Any:
    """[batch, resolution, size]: resampling of the window at ``start``, ``length`` long.

    Both as shares of ``size``. Triangles as wide as a new pixel, or an old one if that is wider.
    """
    scale = ops.reshape(length, (-1, 1, 1)) * (size / resolution)
    steps = ops.reshape(ops.arange(resolution, dtype="float32") + _HALF, (1, resolution, 1))
    at = ops.reshape(start, (-1, 1, 1)) * float(size) + steps * scale - _HALF
    source = ops.reshape(ops.arange(size, dtype="float32"), (1, 1, size))
    weights = ops.maximum(1.0 - ops.abs(at - source) / ops.maximum(scale, 1.0), 0.0)
    return weights / ops.sum(weights, axis=-1, keepdims=True)


def _stripe(middle: Any, side: Any, size: int) -> Any:
    """[batch, size]: which pixels are within half of ``side`` of ``middle``, shares of ``size``."""
    at = ops.reshape(ops.arange(size, dtype="float32") + _HALF, (1, size)) / size
    return ops.abs(at - ops.reshape(middle, (-1, 1))) < _HALF * side


def _hue_matrices(angles: Any) -> Any:
    """[batch, 3, 3]: RGB to RGB, the hue turned by an angle in radians."""
    cosine, sine = ops.cos(angles), ops.sin(angles)
    zero, one = ops.zeros_like(angles), ops.ones_like(angles)
    entries = [one, zero, zero, zero, cosine, -sine, zero, sine, cosine]
    turns = ops.reshape(ops.stack(entries, axis=-1), (-1, 3, 3))
    return ops.matmul(ops.matmul(_FROM_YIQ, turns), _TO_YIQ)
