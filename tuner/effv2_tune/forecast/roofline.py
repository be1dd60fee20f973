"""Predicts step times from a device's peak speed and bandwidth.

A step takes as long as its multiplications at a share of the device's peak speed, and its layers'
outputs moved to and from memory so many times at peak bandwidth. Both shares were fitted to the
eleven EfficientNetV2 rows of timm's table of training speed on an RTX 3090 (mixed precision,
channels last; huggingface/pytorch-image-models, results/benchmark-train-amp-nhwc-pt112-cu113-
rtx3090.csv), from B0 at 192 px to XL at 384 px: it gives each within 7 %. Bandwidth counts for
five sixths of B0's time there, and two thirds of XL's. Inference likewise: nine rows of
benchmark-infer-amp-nhwc-pt113-cu117-rtx3090.csv, each within 10 %. On a TPU, the passes are those
that its compiler estimates (`forecast.tpu`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from effv2_tune.forecast import tpu
from effv2_tune.forecast.work import EXTRACTION_BATCH, TRAINING_OVER_FORWARD

if TYPE_CHECKING:
    from effv2_tune.forecast.target import Target
    from effv2_tune.forecast.work import Work
    from effv2_tune.study.bucket import BucketKey

#: How often each activation crosses the memory bus in a training step and in inference, at peak
#: bandwidth; fitted.
PASSES = 33.5
INFERENCE_PASSES = 7.5
#: Share of the peak speed at which convolutions multiply; fitted.
SPEED_SHARE = 0.92
#: Operations a second of one CPU core in a training step of ours, in float32: B0 at 32 px, batches
#: of 128, 0.18 s a step on two cores of an AMD EPYC 9004 (TensorFlow). JAX takes 1.28 times as long
#: (benchmarks/operations.py).
CPU_FLOPS = {"tensorflow": 31e9, "jax": 24e9}
#: Overhead of the framework per block of the network on a CPU.
CPU_BLOCK_SECONDS = 0.002
#: Overhead per block on a GPU: some thirty kernels, a few microseconds each. Assumed; it matters
#: only for small batches of small images.
GPU_BLOCK_SECONDS = 0.0001
#: Overhead of a step on a TPU, which is one program with its loop: that of a classifier's step, as
#: the compiler estimates it.
TPU_STEP_SECONDS = 0.00002
#: Reads and writes of each weight-sized vector in an update.
_UPDATE_PASSES = 2
_FLOAT_BYTES = 4

_ON_CHIPS = "may be off by a factor of 2, and by more below 64 px or in small batches"
#: Shown with every such time.
EXPECTED_ERROR = {"gpu": _ON_CHIPS, "tpu": _ON_CHIPS, "cpu": "may be off by a factor of 3"}


def can_predict(target: Target) -> bool:
    """Whether the roofline of the device is known."""
    return target.kind == "cpu" or target.accelerator is not None


def step_seconds(work: Work, key: BucketKey, target: Target) -> float:
    """Time of one optimizer step, in seconds.

    Args:
        work: Of the bucket.
        key: The bucket.
        target: The device; all devices share the batch. Communication counts on a TPU alone.

    Raises:
        ValueError: The device is unknown.
    """
    if work.caches_features:
        image = _seconds(target, key, flops=work.head_flops, moved=2.0 * work.feature_width)
    else:
        share = work.train_flops / (TRAINING_OVER_FORWARD * work.forward_flops)
        moved = share * _moved(work, key, target, key.batch / target.placement.device_count)
        image = _seconds(target, key, flops=work.train_flops, moved=moved)
    return key.batch / target.placement.device_count * image + _update(work, key, target)


def evaluation_seconds(work: Work, key: BucketKey, target: Target) -> float:
    """Time of a forward pass over one image, in seconds, without gradients.

    Raises:
        ValueError: The device is unknown.
    """
    if work.caches_features:
        flops, moved = work.head_flops / TRAINING_OVER_FORWARD, 0.0
    else:
        flops = work.forward_flops
        images = key.batch / target.placement.device_count
        moved = _moved(work, key, target, images, trains=False)
    seconds = _seconds(target, key, flops=flops, moved=moved)
    return seconds / target.placement.device_count


def extraction_seconds(work: Work, key: BucketKey, target: Target) -> float:
    """Time to extract the features of one view of one image, in seconds.

    Raises:
        ValueError: The device is unknown.
    """
    moved = _moved(work, key, target, EXTRACTION_BATCH, trains=False)
    seconds = _seconds(target, key, flops=work.forward_flops, moved=moved)
    return seconds / target.placement.device_count


def _moved(
    work: Work, key: BucketKey, target: Target, images: float, *, trains: bool = True
) -> float:
    """Numbers that cross the memory bus for one image, of so many on each device."""
    if target.kind == "tpu":
        passes = tpu.TRAINING_PASSES if trains else tpu.INFERENCE_PASSES
        return passes * tpu.stored_activations(key, images) / images
    return (PASSES if trains else INFERENCE_PASSES) * work.activations


def _seconds(target: Target, key: BucketKey, *, flops: float, moved: float) -> float:
    """Of one image on one device."""
    chip = target.accelerator
    if chip is not None:
        element = max(chip.bytes_per_number, _FLOAT_BYTES if key.precision == "float32" else 2)
        return moved * element / chip.bandwidth + flops / (SPEED_SHARE * chip.flops)
    if target.kind == "cpu":
        return flops / (CPU_FLOPS[key.backend] * target.cores)
    raise ValueError(f"unknown device {target.placement.device_kind}")


def _update(work: Work, key: BucketKey, target: Target) -> float:
    """Time of a step that is independent of the batch: the update, overhead and all-reduces."""
    if target.accelerator is None:
        # The steps of a classifier are one loop on the device, without dispatch.
        return 0.0 if work.caches_features else CPU_BLOCK_SECONDS * work.blocks
    moved = _UPDATE_PASSES * (2 + work.state_vectors) * work.trained * _FLOAT_BYTES
    update = moved / target.accelerator.bandwidth
    if target.kind == "tpu":
        return update + TPU_STEP_SECONDS + tpu.all_reduce_seconds(work, key, target)
    return update + GPU_BLOCK_SECONDS * (1 if work.caches_features else work.blocks)
