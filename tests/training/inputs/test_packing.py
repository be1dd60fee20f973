"""Images in rows of bytes are the same images."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from effv2_tune.data.dataset import Split
from effv2_tune.image_rows import ROW_BYTES, packed_bytes, packed_shape
from effv2_tune.training.inputs.packing import PackedImages, packed, packed_sources, unpacked
from effv2_tune.training.inputs.pipeline import ImageSource, device_data

SIDES = st.integers(1, 80)


def images_of(count: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, *shape), np.uint8)


@given(count=st.integers(0, 3), height=SIDES, width=SIDES, channels=st.integers(1, 4))
def test_unpacking_gives_the_packed_pixels(
    count: int, height: int, width: int, channels: int
) -> None:
    images = images_of(count, height, width, channels)

    rows = packed(images)

    assert rows.shape == (count, *packed_shape(images.shape[1:]))
    assert rows.nbytes == count * packed_bytes(images.shape[1:])
    np.testing.assert_array_equal(unpacked(rows, images.shape[1:]), images)


@given(height=SIDES, width=SIDES, channels=st.integers(1, 4))
def test_an_image_is_filled_up_to_whole_tiles_of_32_rows_above_24_rows(
    height: int, width: int, channels: int
) -> None:
    rows, row_bytes = packed_shape((height, width, channels))

    filling = rows * row_bytes - height * width * channels
    assert 0 <= filling < (ROW_BYTES if rows <= 24 else 32 * ROW_BYTES)
    assert rows <= 24 or rows % 32 == 0


@pytest.mark.parametrize(
    ("side", "rows"), [(8, 2), (32, 24), (96, 224), (224, 1184), (300, 2112), (384, 3456)]
)
def test_images_of_these_sides_take_so_many_rows(side: int, rows: int) -> None:
    assert packed_shape((side, side, 3)) == (rows, 128)


def test_images_that_are_not_packed_stay_as_they_are() -> None:
    images = images_of(2, 9, 9, 3)

    assert unpacked(images, (9, 9, 3)) is images


def test_images_without_padding_are_packed_without_a_copy() -> None:
    images = images_of(2, 32, 32, 3)

    assert np.shares_memory(packed(images), images)


def test_the_limit_of_residency_counts_packed_bytes() -> None:
    images = images_of(10, 9, 9, 3)  # 243 bytes each, and two rows of 128
    source = ImageSource(Split(images, np.zeros(10, np.int32)))
    (train,) = packed_sources({"train": source}).values()
    assert isinstance(train, PackedImages)
    assert (source.nbytes, train.nbytes) == (2430, 2560)

    placed = [
        device_data(
            {"train": train},
            limit=limit,
            place_all=lambda source: (source.whole(), source.labels),
            place_batch=lambda rows, labels: (rows, labels),
        )["train"]
        for limit in (2559, 2560)
    ]

    assert [type(one).__name__ for one in placed] == ["Streamed", "Resident"]
