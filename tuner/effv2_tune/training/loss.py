"""Computes losses and counts of one batch on the device, for both backends."""

from __future__ import annotations

from typing import Any

from keras import ops

from effv2_tune.training.scores import TOP


def soft_targets(labels: Any, *, classes: int, smoothing: Any, weights: Any = None) -> Any:
    """Labels as weighted probabilities, smoothed over all classes.

    Szegedy et al., arXiv 1512.00567, section 7. The weight of an image is a factor of its target
    before images are mixed, so that each part of a mixture has the weight of its class.

    Args:
        labels: [batch], int32.
        classes: Number of classes.
        smoothing: From 0 to 1, a scalar.
        weights: Of each class [classes], float32; None for 1 each.

    Returns:
        [batch, classes], float32; each row sums to the weight of its class.
    """
    truth = ops.one_hot(labels, classes, dtype="float32")
    smoothed = truth * (1.0 - smoothing) + smoothing / classes
    if weights is None:
        return smoothed
    return smoothed * ops.expand_dims(ops.take(weights, labels), 1)


def cross_entropies(logits: Any, targets: Any) -> Any:
    """Cross-entropy of each image.

    Args:
        logits: [batch, classes].
        targets: [batch, classes], probabilities, or these times a weight.

    Returns:
        [batch], float32.
    """
    return -ops.sum(targets * ops.log_softmax(ops.cast(logits, "float32"), axis=-1), axis=-1)


def evaluation_counts(logits: Any, labels: Any, counted: Any) -> dict[str, Any]:
    """The :class:`effv2_tune.training.scores.Counts` of one batch.

    Args:
        logits: [batch, classes].
        labels: [batch], int32.
        counted: [batch], float32: 1 for each image that counts, 0 for padding.

    Returns:
        ``support``, ``predicted``, ``correct``: [classes]; ``in_top5``, ``loss_sum``,
        ``loss_squares``: scalars.
    """
    classes = logits.shape[-1]
    logits = ops.cast(logits, "float32")
    truth = ops.one_hot(labels, classes, dtype="float32")
    losses = counted * cross_entropies(logits, truth)
    of_label = ops.sum(logits * truth, axis=-1, keepdims=True)
    rank = ops.sum(ops.cast(logits > of_label, "float32"), axis=-1)
    predicted = ops.cast(ops.argmax(logits, axis=-1), "int32")
    correct = counted * ops.cast(ops.equal(predicted, labels), "float32")
    return {
        "support": ops.segment_sum(counted, labels, num_segments=classes),
        "predicted": ops.segment_sum(counted, predicted, num_segments=classes),
        "correct": ops.segment_sum(correct, labels, num_segments=classes),
        "in_top5": ops.sum(counted * ops.cast(rank < TOP, "float32")),
        "loss_sum": ops.sum(losses),
        "loss_squares": ops.sum(ops.square(losses)),
    }


def count_correct(logits: Any, labels: Any) -> Any:
    """How many images of a batch are classified correctly, float32."""
    predicted = ops.cast(ops.argmax(logits, axis=-1), labels.dtype)
    return ops.sum(ops.cast(ops.equal(predicted, labels), "float32"))
