"""Applies an affine map to images as matrix products, where single pixels are read slowly.

Two passes, each of which interpolates linearly along one axis (Catmull and Smith, SIGGRAPH 1980):
a row of pixels is a product with a matrix that has two entries in each row. Shifts and shears along
one axis give what bilinear interpolation gives; rotations differ by the blur of the two passes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
from keras import ops

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Positions are rounded to this part of a pixel, so that the matrices are exact in bfloat16.
_PARTS = 256.0
#: Images have 16 bits then, which takes a TPU two passes instead of six.
_PRECISION = {"precision": ("high", "default")} if keras.config.backend() == "jax" else {}


def affine_by_products(
    images: Any, matrix: Sequence[Sequence[Any]], shift: Sequence[Any], *, outside: float
) -> Any:
    """Resample images by an affine map about their centers, of any angle.

    Args:
        images: [batch, height, width, channels], float32 from 0 to 255.
        matrix: From new to old positions, x before y; each entry [batch].
        shift: Of the old positions in pixels, x before y; each [batch].
        outside: Value beyond the edges, a whole number.

    Returns:
        Images of the same shape.
    """
    _, height, width, _ = images.shape
    side = max(height, width)
    shift = [
        moved + middle - row[0] * (width - 1) / 2 - row[1] * (height - 1) / 2
        for row, moved, middle in zip(
            matrix, shift, ((width - 1) / 2, (height - 1) / 2), strict=True
        )
    ]
    # Whatever is beyond the edges is zero, as a product makes it.
    square = ops.pad(images - outside, ((0, 0), (0, side - height), (0, side - width), (0, 0)))
    return _in_two_passes(square, matrix, shift)[:, :height, :width] + outside


def _in_two_passes(images: Any, matrix: Sequence[Sequence[Any]], shift: Sequence[Any]) -> Any:
    """Resample square images by positions from 0: along rows, then along columns.

    The entry that leads from new to old rows divides, so axes are exchanged to make it the largest.
    """
    ((xx, xy), (yx, yy)), (x_shift, y_shift) = matrix, shift
    new_axes = ops.maximum(ops.abs(xx), ops.abs(yx)) > ops.maximum(ops.abs(xy), ops.abs(yy))
    (xx, xy), (yx, yy) = _exchanged(new_axes, xx, xy), _exchanged(new_axes, yx, yy)
    old_axes = ops.abs(xy) > ops.abs(yy)
    (xx, yx), (xy, yy) = _exchanged(old_axes, xx, yx), _exchanged(old_axes, xy, yy)
    x_shift, y_shift = _exchanged(old_axes, x_shift, y_shift)
    places = ops.arange(images.shape[1], dtype="float32")
    ahead, across = places[None, None, :], places[None, :, None]

    def each(entry: Any) -> Any:
        return ops.reshape(entry, (-1, 1, 1))

    slope = xy / yy
    stretched = each(xx - slope * yx) * ahead + each(slope) * (across - each(y_shift))
    rows = ops.transpose(_transposed(old_axes, images), (0, 1, 3, 2))
    rows = _interpolated(rows, stretched + each(x_shift))
    columns = ops.transpose(rows, (0, 3, 2, 1))
    columns = _interpolated(columns, each(yx) * across + each(yy) * ahead + each(y_shift))
    moved = ops.transpose(columns, (0, 1, 3, 2))
    return _transposed(ops.logical_not(new_axes), moved)


def _exchanged(which: Any, one: Any, other: Any) -> tuple[Any, Any]:
    return ops.where(which, other, one), ops.where(which, one, other)


def _transposed(which: Any, images: Any) -> Any:
    """Those images [batch, side, side, channels] transposed, the others as they are."""
    turned = ops.transpose(images, (0, 2, 1, 3))
    return ops.where(ops.reshape(which, (-1, 1, 1, 1)), turned, images)


def _interpolated(lines: Any, positions: Any) -> Any:
    """Lines [batch, lines, channels, side] at positions [batch, lines, side]; zero beyond them.

    With pixels last on both sides, of the product and of the matrices, a TPU is fastest.
    """
    positions = ops.expand_dims(ops.round(positions * _PARTS) / _PARTS, 2)
    places = ops.expand_dims(ops.arange(lines.shape[-1], dtype="float32"), 1)
    matrices = ops.maximum(1.0 - ops.abs(positions - places), 0.0)
    return ops.einsum("blcs,blsi->blci", lines, matrices, **_PRECISION)
