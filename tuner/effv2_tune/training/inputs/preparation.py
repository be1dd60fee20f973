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
    mirrored: Any = None,
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
        mirrored: As `augmentation.augment` takes it.
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
        return _one_view(batch, plan, draw, mirrored), targets
    images = augment(
        ops.cast(batch, "float32"),
        kinds=plan.augmentations,
        magnitudes=by_name,
        draw=draw,
        resolution=plan.resolution,
        mirrored=mirrored,
        fuse=fuse,
    )
    images, targets = mix(images, targets, kinds=plan.augmentations, mixing=mixing)
    return prepared(images, plan), targets


def _one_view(features: Any, plan: StepPlan, draw: Draw, mirrored: Any) -> Any:
    """The view of each image that a step trains on: [batch, width] of [batch, views, width]."""
    if "flip" in plan.augmentations:
        mirrored = is_mirrored(features.shape[0], draw)
    elif "alternating_flip" not in plan.augmentations:
        return features[:, 0]
    return ops.where(ops.reshape(mirrored, (-1, 1)), features[:, 1], features[:, 0])


def evaluation_inputs(batch: Any, plan: StepPlan) -> Any:
    """The inputs of one evaluation step: a stored batch without augmentation.

    Args:
        batch: As of :func:`training_inputs`.
        plan: What is compiled in.

    Returns:
        Prepared images, or features: [batch, ...], or where both views are evaluated [2 * batch,
        ...], each image followed by its mirror image.
    """
    if plan.takes_features:
        views = batch[:, :2] if plan.evaluates_both_views else batch[:, :1]
    else:
        images = prepared(batch, plan, resolution=plan.evaluation_resolution)
        if not plan.evaluates_both_views:
            return images
        # Side by side, not one batch after the other: each device keeps its part of the batch.
        views = ops.stack([images, ops.flip(images, axis=2)], axis=1)
    return ops.reshape(views, (-1, *views.shape[2:]))


def evaluated_logits(logits: Any, plan: StepPlan) -> Any:
    """The logits of each image, from those of its views.

    Probabilities are averaged, not logits, so that a view that is certain cannot outvote the other
    by more than its half, and so that the mean of the exported model's outputs for the two views is
    its output for the image. Their logarithms are computed without the probabilities, which may
    round to 0.

    Args:
        logits: [batch, classes]; with both views [2 * batch, classes], as
            :func:`evaluation_inputs` arranges them.
        plan: What is compiled in.

    Returns:
        [batch, classes]; of both views, the logarithm of the sum of their probabilities, float32.
    """
    if not plan.evaluates_both_views:
        return logits
    views = ops.reshape(ops.cast(logits, "float32"), (-1, 2, logits.shape[-1]))
    return ops.logsumexp(ops.log_softmax(views, axis=-1), axis=1)


def prepared(images: Any, plan: StepPlan, *, resolution: int | None = None) -> Any:
    """Images resized, to that of training if no resolution is given, and scaled."""
    return preprocess(
        images,
        resolution or plan.resolution,
        scaling=plan.scaling,
        interpolation=plan.interpolation,
    )
