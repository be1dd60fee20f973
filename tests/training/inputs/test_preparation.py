"""The inputs of a step: both views of an image, in training and in evaluation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from keras import ops

from effv2_tune.study.recipe import Recipe
from effv2_tune.training.backends.base import StepPlan
from effv2_tune.training.inputs.preparation import (
    evaluated_logits,
    evaluation_inputs,
    prepared,
    training_inputs,
)
from effv2_tune.training.inputs.shuffling import epoch_inputs

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (24, 32, 32, 3), np.uint8)
FEATURES = RNG.random((24, 2, 5)).astype("float32")


def _plan(*augmentations: str, takes_features: bool = False) -> StepPlan:
    return StepPlan(
        batch=8,
        classes=10,
        image_shape=(2, 5) if takes_features else (32, 32, 3),
        resolution=32,
        interpolation="bilinear",
        scaling="tf",
        augmentations=augmentations,
        averaged=False,
        magnitudes=("label_smoothing",),
        takes_features=takes_features,
    )


def _array(tensor: Any) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(tensor))


def _epoch(epoch: int, rows: np.ndarray, plan: StepPlan) -> np.ndarray:
    """The inputs of an epoch, by image."""
    recipe = Recipe(flip="alternating", seed=4)
    order, mixing, mirrored = epoch_inputs(recipe, epoch, images=len(rows), batch=8)
    assert mirrored is not None
    seen: dict[int, np.ndarray] = {}
    for step, images in enumerate(order):
        inputs, _ = training_inputs(
            rows[images],
            np.zeros(8, np.int32),
            plan=plan,
            magnitudes=[0.0],
            class_weights=np.ones(10, np.float32),
            draw=lambda shape: pytest.fail(f"draws {shape}"),
            mixing=mixing[step],
            mirrored=mirrored[step],
        )
        seen |= dict(zip(images.tolist(), _array(inputs), strict=True))
    return np.stack([seen[image] for image in range(len(rows))])


def test_alternating_flips_train_on_each_image_both_ways_in_two_epochs() -> None:
    plan = _plan("alternating_flip")
    plain = _array(prepared(IMAGES, plan))

    odd, even = _epoch(3, IMAGES, plan), _epoch(4, IMAGES, plan)

    is_plain = np.array([np.array_equal(*pair) for pair in zip(odd, plain, strict=True)])
    assert 0 < is_plain.sum() < len(IMAGES)
    mirrored = plain[:, :, ::-1]
    sides = is_plain[:, None, None, None]
    assert np.array_equal(odd, np.where(sides, plain, mirrored))
    assert np.array_equal(even, np.where(sides, mirrored, plain))


def test_alternating_flips_take_the_features_of_one_view_and_then_of_the_other() -> None:
    plan = _plan("alternating_flip", takes_features=True)

    odd, even = _epoch(3, FEATURES, plan), _epoch(4, FEATURES, plan)

    assert np.array_equal(np.sort([odd, even], axis=0), np.sort(FEATURES.transpose(1, 0, 2), 0))
    assert not np.array_equal(odd, FEATURES[:, 0])
    assert not np.array_equal(odd, FEATURES[:, 1])


@pytest.mark.parametrize("takes_features", [False, True])
def test_an_evaluation_takes_each_image_and_then_its_mirror_image(
    takes_features: bool,  # noqa: FBT001 - pytest gives it by name
) -> None:
    plan = _plan("evaluation_flip", takes_features=takes_features)
    rows = FEATURES if takes_features else IMAGES
    plain = FEATURES[:, 0] if takes_features else _array(prepared(IMAGES, plan))
    mirrored = FEATURES[:, 1] if takes_features else plain[:, :, ::-1]

    inputs = _array(evaluation_inputs(rows, plan))

    assert np.array_equal(inputs[::2], plain)
    assert np.array_equal(inputs[1::2], mirrored)


def test_the_probabilities_of_both_views_are_averaged() -> None:
    logits = RNG.normal(size=(12, 10)).astype("float32") * 3
    views = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)

    merged = _array(ops.softmax(evaluated_logits(logits, _plan("evaluation_flip"))))

    assert merged == pytest.approx((views[::2] + views[1::2]) / 2, abs=1e-6)
    assert evaluated_logits(logits, _plan("flip")) is logits


def test_the_mean_of_probabilities_that_round_to_0_has_a_finite_loss() -> None:
    logits = np.zeros((2, 10), np.float32)
    logits[0, 0], logits[1, 0] = 500.0, 400.0

    merged = _array(evaluated_logits(logits, _plan("evaluation_flip")))

    assert np.isfinite(merged).all()
    assert merged[0, 1] - merged[0, 0] == pytest.approx(-400.0 - np.log(2), abs=1e-3)
