"""Applies RandAugment on the device: a few of 13 changes to each image, of one magnitude."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from keras import ops

from effv2_tune.network.running_backend import gathers_slowly
from effv2_tune.training.inputs.affine_products import affine_by_products

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Draw = Callable[[tuple[int, ...]], Any]
    Fuse = Callable[[Callable[..., Any]], Callable[..., Any]]

#: The changes, in the order in which they are made. Of the official list, histogram equalization
#: is missing, which would sort every image, and cutout, which is a separate augmentation here.
CHANGES = (
    "rotate",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
    "auto_contrast",
    "posterize",
    "solarize",
    "solarize_add",
    "color",
    "contrast",
    "brightness",
    "sharpness",
)

#: Effects of a magnitude of 10: degrees, shares of the side, bits, values from 0 to 255, factors.
_FULL = 10.0
_DEGREES = 30.0
_SHEAR = 0.3
_TRANSLATION = 0.45
_BITS = 4.0
_ADDED = 110.0
_FACTOR = 0.9

_HALF = 0.5
WHITE = 255.0
#: The middle of the scale, close to 0 after scaling.
GREY = 128.0
COLORS = 3
#: ITU-R BT.601, as in Pillow and torchvision.
LUMA = (0.299, 0.587, 0.114)
_NEIGHBOURS = 13.0  # a 3 x 3 mean in which the center counts five times, as Pillow's SMOOTH


def unfused(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as it is: inside `jax.jit`, XLA fuses it anyway."""
    return function


def rand_augment(
    images: Any, magnitude: Any, layers: Any, draw: Draw, *, fuse: Fuse = unfused
) -> Any:
    """Change each image by ``layers`` different changes, drawn at random, in a fixed order.

    Cubuk et al., arXiv 1909.13719, with changes that all grow with the magnitude, as timm's "inc".
    The five geometric ones are one affine map, sampled bilinearly; pixels from outside are grey.

    Args:
        images: [batch, height, width, channels], float32 in 0 to 255.
        magnitude: Scalar; 10 is the full strength of the scale, and more is possible.
        layers: Scalar, how many changes each image gets.
        draw: Gives uniform random numbers from [0, 1).
        fuse: Makes one kernel of a function, where XLA does not compile the whole step.
    """
    scores, signs = (draw((images.shape[0], len(CHANGES))) for _ in range(2))
    return fuse(_changed)(images, magnitude, layers, scores, signs)


def _changed(images: Any, magnitude: Any, layers: Any, scores: Any, signs: Any) -> Any:
    """The images after the changes with the lowest scores, each in the direction of its sign."""
    chosen = choose_changes(scores, layers)
    signs = ops.where(signs < _HALF, -1.0, 1.0)
    strength = magnitude / _FULL
    on = {name: chosen[:, column] for column, name in enumerate(CHANGES)}
    signed = {name: on[name] * signs[:, column] for column, name in enumerate(CHANGES)}
    images = _warped(images, signed, strength)
    images = _requantised(images, on, strength)
    return ops.clip(_enhanced(images, signed, strength), 0.0, WHITE)


def choose_changes(scores: Any, layers: Any) -> Any:
    """The ``layers`` changes of each image with the lowest scores: 1 for those, 0 for the others.

    Args:
        scores: [batch, changes].
        layers: Scalar.

    Returns:
        [batch, changes], float32.
    """
    order = ops.argsort(scores, axis=-1)
    rank = ops.cast(ops.argsort(order, axis=-1), "float32")
    return ops.cast(rank < layers, "float32")


def _warped(images: Any, signed: dict[str, Any], strength: Any) -> Any:
    """Rotate, shear and translate about the center, all at once."""
    _, height, width, _ = images.shape
    angle = signed["rotate"] * strength * math.radians(_DEGREES)
    shear_x = signed["shear_x"] * strength * _SHEAR
    shear_y = signed["shear_y"] * strength * _SHEAR
    cosine, sine = ops.cos(angle), ops.sin(angle)
    # Where a new pixel comes from: rotation after both shears.
    matrix = [
        [cosine - sine * shear_y, cosine * shear_x - sine],
        [sine + cosine * shear_y, sine * shear_x + cosine],
    ]
    shift = [
        signed["translate_x"] * strength * _TRANSLATION * width,
        signed["translate_y"] * strength * _TRANSLATION * height,
    ]
    resample = affine_by_products if gathers_slowly() else _resampled
    return resample(images, matrix, shift, outside=GREY)


