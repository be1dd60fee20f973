"""Prepares a stored batch of images or cached features for the network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from keras import ops

from effv2_tune.network import preprocess
from effv2_tune.training.inputs.augmentation import augment, is_mirrored, mix
from effv2_tune.training.inputs.rand_augment import unfused
from effv2_tune.training.loss import soft_targets

if TYPE_CHECKING:
    from collections.abc import Sequence

    from effv2_tune.training.backends.base import StepPlan
    from effv2_tune.training.inputs.rand_augment import Draw, Fuse


def training_inputs(
    batch: Any,
    labels: Any,
    *,
    plan: StepPlan,
    magnitudes: Sequence[Any],
    class_weights: Any,
    draw: Draw,
    mixing: Any,
    fuse: Fuse = unfused,
) -> tuple[Any, Any]:
    """The inputs and targets of one training step.

    Args:
        batch: uint8 images [batch, height, width, channels]; or features [batch, views, width],
            where the second view is the mirrored image.
        labels: [batch], int32.
        plan: What is compiled in.
        magnitudes: Scalars, those that `plan.magnitudes` names.
        class_weights: [classes], float32.
        draw: Gives uniform random numbers from [0, 1).
        mixing: As `augmentation.mix` takes it.
        fuse: Makes one kernel of a function, as `rand_augment` takes it.

    Returns:
        Prepared images, or features [batch, width]; and the targets [batch, classes]. The same
        random numbers mirror the same images, whether they are images or features.
    """
    by_name = dict(zip(plan.magnitudes, magnitudes, strict=True))
    targets = soft_targets(
        labels,
        classes=plan.classes,
        smoothing=by_name["label_smoothing"],
        weights=class_weights,
    )
    if plan.takes_features:
        if "flip" not in plan.augmentations:
            return batch[:, 0], targets
        mirrored = ops.reshape(is_mirrored(batch.shape[0], draw), (-1, 1))
        return ops.where(mirrored, batch[:, 1], batch[:, 0]), targets
    images = augment(
        ops.cast(batch, "float32"),
        kinds=plan.augmentations,
        magnitudes=by_name,
        draw=draw,
        resolution=plan.resolution,
        fuse=fuse,
    )
    images, targets = mix(images, targets, kinds=plan.augmentations, mixing=mixing)
    return prepared(images, plan), targets


def evaluation_inputs(batch: Any, plan: StepPlan) -> Any:
    """The inputs of one evaluation step: a stored batch without augmentation."""
    return batch[:, 0] if plan.takes_features else prepared(batch, plan)


def prepared(images: Any, plan: StepPlan) -> Any:
    """Images resized and scaled for the network."""
    return preprocess(
        images, plan.resolution, scaling=plan.scaling, interpolation=plan.interpolation
    )
