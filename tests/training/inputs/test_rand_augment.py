"""RandAugment's changes against Pillow's, one at a time, and how many an image gets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from keras import ops
from PIL import Image, ImageEnhance, ImageOps

from effv2_tune.training.backends.tensorflow.steps import as_one_kernel
from effv2_tune.training.inputs import rand_augment as module
from effv2_tune.training.inputs.rand_augment import CHANGES, _changed, choose_changes, rand_augment

if TYPE_CHECKING:
    from collections.abc import Callable

SIDE = 24
RNG = np.random.default_rng(0)
#: Smooth, as photographs are, and not using the whole scale.
PICTURES = np.stack(
    [
        np.asarray(
            Image.fromarray(RNG.integers(30, 220, (5, 5, 3), np.uint8)).resize(
                (SIDE, SIDE), Image.Resampling.BICUBIC
            )
        )
        for _ in range(2)
    ]
)


@pytest.fixture(params=["pixel by pixel", "as products"])
def rounding(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> float:
    """Geometric changes as on processors and GPUs, and as on TPUs: how much a value may be off.

    Products round positions to 1/256 of a pixel; neighbours differ by up to 60.
    """
    as_products = request.param == "as products"
    monkeypatch.setattr(module, "gathers_slowly", lambda: as_products)
    return 60 / 512 if as_products else 0.0


def changed(change: str | None, magnitude: float, *, up: bool = True) -> np.ndarray:
    """The pictures with one change, towards more or towards less."""
    scores = np.ones((len(PICTURES), len(CHANGES)), np.float32)
    if change is not None:
        scores[:, CHANGES.index(change)] = 0.0
    signs = np.full_like(scores, 0.9 if up else 0.1)
    layers = 0.0 if change is None else 1.0
    given = map(ops.convert_to_tensor, (PICTURES.astype(np.float32), magnitude, layers))
    found = _changed(*given, *map(ops.convert_to_tensor, (scores, signs)))
    return np.asarray(ops.convert_to_numpy(found))


def test_in_one_kernel_it_is_the_same() -> None:
    scores, signs = RNG.random((2, len(PICTURES), len(CHANGES)), np.float32)
    images = ops.convert_to_tensor(PICTURES.astype(np.float32))
    drawn = iter([scores, signs])

    def draw(_: tuple[int, ...]) -> Any:
        return ops.convert_to_tensor(next(drawn))

    fused = rand_augment(images, 9.0, 6.0, draw, fuse=as_one_kernel)
    plain = _changed(images, 9.0, 6.0, *map(ops.convert_to_tensor, (scores, signs)))

    # A pixel next to a threshold may fall on its other side.
    off = np.abs(ops.convert_to_numpy(fused) - ops.convert_to_numpy(plain))
    assert np.quantile(off, 0.98) < 0.01
    assert np.abs(ops.convert_to_numpy(plain) - PICTURES).mean() > 5


def by_pillow(change: Callable[[Image.Image], Image.Image]) -> np.ndarray:
    return np.stack([np.asarray(change(Image.fromarray(one))) for one in PICTURES]).astype(float)


def test_no_change_leaves_images_as_they_are(rounding: float) -> None:
    del rounding
    np.testing.assert_allclose(changed(None, 9.0), PICTURES, atol=1e-3)


@pytest.mark.parametrize(
    ("change", "magnitude", "up", "pillow", "within"),
    [
        ("auto_contrast", 5.0, True, ImageOps.autocontrast, 1.0),
        ("posterize", 10.0, True, lambda image: ImageOps.posterize(image, 4), 0.0),
        ("posterize", 5.0, True, lambda image: ImageOps.posterize(image, 6), 0.0),
        ("solarize", 5.0, True, lambda image: ImageOps.solarize(image, 128), 0.5),
        ("color", 5.0, True, lambda image: ImageEnhance.Color(image).enhance(1.45), 2.0),
        ("color", 5.0, False, lambda image: ImageEnhance.Color(image).enhance(0.55), 2.0),
        ("contrast", 4.0, True, lambda image: ImageEnhance.Contrast(image).enhance(1.36), 2.0),
        ("brightness", 10.0, False, lambda image: ImageEnhance.Brightness(image).enhance(0.1), 1.0),
    ],
)
def test_a_change_is_that_of_pillow(
    change: str, magnitude: float, *, up: bool, pillow: Any, within: float
) -> None:
    expected = by_pillow(pillow)

    found = changed(change, magnitude, up=up)

    assert np.abs(found - expected).max() <= within + 1e-3
    assert np.abs(expected - PICTURES).max() > 5 * within + 1


def test_sharpness_is_that_of_pillow_inside() -> None:
    expected = by_pillow(lambda image: ImageEnhance.Sharpness(image).enhance(0.1))

    found = changed("sharpness", 10.0, up=False)

    # Pillow cuts decimals off twice.
    np.testing.assert_allclose(found[:, 1:-1, 1:-1], expected[:, 1:-1, 1:-1], atol=1.5)


def test_solarize_add_lifts_dark_pixels_alone() -> None:
    values = PICTURES.astype(float)

    found = changed("solarize_add", 5.0)

    expected = np.where(values < 128, np.minimum(values + 55, 255), values)
    np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize("up", [True, False])
def test_a_rotation_is_that_of_pillow_away_from_the_edges(*, up: bool, rounding: float) -> None:
    degrees = 15.0 if up else -15.0
    expected = by_pillow(
        lambda image: image.rotate(degrees, Image.Resampling.BILINEAR, fillcolor=(128,) * 3)
    )

    found = changed("rotate", 5.0, up=up)

    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    middle = np.hypot(y, x) < SIDE / 2 - 2
    # Two passes blur otherwise than one.
    blur = 0.5 if rounding else 0.0
    np.testing.assert_allclose(found[:, middle], expected[:, middle], atol=2.0 + blur)


@pytest.mark.parametrize(("change", "axis"), [("translate_y", 1), ("translate_x", 2)])
def test_a_translation_moves_and_brings_in_grey(change: str, axis: int, rounding: float) -> None:
    # 0.45 x 24 px x 1 / 0.9: six pixels at a magnitude of 5.5556.
    found = changed(change, 6 / 0.45 / SIDE * 10)

    moved = np.roll(PICTURES, -6, axis=axis).astype(float)
    np.moveaxis(moved, axis, 0)[-6:] = 128.0
    np.testing.assert_allclose(found, moved, atol=0.01 + rounding)


@pytest.mark.parametrize(("change", "along"), [("shear_x", 2), ("shear_y", 1)])
def test_a_shear_moves_each_line_by_its_distance_from_the_middle(
    change: str, along: int, rounding: float
) -> None:
    found = changed(change, 10.0)

    lines = np.moveaxis(PICTURES.astype(float), along, 2)
    sheared = np.moveaxis(found, along, 2)
    places = np.arange(SIDE)
    for line in range(SIDE):
        source = places + 0.3 * (line - (SIDE - 1) / 2)
        inside = (source > 0) & (source < SIDE - 1)
        for channel in range(3):
            read = np.interp(source, places, lines[0, line, :, channel])
            found_line = sheared[0, line, inside, channel]
            np.testing.assert_allclose(found_line, read[inside], atol=0.01 + rounding)


@pytest.mark.parametrize("layers", [1, 3, 13])
def test_each_image_gets_so_many_different_changes(layers: int) -> None:
    scores = RNG.random((500, len(CHANGES)), np.float32)
    chosen = np.asarray(ops.convert_to_numpy(choose_changes(ops.convert_to_tensor(scores), layers)))

    assert set(np.unique(chosen)) <= {0.0, 1.0}
    assert (chosen.sum(axis=1) == layers).all()
    np.testing.assert_allclose(chosen.mean(axis=0), layers / len(CHANGES), atol=0.08)
