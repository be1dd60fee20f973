"""Predicts what the TPU's compiler makes of a network: tiles, code and all-reduces.

The constants were fitted to what libtpu 0.0.52 and 0.0.42.1 compiled for v5e (estimated cycles and
HBM of a step, in mixed_bfloat16; docs/plan.md); nothing of it was measured on a TPU.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from effv2_tune import catalog

if TYPE_CHECKING:
    from effv2_tune.forecast.target import Target
    from effv2_tune.forecast.work import Work
    from effv2_tune.study.bucket import BucketKey

#: A TPU stores an array in tiles of 8 x 128 numbers or more.
_LANES = 128
_SUBLANES = 8
_FLOAT_BYTES = 4
#: How often each stored activation crosses the memory bus in a training step and in inference.
TRAINING_PASSES = 16.0
INFERENCE_PASSES = 3.4
#: How often each stored activation is kept for the backward pass: XLA recomputes the others.
_KEPT_COPIES = 1.1
#: In inference, the current layer has its input and its output, in the vector memory of a v5e
#: where they fit (jax-ml/scaling-book, "tpus").
_WIDEST_COPIES = 2.0
_VECTOR_MEMORY_BYTES = 128 * 2**20
#: In training, a batch as floats, and resized.
_IMAGE_COPIES = 2
#: Compiled code of a block of the network, in HBM: of a training step, more where its activations
#: exceed the vector memory, and of inference.
_TRAINING_CODE_BYTES = 2.0e6
_TILED_CODE_BYTES = 5.0e6
_INFERENCE_CODE_BYTES = 1.2e6
#: One-way latency of a link to the next chip, and bytes per second of a link in both directions
#: together, by generation: jax-ml/scaling-book, "sharding" (a note on ICI latency) and "tpus".
_HOP_SECONDS = 1e-6
_LINK_BYTES = {"v4": 90e9, "v5e": 90e9, "v5p": 180e9, "v6e": 180e9}
_SLOWEST_LINK = min(_LINK_BYTES.values())


def stored_activations(key: BucketKey, images: float) -> int:
    """Numbers that a TPU stores for the outputs of all layers.

    Either channels or images are in the lanes of a tile, whichever fills them up with less: with
    16 images on a chip, 16 channels take the place of 128.

    Args:
        key: The network and its resolution.
        images: On each chip.
    """
    return sum(pixels * _stored(channels, images) for channels, pixels in _outputs(key))


def training_bytes(work: Work, key: BucketKey, images: float) -> float:
    """Bytes that a training step allocates on a chip: activations or gradients, and its code.

    Args:
        work: Of the bucket; with a frozen backbone, which keeps nothing, that is inference.
        key: The bucket.
        images: On each chip.
    """
    if not _trains_backbone(work):
        return inference_bytes(work, key, images)
    numbers = _KEPT_COPIES * stored_activations(key, images)
    numbers += images * _IMAGE_COPIES * work.image_numbers
    kept = numbers * _element(key)
    code = _TILED_CODE_BYTES if kept > _VECTOR_MEMORY_BYTES else _TRAINING_CODE_BYTES
    # Activations are released while gradients are computed.
    return max(kept, _FLOAT_BYTES * work.trained) + work.blocks * code


def inference_bytes(work: Work, key: BucketKey, images: float) -> float:
    """Likewise of an evaluation or extraction."""
    widest = max(pixels * _stored(channels, images) for channels, pixels in _outputs(key))
    allocated = max(_WIDEST_COPIES * widest * _element(key) - _VECTOR_MEMORY_BYTES, 0.0)
    return allocated + work.blocks * _INFERENCE_CODE_BYTES


def all_reduce_seconds(work: Work, key: BucketKey, target: Target) -> float:
    """Time of the all-reduces of a training step: latency, and the gradients' bytes.

    Each batch normalization that is trained waits for one of its statistics and one of their
    gradients; all gradients of weights are one more.

    Args:
        work: Of the bucket.
        key: The bucket.
        target: The chips, in a rectangle without wraparound links.
    """
    chips = target.placement.device_count
    if chips == 1:
        return 0.0
    rows = 1 << int(math.log2(chips)) // 2
    hops = rows - 1 + chips / rows - 1
    count = 1 + (2 * len(_outputs(key)) if _trains_backbone(work) else 0)
    name = "" if target.accelerator is None else target.accelerator.name
    gradients = 2 * work.trained * _element(key) / _LINK_BYTES.get(name, _SLOWEST_LINK)
    # To one chip's sum and back.
    return count * 2 * hops * _HOP_SECONDS + gradients


def _trains_backbone(work: Work) -> bool:
    return work.kept_activations == work.activations


def _element(key: BucketKey) -> int:
    return _FLOAT_BYTES if key.precision == "float32" else 2


def _outputs(key: BucketKey) -> list[tuple[int, int]]:
    variant = catalog.find_variant(key.variant)
    return [*catalog.convolution_outputs(variant, key.resolution)]


def _stored(channels: int, images: float) -> int:
    """Numbers of a pixel of all images."""
    in_lanes = _filled(channels, _LANES) * _filled(images, _SUBLANES)
    over_lanes = _filled(images, _LANES) * _filled(channels, _SUBLANES)
    return min(in_lanes, over_lanes)


def _filled(size: float, tile: int) -> int:
    return math.ceil(size / tile) * tile
