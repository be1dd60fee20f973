"""Defines the rows of bytes in which JAX stores images on an accelerator.

For uint8 [count, height, width, 3], XLA's default layout on a TPU puts the images into the lanes,
and a program that gathers a batch copies all of them first. Rows of 128 bytes are gathered as they
are stored.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Bytes of a row: the lanes of a TPU.
ROW_BYTES = 128
#: Rows of a tile of bytes.
_TILE_ROWS = 32
#: Rows up to which an image is not filled up to whole tiles: those of 32 x 32 pixels.
_SMALL_ROWS = 24


def packed_shape(image_shape: Sequence[int]) -> tuple[int, int]:
    """Rows of an image and bytes of a row; from the first row on, the image's bytes and padding.

    Args:
        image_shape: Height, width and channels, of one byte each.
    """
    rows = -(-math.prod(image_shape) // ROW_BYTES)
    if rows > _SMALL_ROWS:
        rows = -(-rows // _TILE_ROWS) * _TILE_ROWS
    return rows, ROW_BYTES


def packed_bytes(image_shape: Sequence[int]) -> int:
    """Bytes of an image in rows."""
    return math.prod(packed_shape(image_shape))
