"""What one step of a bucket computes, moves and keeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from effv2_tune import catalog

if TYPE_CHECKING:
    from effv2_tune.study.bucket import BucketKey

#: A training step computes about three forward passes: one forward, two backward.
TRAINING_OVER_FORWARD = 3
_FLOAT_BYTES = 4
#: float32 vectors of a weight's size that the optimizer keeps.
_MOMENTS = {"adabelief": 2, "adamw": 2, "sgd": 1}
_FROZEN = "frozen"
#: The only augmentation whose features can be computed beforehand.
_MIRRORING = "flip"


@dataclass(frozen=True)
class Work:
    """What a bucket takes, in numbers that no device enters.

    Attributes:
        blocks: Of the network.
        parameters: Weights of the network, classifier and moving statistics included.
        trained: Those that the optimizer changes, at most: of a finetuned network, all.
        state_vectors: float32 vectors of the trained weights' size beside them: the optimizer's
            moments, and the averaged weights.
        forward_flops: Operations of a forward pass over one image; a multiplication and an addition
            are two.
        train_flops: Operations of one image's training step: three forward passes; with a frozen
            backbone its forward pass, and three passes of the classifier.
        activations: Numbers that the layers of a forward pass put out for one image.
        kept_activations: Those of them that the backward pass needs; of a frozen network, none but
            the features.
        widest_activation: Numbers of the largest such output.
        image_numbers: Numbers of one image at stored and at trained size together.
        feature_width: Features of an image.
        caches_features: Whether the backbone runs once over the images, and steps take features.
        feature_sides: Feature sets of each image: two where training mirrors images.
    """

    blocks: int
    parameters: int
    trained: int
    state_vectors: int
    forward_flops: float
    train_flops: float
    activations: int
    kept_activations: int
    widest_activation: int
    image_numbers: int
    feature_width: int
    caches_features: bool
    feature_sides: int

    @property
    def weight_bytes(self) -> int:
        """Of the weights of what is trained: the network, or on cached features the classifier."""
        return (self.trained if self.caches_features else self.parameters) * _FLOAT_BYTES

    @property
    def checkpoint_bytes(self) -> int:
        """Of one checkpoint: weights, and the optimizer's state."""
        return self.weight_bytes + self.trained * self.state_vectors * _FLOAT_BYTES

    @property
    def head_flops(self) -> float:
        """Operations of one image's training step where features are taken from the cache."""
        return 2.0 * TRAINING_OVER_FORWARD * self.trained


def work_of(key: BucketKey) -> Work:
    """What a bucket takes."""
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
        state_vectors=_MOMENTS[key.optimizer[0]] + ("ema" in key.optimizer),
        forward_flops=forward,
        train_flops=forward + 4.0 * head if frozen else TRAINING_OVER_FORWARD * forward,
        activations=activations,
        kept_activations=variant.head_width + key.classes if frozen else activations,
        widest_activation=catalog.count_widest_activation(variant, key.resolution),
        image_numbers=height * width * channels + key.resolution**2 * channels,
        feature_width=variant.head_width,
        caches_features=key.takes_features,
        feature_sides=2 if _MIRRORING in key.augmentation else 1,
    )
