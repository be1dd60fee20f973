"""Image files of every mode are decoded to upright RGB squares."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image, ImageOps

from effv2_tune.data.decode import UnreadableImageError, decode, size_of

if TYPE_CHECKING:
    from pathlib import Path


from tests.data.examples import picture

RED = (255, 0, 0)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.new("L", (16, 16), 100), (100, 100, 100)),
        (Image.new("1", (16, 16), 1), (255, 255, 255)),
        (Image.new("RGB", (16, 16), RED).convert("P"), RED),
        (Image.new("RGBA", (16, 16), (*RED, 255)), RED),
        (Image.new("RGBA", (16, 16), (*RED, 0)), (255, 255, 255)),
        (Image.new("RGBA", (16, 16), (0, 0, 0, 51)), (204, 204, 204)),
        (Image.new("LA", (16, 16), (0, 0)), (255, 255, 255)),
        (Image.fromarray(np.full((16, 16), 25700, np.uint16)), (100, 100, 100)),
        (Image.fromarray(np.full((16, 16), 65535, np.uint16)), (255, 255, 255)),
    ],
    ids=["grey", "bilevel", "palette", "opaque", "clear", "veil", "clear grey", "16 bit", "white"],
)
def test_every_mode_of_a_png_becomes_rgb(
    tmp_path: Path, image: Image.Image, expected: tuple[int, int, int]
) -> None:
    image.save(tmp_path / "one.png")

    decoded = decode(tmp_path / "one.png", 16, "crop")

    assert decoded.shape == (16, 16, 3)
    assert decoded.dtype == np.uint8
    assert (decoded == expected).all()


def test_a_transparent_palette_lies_on_white(tmp_path: Path) -> None:
    image = Image.new("P", (16, 16), 0)
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.save(tmp_path / "one.gif", transparency=0)

    assert (decode(tmp_path / "one.gif", 16, "crop") == 255).all()


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    Image.new("RGB", (16, 16), RED).convert("CMYK").save(tmp_path / "one.jpg", quality=100)

    decoded = decode(tmp_path / "one.jpg", 16, "crop").astype(int)

    assert np.abs(decoded - RED).max() <= 3


def test_floating_point_is_refused(tmp_path: Path) -> None:
    Image.fromarray(np.ones((16, 16), np.float32)).save(tmp_path / "one.tif")

    with pytest.raises(UnreadableImageError, match="floating point"):
        decode(tmp_path / "one.tif", 16, "crop")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_is_turned_upright_by_its_exif_orientation(
    tmp_path: Path, orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    shot = picture(24, 16)
    shot.save(tmp_path / "one.png", exif=exif)
    shot.info["exif"] = exif.tobytes()
    shot.getexif()[0x0112] = orientation
    upright = ImageOps.exif_transpose(shot)

    assert size_of(tmp_path / "one.png") == shot.size
    expected = np.asarray(upright.resize((24, 24), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(decode(tmp_path / "one.png", 24, "squash"), expected)


def test_crop_cuts_pad_adds_black_and_squash_keeps_all(tmp_path: Path) -> None:
    # Left to right: 8 columns of red, 16 of green, 8 of blue; 16 rows.
    pixels = np.zeros((16, 32, 3), np.uint8)
    pixels[:, :8, 0] = pixels[:, 8:24, 1] = pixels[:, 24:, 2] = 255
    Image.fromarray(pixels).save(tmp_path / "one.png")

    crop, pad, squash = (decode(tmp_path / "one.png", 16, fit) for fit in ("crop", "pad", "squash"))

    np.testing.assert_array_equal(crop, pixels[:, 8:24])
    assert not pad[:4].any()
    assert not pad[12:].any()
    assert pad[5:11].any(axis=-1).all()
    assert (squash[:, 0] == RED).all()
    assert (squash[:, -1] == (0, 0, 255)).all()


def test_an_image_of_the_stored_size_keeps_every_pixel(tmp_path: Path) -> None:
    for ending in ("png", "jpg"):
        picture(32, 32).save(tmp_path / f"one.{ending}")
        exact = np.asarray(Image.open(tmp_path / f"one.{ending}").convert("RGB"))

        np.testing.assert_array_equal(decode(tmp_path / f"one.{ending}", 32, "crop"), exact)
