"""Decodes an image file of any mode to uint8 RGB, upright and square."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from PIL import Image

    from effv2_tune.data.dataset import Images
    from effv2_tune.data.storage_options import Fit

_SIXTEEN_BITS = 65535


class UnreadableImageError(Exception):
    """An image file that cannot be decoded.

    Args:
        path: The file.
        reason: The decoder's message.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


def size_of(path: Path) -> tuple[int, int]:
    """Width and height of an image as it is stored, from the file's header.

    The Exif orientation is ignored: it does not turn an oblong into a square, and in a PNG it may
    come after all the pixels.

    Raises:
        UnreadableImageError: If the file has no valid image header.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            return image.size
    except Exception as error:  # decoders raise whatever a broken file makes them raise
        raise UnreadableImageError(path, _reason(error)) from error


def decode(path: Path, side: int, fit: Fit) -> Images:
    """An image file as [side, side, 3] uint8; see :func:`decode_to`."""
    return decode_to(path, (side, side), fit)


def decode_to(path: Path, size: tuple[int, int], fit: Fit) -> Images:
    """An image file as [height, width, 3] uint8, where ``size`` is (width, height).

    It is turned upright by its Exif orientation; transparency is composited on white; palettes,
    grey, CMYK and other colour spaces become RGB; 16-bit grey is divided by 257; of an animation,
    the first picture counts. An image of another size is fitted by :func:`fit_to`; a JPEG that
    is at least four times too large is first decoded at 1/2, 1/4 or 1/8 of its size.

    Raises:
        UnreadableImageError: If the file is not an image, is truncated, or has float values.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            needed = 2 * max(size)  # of both sides: the image may yet be turned
            image.draft(None, (needed, needed))
            image.load()
            upright = ImageOps.exif_transpose(image)
            return np.asarray(fit_to(as_rgb(upright), size, fit))
    except Exception as error:  # decoders raise whatever a broken file makes them raise
        raise UnreadableImageError(path, _reason(error)) from error


def as_rgb(image: Image.Image) -> Image.Image:
    """``image`` in mode RGB; transparent parts over white.

    Raises:
        ValueError: If its values are floating point, or beyond 16 bits.
    """
    from PIL import Image

    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode == "F":
        raise ValueError("its values are floating point; save it with 8 bits a channel")
    if image.mode.startswith("I"):
        return _eight_bits(image).convert("RGB")
    if image.has_transparency_data:
        coloured = image.convert("RGBA")
        white = Image.new("RGBA", coloured.size, "white")
        return Image.alpha_composite(white, coloured).convert("RGB")
    return image.convert("RGB")


def fit_square(image: Image.Image, side: int, fit: Fit) -> Image.Image:
    """``image`` as a square of ``side`` pixels; see :func:`fit_to`."""
    return fit_to(image, (side, side), fit)


def fit_to(image: Image.Image, size: tuple[int, int], fit: Fit) -> Image.Image:
    """``image`` at a width and height, by bilinear interpolation with antialiasing.

    ``crop`` scales the image until it covers the size and cuts what is over evenly at both ends;
    ``pad`` scales it until it is inside and adds black at both ends; ``squash`` scales both sides.
    An image that has the size already is left as it is.
    """
    from PIL import Image, ImageOps

    if image.size == size:
        return image
    method = Image.Resampling.BILINEAR
    if fit == "crop":
        return ImageOps.fit(image, size, method)
    if fit == "pad":
        return ImageOps.pad(image, size, method, color="black")
    return image.resize(size, method)


def _eight_bits(image: Image.Image) -> Image.Image:
    from PIL import Image

    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > _SIXTEEN_BITS:
        raise ValueError("its values are beyond 16 bits; save it with 8 bits a channel")
    return Image.fromarray(np.round(values / 257).astype(np.uint8))


def _reason(error: Exception) -> str:
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):  # its message repeats the path
        return "not an image in a format that Pillow knows"
    return str(error) or type(error).__name__
