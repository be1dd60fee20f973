"""Counts FLOPs, activations and parameters of one step of a bucket."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from effv2_tune import catalog
from effv2_tune.study.recipe import EVALUATION_FLIP, FLIPS

if TYPE_CHECKING:
    from effv2_tune.study.bucket import BucketKey

#: A training step computes about three forward passes: one forward, two backward.
TRAINING_OVER_FORWARD = 3
#: Images per device in one forward pass of feature extraction (`training.features.extraction`).
EXTRACTION_BATCH = 128
#: Operations on each activation beside the products, in a training step and in inference, as XLA
#: counts those that it compiles for a TPU: batch normalization, activation, casts, gradients.
_ELEMENTWISE_TRAINING = 95.0
_ELEMENTWISE_INFERENCE = 14.0
#: Operations on each trained weight in the update of a step, likewise; each device updates all.
_ELEMENTWISE_UPDATE = 14.0
_FLOAT_BYTES = 4
#: float32 vectors of a weight's size that the optimizer keeps, an average of its own included.
_MOMENTS = {"adabelief": 2, "adamw": 2, "sgd": 1, "rmsprop": 2, "lion": 1, "schedule_free": 3}
_FROZEN = "frozen"


@dataclass(frozen=True)
class Work:
    """The device-independent counts of a bucket.

    Attributes:
        blocks: Of the network.
        parameters: Weights of the network, including classifier and moving statistics.
        trained: Those that the optimizer updates, at most: of a finetuned network, all.
        state_vectors: float32 vectors of the trained weights' size in addition: the optimizer's
            moments, and the averaged weights.
        forward_flops: Operations of a forward pass over one image; a multiplication and an addition
            are two.
        train_flops: Operations of one image's training step: three forward passes; with a frozen
            backbone its forward pass, and three passes of the classifier.
        valid_flops: ``forward_flops`` without products with the padding of images.
        activations: Output elements of all layers in a forward pass over one image.
        kept_activations: Those of them that the backward pass needs; of a frozen network, only the
            features.
        widest_activation: Elements of the largest such output.
        image_numbers: Elements of one image at stored and at trained size together.
        feature_width: Features of an image.
        caches_features: Whether the backbone runs once over the images, and steps take features.
        feature_views: Views of each training image with features: two if training flips images.
        evaluated_views: Views of each image that an evaluation averages over.
    """

    blocks: int
    parameters: int
    trained: int
    state_vectors: int
    forward_flops: float
    train_flops: float
    valid_flops: float
    activations: int
    kept_activations: int
    widest_activation: int
    image_numbers: int
    feature_width: int
    caches_features: bool
    feature_views: int
    evaluated_views: int

    @property
    def weight_bytes(self) -> int:
        """Of the weights: of the network, or on cached features of the classifier."""
        return (self.trained if self.caches_features else self.parameters) * _FLOAT_BYTES

    @property
    def checkpoint_bytes(self) -> int:
        """Of one checkpoint: weights, and the optimizer's state."""
        return self.weight_bytes + self.trained * self.state_vectors * _FLOAT_BYTES

    @property
    def compiled_inference_flops(self) -> float:
        """Operations of a forward pass over one image, as XLA counts those of a compiled step."""
        return self.valid_flops + _ELEMENTWISE_INFERENCE * self.activations

    @property
    def compiled_train_flops(self) -> float:
        """Likewise of one image's training step, without the update."""
        if self.caches_features:
            return self.head_flops
        if self.kept_activations < self.activations:
            return self.compiled_inference_flops + self.head_flops
        products = TRAINING_OVER_FORWARD * self.valid_flops
        return products + _ELEMENTWISE_TRAINING * self.activations

    def compiled_step_flops(self, images: float) -> float:
        """Operations of a training step on one device, with the update, likewise.

        Args:
            images: Of the batch on this device.
        """
        return images * self.compiled_train_flops + _ELEMENTWISE_UPDATE * self.trained

    @property
    def head_flops(self) -> float:
        """Operations of one image's training step on cached features."""
        return 2.0 * TRAINING_OVER_FORWARD * self.trained


def work_of(key: BucketKey) -> Work:
    """Count the work of a bucket."""
    variant = catalog.find_variant(key.variant)
    parameters = catalog.count_parameters(variant, key.classes)
    head = (variant.head_width + 1) * key.classes
    frozen = key.trainable == _FROZEN or key.takes_features
    forward = 2.0 * catalog.count_macs(variant, key.resolution, key.classes)
    activations = catalog.count_activations(variant, key.resolution, key.classes)
    height, width, channels = key.image_shape
    moving = catalog.count_moving_statistics(variant)
    return Work(
        blocks=len(variant.blocks),
        parameters=parameters,
        trained=head if frozen else parameters - moving,
        state_vectors=_state_vectors(key),
        forward_flops=forward,
        train_flops=forward + 4.0 * head if frozen else TRAINING_OVER_FORWARD * forward,
        valid_flops=2.0 * catalog.count_valid_macs(variant, key.resolution, key.classes),
        activations=activations,
        kept_activations=variant.head_width + key.classes if frozen else activations,
        widest_activation=catalog.count_widest_activation(variant, key.resolution),
        image_numbers=height * width * channels + key.resolution**2 * channels,
        feature_width=variant.head_width,
        caches_features=key.takes_features,
        feature_views=1 if FLIPS.isdisjoint(key.augmentation) else 2,
        evaluated_views=2 if EVALUATION_FLIP in key.augmentation else 1,
    )


def _state_vectors(key: BucketKey) -> int:
    """Vectors of a weight's size that the optimizer keeps: moments, average, and a mask for L2."""
    optimizer = key.optimizer
    has_mask = "l2" in optimizer and key.backend == "tensorflow"
    return _MOMENTS[optimizer[0]] + ("ema" in optimizer) + has_mask
