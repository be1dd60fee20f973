"""Each augmentation does what its docstring says, with random numbers given by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from keras import ops

from effv2_tune.training.inputs import augmentation as at_random
from effv2_tune.training.inputs.shuffling import epoch_mixing
from effv2_tune.training.loss import cross_entropies, soft_targets

if TYPE_CHECKING:
    from collections.abc import Callable

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (6, 8, 10, 3)).astype("float32")
NO_COLOR = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0}


def _given(*values: float) -> Callable[[tuple[int, ...]], np.ndarray]:
    """Random numbers: the same row for each image."""

    def draw(shape: tuple[int, ...]) -> np.ndarray:
        return np.broadcast_to(np.asarray(values, "float32"), shape)

    return draw


def _uniform(shape: tuple[int, ...]) -> np.ndarray:
    return RNG.random(shape).astype("float32")


def _array(tensor: Any) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(tensor))


def test_a_flip_mirrors_left_to_right() -> None:
    assert np.array_equal(_array(at_random.flip(IMAGES, _given(0.4))), IMAGES[:, :, ::-1])
    assert np.array_equal(_array(at_random.flip(IMAGES, _given(0.6))), IMAGES)


def test_alternating_flips_mirror_the_images_that_they_are_given() -> None:
    mirrored = np.array([True, False, False, True, True, False])

    seen = at_random.augment(
        IMAGES,
        kinds=("alternating_flip",),
        magnitudes={},
        draw=_uniform,
        resolution=8,
        mirrored=mirrored,
    )

    assert np.array_equal(_array(seen)[mirrored], IMAGES[mirrored][:, :, ::-1])
    assert np.array_equal(_array(seen)[~mirrored], IMAGES[~mirrored])


def test_a_padded_crop_shifts_whole_pixels_and_zeros_come_in() -> None:
    # 0.0 -> shift by -2 rows, 0.99 -> shift by +2 columns.
    shifted = _array(at_random.padded_crop(IMAGES, 2.0, _given(0.0, 0.99)))

    expected = np.zeros_like(IMAGES)
    expected[:, 2:, :-2] = IMAGES[:, :-2, 2:]
    assert np.array_equal(shifted, expected)
    assert np.array_equal(_array(at_random.padded_crop(IMAGES, 0.0, _uniform)), IMAGES)


def test_a_random_crop_of_the_whole_image_is_the_image() -> None:
    square = IMAGES[:, :, :8]

    cropped = _array(at_random.random_crop(square, 1.0, 1.0, _uniform, 8))

    assert cropped == pytest.approx(square, abs=1e-3)


def test_a_random_crop_of_a_quarter_in_a_corner_enlarges_that_corner() -> None:
    ramp = np.broadcast_to(
        np.arange(16, dtype="float32")[None, :, None, None], (1, 16, 16, 3)
    ).copy()

    # Area 0.25, no stretch, at the bottom, left.
    cropped = _array(at_random.random_crop(ramp, 0.25, 4.0, _given(0.0, 0.5, 1.0, 0.0), 16))

    rows = cropped[0, :, 0, 0]
    assert rows[0] == pytest.approx(7.75, abs=1e-3)
    assert np.allclose(np.diff(rows)[:14], 0.5, atol=1e-3)
    assert np.allclose(cropped[0], rows[:, None, None], atol=1e-3)


@pytest.mark.parametrize("smallest", [0.08, 0.5])
def test_a_random_crop_invents_no_brightness(smallest: float) -> None:
    flat = np.full((6, 9, 9, 3), 77, "float32")

    cropped = _array(at_random.random_crop(flat, smallest, 4 / 3, _uniform, 12))

    assert cropped.shape == (6, 12, 12, 3)
    assert cropped == pytest.approx(77, abs=1e-3)


def test_colors_stay_where_no_strength_is_given() -> None:
    jittered = _array(at_random.jitter_colors(IMAGES, NO_COLOR, _uniform))

    assert jittered == pytest.approx(IMAGES, abs=1e-2)


def test_brightness_multiplies_and_contrast_spreads_around_the_mean() -> None:
    brighter = at_random.jitter_colors(IMAGES / 2, NO_COLOR | {"brightness": 0.5}, _given(1.0))
    flat = at_random.jitter_colors(IMAGES, NO_COLOR | {"contrast": 1.0}, _given(0.0))

    assert _array(brighter) == pytest.approx(IMAGES * 0.75, abs=1e-2)
    assert _array(flat).std(axis=(1, 2, 3)).max() < 1e-2


def test_without_saturation_all_is_grey_and_hue_keeps_the_brightness() -> None:
    grey = _array(at_random.jitter_colors(IMAGES, NO_COLOR | {"saturation": 1.0}, _given(0.0)))
    pale = 100 + IMAGES / 10
    turned = _array(at_random.jitter_colors(pale, NO_COLOR | {"hue": 0.5}, _given(1.0)))

    assert grey == pytest.approx(np.broadcast_to(grey[..., :1], grey.shape), abs=1e-2)
    luma = np.array([0.299, 0.587, 0.114])
    assert turned @ luma == pytest.approx(pale @ luma, abs=0.1)
    assert np.abs(turned - pale).max() > 1


def test_grey_images_may_be_jittered_too() -> None:
    magnitudes = dict.fromkeys(NO_COLOR, 0.3)

    assert _array(at_random.jitter_colors(IMAGES[..., :1], magnitudes, _uniform)).shape[-1] == 1


def test_cutout_blots_out_one_square() -> None:
    cut = _array(at_random.cutout(IMAGES, 0.5, _given(0.5, 0.5)))

    blotted = (cut == 128).all(axis=-1)
    assert blotted[:, 2:6, 3:7].all()
    assert np.array_equal(cut[~blotted], IMAGES[~blotted])
    assert blotted.sum(axis=(1, 2)).max() <= 4 * 6


TARGETS = np.eye(6, dtype="float32")


def test_mixup_blends_images_and_targets_in_the_same_proportion() -> None:
    mixing = np.array([0.7, 1, 0.5, 0.5], "float32")

    images, targets = at_random.mix(IMAGES, TARGETS, kinds=("mixup",), mixing=mixing)

    assert _array(images) == pytest.approx(0.7 * IMAGES + 0.3 * IMAGES[::-1], abs=1e-3)
    assert _array(targets) == pytest.approx(0.7 * TARGETS + 0.3 * TARGETS[::-1])


@pytest.mark.parametrize("middle", [0.5, 0.05])
def test_cutmix_pastes_a_rectangle_and_counts_what_is_seen_of_it(middle: float) -> None:
    mixing = np.array([1, 0.75, middle, 0.5], "float32")

    mixed = at_random.mix(IMAGES, TARGETS, kinds=("cutmix",), mixing=mixing)
    images, targets = (_array(part) for part in mixed)

    pasted = (images != IMAGES).any(axis=-1)[0]
    share = pasted.mean()
    assert 0 < share <= 0.3
    assert np.array_equal(images[0][pasted], IMAGES[-1][pasted])
    assert targets[0, 5] == pytest.approx(share, abs=0.02)
    assert targets.sum(axis=1) == pytest.approx(1)


def test_each_part_of_a_mixture_counts_with_the_weight_of_its_own_class() -> None:
    images, weights = IMAGES[:2], np.asarray([1.0, 20.0], np.float32)
    logits = np.asarray([[0.3, -0.2], [0.1, 0.9]], np.float32)
    kinds, mixing = ("mixup",), np.asarray([0.7, 1.0, 0.5, 0.5], np.float32)

    def targets(weights: np.ndarray) -> np.ndarray:
        soft = soft_targets(np.asarray([0, 1]), classes=2, smoothing=0.1, weights=weights)
        return _array(at_random.mix(images, soft, kinds=kinds, mixing=mixing)[1])

    plain = _array(soft_targets(np.asarray([0, 1]), classes=2, smoothing=0.1))
    rows = targets(weights)

    assert plain.sum(1) == pytest.approx([1, 1])
    assert rows.sum(1) == pytest.approx([0.7 + 0.3 * 20, 0.7 * 20 + 0.3])
    own, other = (_array(cross_entropies(logits, given)) for given in (plain, plain[::-1]))
    expected = [0.7 * own[0] + 0.3 * 20 * other[0], 0.7 * 20 * own[1] + 0.3 * other[1]]
    assert _array(cross_entropies(logits, rows)) == pytest.approx(expected, rel=1e-5)


def test_each_step_mixes_by_itself_and_does_one_of_the_two() -> None:
    both = epoch_mixing(0, 3, steps=400, mixup=0.2, cutmix=1.0)
    none = epoch_mixing(0, 3, steps=5, mixup=0.0, cutmix=0.0)

    assert ((both[:, 0] == 1) != (both[:, 1] == 1)).mean() > 0.95
    assert 0.4 < (both[:, 1] < 1).mean() < 0.6
    assert (none[:, :2] == 1).all()
    assert np.array_equal(both, epoch_mixing(0, 3, steps=400, mixup=0.2, cutmix=1.0))
    assert not np.array_equal(both, epoch_mixing(0, 4, steps=400, mixup=0.2, cutmix=1.0))
