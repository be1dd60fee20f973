"""Affine maps as two passes of products give what reading single pixels gives."""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from keras import ops
from PIL import Image

from effv2_tune.training.inputs.affine_products import affine_by_products
from effv2_tune.training.inputs.rand_augment import _resampled

SIDE = 32
RNG = np.random.default_rng(0)


def _pictures(height: int, width: int) -> np.ndarray:
    """Smooth, as photographs are."""
    coarse = RNG.integers(30, 220, (2, 5, 5, 3), np.uint8)
    size = (width, height)
    return np.stack(
        [np.asarray(Image.fromarray(one).resize(size, Image.Resampling.BICUBIC)) for one in coarse]
    ).astype(np.float32)


PICTURES = _pictures(SIDE, SIDE)


def _matrix(
    degrees: float, shear_x: float = 0.0, shear_y: float = 0.0
) -> tuple[tuple[float, ...], ...]:
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return (
        (cosine - sine * shear_y, cosine * shear_x - sine),
        (sine + cosine * shear_y, sine * shear_x + cosine),
    )


def _both(
    pictures: np.ndarray, matrix: Any, shift: tuple[float, float] = (0.0, 0.0)
) -> list[np.ndarray]:
    """By products, and pixel by pixel."""

    def each(entry: float) -> Any:
        return ops.convert_to_tensor(np.full(len(pictures), entry, np.float32))

    given_matrix = [[each(entry) for entry in row] for row in matrix]
    given_shift = [each(entry) for entry in shift]
    return [
        np.asarray(
            ops.convert_to_numpy(
                resample(ops.convert_to_tensor(pictures), given_matrix, given_shift, outside=128.0)
            )
        )
        for resample in (affine_by_products, _resampled)
    ]


def _inside(height: int, width: int, matrix: Any, shift: Any) -> np.ndarray:
    """The pixels that come from within the picture, two pixels from its edges."""
    y, x = np.mgrid[:height, :width].astype(float)
    y, x = y - (height - 1) / 2, x - (width - 1) / 2
    (xx, xy), (yx, yy) = matrix
    old_x, old_y = xx * x + xy * y + shift[0], yx * x + yy * y + shift[1]
    return (np.abs(old_x) < width / 2 - 2) & (np.abs(old_y) < height / 2 - 2)  # type: ignore[no-any-return]


@example(degrees=45.75, shears=(0.0, 0.0), shift=(0.0, 0.0), size=(24, 33))
@given(
    degrees=st.floats(-90, 90),
    shears=st.tuples(*[st.floats(-0.9, 0.9)] * 2),
    shift=st.tuples(*[st.floats(-9, 9)] * 2),
    size=st.sampled_from([(SIDE, SIDE), (24, 33)]),
)
def test_any_map_of_a_smooth_picture_is_the_same_but_for_its_blur(
    degrees: float,
    shears: tuple[float, float],
    shift: tuple[float, float],
    size: tuple[int, int],
) -> None:
    matrix = _matrix(degrees, *shears)

    pictures = PICTURES if size == (SIDE, SIDE) else OBLONG

    products, pixels = _both(pictures, matrix, shift)

    off = np.abs(products - pixels)
    assert off.mean() < 2.0
    # Linear interpolation is off by up to an eighth of the second differences along each axis.
    blur = 1.1 / 8 * sum(np.abs(np.diff(pictures, 2, axis)).max() for axis in (1, 2))
    assert off[:, _inside(*size, matrix, shift)].max(initial=0) < blur


OBLONG = _pictures(24, 33)


@pytest.mark.parametrize(
    ("matrix", "shift"),
    [
        (_matrix(0.0), (0.0, 0.0)),
        (_matrix(0.0), (-7.25, 12.5)),
        (_matrix(0.0, shear_x=0.27), (3.3, 0.0)),
        (_matrix(0.0, shear_y=-0.27), (0.0, -11.7)),
    ],
)
@pytest.mark.parametrize("pictures", [PICTURES, OBLONG], ids=["square", "oblong"])
def test_shifts_and_shears_along_one_axis_are_bilinear(
    pictures: np.ndarray, matrix: Any, shift: tuple[float, float]
) -> None:
    products, pixels = _both(pictures, matrix, shift)

    # Positions are rounded to 1/256 of a pixel; neighbours differ by up to some 60.
    np.testing.assert_allclose(products, pixels, atol=0.3)


@pytest.mark.parametrize("turns", [-1, 1, 2])
def test_quarter_turns_are_exact(turns: int) -> None:
    products, _ = _both(PICTURES, _matrix(90.0 * turns))

    np.testing.assert_allclose(products, np.rot90(PICTURES, turns, axes=(1, 2)), atol=0.01)


def test_factors_need_no_more_bits_than_a_tpu_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It multiplies bfloat16: images as the sum of two, the entries of the matrices as one."""
    pictures, matrix = PICTURES + RNG.random(PICTURES.shape, np.float32), _matrix(17.0, 0.2, -0.1)
    (exact, _), product = _both(pictures, matrix, (1.3, -2.6)), ops.einsum

    def rounded(factor: Any) -> np.ndarray:
        return ops.convert_to_numpy(factor).astype(ml_dtypes.bfloat16).astype(np.float32)

    def rounding(formula: str, lines: Any, matrices: Any) -> Any:
        high = rounded(lines)
        low = rounded(ops.convert_to_numpy(lines) - high)
        return product(formula, high + low, rounded(matrices))

    monkeypatch.setattr(ops, "einsum", rounding)
    (found, _) = _both(pictures, matrix, (1.3, -2.6))

    np.testing.assert_allclose(found, exact, atol=0.01)
