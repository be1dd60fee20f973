"""Predicts the device memory of a bucket, and where the images are stored."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from effv2_tune.forecast import tpu
from effv2_tune.forecast.work import EXTRACTION_BATCH, work_of
from effv2_tune.image_rows import packed_bytes

if TYPE_CHECKING:
    from effv2_tune.forecast.target import Target
    from effv2_tune.forecast.work import Work
    from effv2_tune.study.bucket import BucketKey, DataFacts

#: Where images are while they are trained on: all on the device; in host memory, or decoded in a
#: memory-mapped store on disk, and streamed.
Tier = Literal["resident", "streamed", "store"]

_FLOAT_BYTES = 4
#: A step holds its batch, the batch as floats, and its augmented copies.
_IMAGE_COPIES = 4
#: Each layer's output is kept for the backward pass about so often: as it leaves the convolution,
#: after normalization, after the activation. XLA computes some of them again instead. Measured, see
#: docs/plan.md.
_COPIES = {"tensorflow": 3.0, "jax": 2.0}
#: Resident memory of a worker before it builds anything, without the images. Measured.
_PROCESS_BYTES = {"tensorflow": 0.8e9, "jax": 0.65e9}
#: What building, tracing and compiling a block of the network leave in the process. Measured.
_BLOCK_BYTES = {"tensorflow": 20e6, "jax": 55e6}
#: The current layer has its input, its output and a copy of either beside the kept activations.
_WIDEST_COPIES = 3
#: Memory of the runtime on a GPU or a TPU.
_RUNTIME_BYTES = 0.5e9
#: Gradients, and the flat copies for the update.
_UPDATE_VECTORS = 3


@dataclass(frozen=True)
class MemoryForecast:
    """Predicted memory of a bucket on one device; on a CPU, of the host.

    Attributes:
        weights: Bytes of weights, gradients and optimizer; on a TPU without gradients.
        activations: Bytes that the forward pass keeps for the backward pass; on a TPU those that
            the step allocates, gradients and code included.
        images: Bytes of images, or cached features, in this memory.
        overhead: Bytes of the runtime; on a CPU, of the process with its framework.
        limit: Bytes available; None if unknown.
    """

    weights: float
    activations: float
    images: float
    overhead: float
    limit: float | None

    @property
    def total(self) -> float:
        """All bytes."""
        return self.weights + self.activations + self.images + self.overhead

    @property
    def fits(self) -> bool:
        """Whether it is predicted to fit; True if the limit is unknown."""
        return self.limit is None or self.total <= self.limit


def image_tier(nbytes: int, target: Target, *, on_disk: bool) -> Tier:
    """Where so many bytes of images are stored during training; the rule of the trainer.

    Args:
        nbytes: Of all images, as the device would store them.
        target: The device.
        on_disk: Whether they were decoded into a store on disk.
    """
    if target.image_bytes is None or nbytes <= target.image_bytes:
        return "resident"
    return "store" if on_disk else "streamed"


def predict_memory(
    work: Work, key: BucketKey, target: Target, data: DataFacts, *, tier: Tier
) -> MemoryForecast:
    """Predict the memory of a bucket on one device.

    Args:
        work: Of the bucket.
        key: The bucket.
        target: The device.
        data: The images.
        tier: Where they are stored.
    """
    overhead = _RUNTIME_BYTES
    if target.kind == "cpu":
        overhead = _PROCESS_BYTES[key.backend] + work.blocks * _BLOCK_BYTES[key.backend]
    vectors: int = work.state_vectors + _UPDATE_VECTORS
    images_here: float = key.batch / target.placement.device_count
    if work.caches_features:
        images_here = EXTRACTION_BATCH  # always more than a batch of features
    elif work.kept_activations < work.activations:
        # Training keeps nothing of a frozen backbone: the evaluation of both views needs more.
        images_here *= work.evaluated_views
    if target.kind == "tpu":
        vectors = work.state_vectors
        activations = tpu.training_bytes(work, key, images_here)
    else:
        activations = images_here * _image_activation_bytes(work, key, target)
    if key.evaluation_resolution is not None:
        activations = max(activations, _evaluation_bytes(key.evaluated, target, images_here))
    return MemoryForecast(
        weights=_FLOAT_BYTES * (work.parameters + work.trained * vectors),
        activations=activations,
        images=_data_bytes(work, data, target, tier),
        overhead=overhead,
        limit=target.usable_memory,
    )


def _image_activation_bytes(work: Work, key: BucketKey, target: Target) -> float:
    """Bytes of an image of a batch and of the layers' outputs that exist at the same time."""
    element = _FLOAT_BYTES if key.precision == "float32" else 2
    if target.accelerator is not None:
        element = max(element, target.accelerator.bytes_per_number)
    kept = work.kept_activations * _COPIES[key.backend] + _IMAGE_COPIES * work.image_numbers
    if work.kept_activations < work.activations:
        # A frozen backbone keeps nothing, here or while it computes features.
        kept += _WIDEST_COPIES * work.widest_activation
    return element * kept


def _evaluation_bytes(key: BucketKey, target: Target, images: float) -> float:
    """Bytes of a forward pass over so many images that keeps nothing."""
    work = work_of(key)
    if target.kind == "tpu":
        return tpu.inference_bytes(work, key, images)
    kept = replace(work, kept_activations=work.feature_width)
    return images * _image_activation_bytes(kept, key, target)


def image_bytes(data: DataFacts) -> int:
    """Bytes of all images as stored, one byte per channel."""
    height, width, channels = data.image_shape
    return (data.trained + data.validation + data.test) * height * width * channels


def resident_bytes(data: DataFacts, target: Target) -> int:
    """Bytes of all images on the device: in rows, where JAX packs them."""
    if target.kind == "cpu" or target.placement.backend != "jax":
        return image_bytes(data)
    return (data.trained + data.validation + data.test) * packed_bytes(data.image_shape)


def feature_rows(work: Work, data: DataFacts) -> dict[str, int]:
    """Number of cached features of one network at one resolution, by split: of all views."""
    trained, evaluated = work.feature_views, work.evaluated_views
    if data.folds > 1:  # which evaluate on training images
        trained = max(trained, evaluated)
    return {
        "train": trained * data.trained,
        "validation": evaluated * data.validation,
        "test": evaluated * data.test,
    }


def feature_bytes(work: Work, data: DataFacts) -> int:
    """Bytes of the cached features of one network at one resolution."""
    return sum(feature_rows(work, data).values()) * work.feature_width * _FLOAT_BYTES


def _data_bytes(work: Work, data: DataFacts, target: Target, tier: Tier) -> float:
    if work.caches_features:
        return feature_bytes(work, data)
    return resident_bytes(data, target) if tier == "resident" else 0.0
