"""Defines the reference kernel: a fixed piece of work that is timed beside the steps of networks.

Convolutions and elementwise operations, as in a network, so that they depend alike on clocks,
caches and memory. On a CPU its images take 4 MB, more than a core keeps in its own cache, and it
takes some 25 milliseconds on two cores; kernels of other sizes follow the steps of networks about
as well (benchmarks/results/reference_kernel.md). On an accelerator it takes a few.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from effv2_tune.host import Kind

_SEED = 0


class KernelSize(NamedTuple):
    """Square images, float32, and the convolutions of each."""

    batch: int
    side: int
    channels: int
    convolutions: int


#: By the kind of device.
SIZES: dict[Kind, KernelSize] = {
    "cpu": KernelSize(batch=32, side=32, channels=32, convolutions=3),
    "gpu": KernelSize(batch=256, side=32, channels=64, convolutions=8),
    "tpu": KernelSize(batch=256, side=32, channels=64, convolutions=8),
}


def reference_inputs(kind: Kind) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The images and the filter of the reference kernel on a kind of device."""
    batch, side, channels, _ = SIZES[kind]
    generator = np.random.default_rng(_SEED)
    images = generator.standard_normal((batch, side, side, channels), np.float32)
    filters = generator.standard_normal((3, 3, channels, channels), np.float32)
    return images, filters / np.float32(3 * channels**0.5)


def reference_work(images: Any, filters: Any, kind: Kind) -> Any:
    """The mean of the images after some convolutions; nothing of it can be left out."""
    from keras import ops

    for _ in range(SIZES[kind].convolutions):
        images = ops.silu(ops.conv(images, filters, padding="same", data_format="channels_last"))
        images = images - ops.mean(images, axis=(0, 1, 2))
    return ops.mean(ops.square(images))