def _resampled(
    images: Any, matrix: Sequence[Sequence[Any]], shift: Sequence[Any], *, outside: float
) -> Any:
    """Resample images bilinearly by an affine map; as `affine_by_products`, pixel by pixel."""
    _, height, width, _ = images.shape
    y, x = (
        ops.reshape(ops.arange(size, dtype="float32"), shape) - (size - 1) / 2
        for size, shape in ((height, (1, height, 1)), (width, (1, 1, width)))
    )

    def each(entry: Any) -> Any:
        return ops.reshape(entry, (-1, 1, 1))

    from_x, from_y = (
        each(row[0]) * x + each(row[1]) * y + each(moved) + (size - 1) / 2
        for moved, row, size in zip(shift, matrix, (width, height), strict=True)
    )
    return _sampled(images, from_y, from_x, outside=outside)


def _sampled(images: Any, y: Any, x: Any, *, outside: float) -> Any:
    """Images sampled at positions [batch, height, width], bilinearly."""
    batch, height, width, channels = images.shape
    pixels = ops.reshape(images, (batch, height * width, channels))
    top, left = ops.floor(y), ops.floor(x)
    sampled = ops.zeros_like(images)
    for row, share_y in ((top, top + 1.0 - y), (top + 1.0, y - top)):
        for column, share_x in ((left, left + 1.0 - x), (left + 1.0, x - left)):
            inside = (row >= 0) & (row <= height - 1) & (column >= 0) & (column <= width - 1)
            position = ops.clip(row, 0, height - 1) * width + ops.clip(column, 0, width - 1)
            index = ops.reshape(ops.cast(position, "int32"), (batch, height * width, 1))
            values = ops.reshape(ops.take_along_axis(pixels, index, axis=1), images.shape)
            values = ops.where(inside[..., None], values, outside)
            sampled = sampled + (share_y * share_x)[..., None] * values
    return sampled


def _requantised(images: Any, on: dict[str, Any], strength: Any) -> Any:
    """Apply auto-contrast, posterize, solarize and solarize-add."""

    def is_on(name: str) -> Any:
        return ops.reshape(on[name] > _HALF, (-1, 1, 1, 1))

    low = ops.min(images, axis=(1, 2), keepdims=True)
    high = ops.max(images, axis=(1, 2), keepdims=True)
    stretched = (images - low) * (WHITE / ops.maximum(high - low, 1.0))
    images = ops.where(is_on("auto_contrast") & (high - low >= 1.0), stretched, images)
    step = ops.power(2.0, ops.round(ops.minimum(strength * _BITS, 7.0)))
    images = ops.where(is_on("posterize"), ops.floor(images / step) * step, images)
    threshold = ops.maximum(WHITE + 1.0 - strength * (WHITE + 1.0), 0.0)
    images = ops.where(is_on("solarize") & (images >= threshold), WHITE - images, images)
    lifted = ops.minimum(images + strength * _ADDED, WHITE)
    return ops.where(is_on("solarize_add") & (images < GREY), lifted, images)


def _enhanced(images: Any, signed: dict[str, Any], strength: Any) -> Any:
    """Change color, contrast, brightness and sharpness: away from, or towards, an image without.

    As Pillow's ImageEnhance; a factor of 1 changes nothing.
    """

    def factor(name: str) -> Any:
        share = ops.maximum(1.0 + signed[name] * strength * _FACTOR, 0.0)
        return ops.reshape(share, (-1, 1, 1, 1))

    if images.shape[-1] == COLORS:
        grey = luma(images)
        images = ops.clip(grey + (images - grey) * factor("color"), 0.0, WHITE)
    average = ops.mean(luma(images), axis=(1, 2, 3), keepdims=True)
    images = ops.clip(average + (images - average) * factor("contrast"), 0.0, WHITE)
    images = ops.clip(images * factor("brightness"), 0.0, WHITE)
    smooth = _smoothed(images)
    return smooth + (images - smooth) * factor("sharpness")


def luma(images: Any) -> Any:
    """[batch, height, width, 1]: the brightness that humans perceive."""
    if images.shape[-1] != COLORS:
        return images
    return ops.sum(images * np.asarray(LUMA, np.float32), axis=-1, keepdims=True)


def _smoothed(images: Any) -> Any:
    """The mean of each pixel with its eight neighbours; the edges repeat."""
    padded = ops.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="symmetric")
    rows = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    return (rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:] + 4.0 * images) / _NEIGHBOURS
