"""Describes the device of a forecast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from effv2_tune.study.bucket import Placement

if TYPE_CHECKING:
    from effv2_tune.workers.accelerators import Accelerator

#: The share of a GPU's memory that JAX allocates (its XLA_CLIENT_MEM_FRACTION).
_JAX_SHARE = 0.75
#: As `training.devices`: the limit for images on a GPU under TensorFlow, which does not report the
#: memory.
_TENSORFLOW_IMAGES = 2 * 2**30
#: Images up to this share of the memory stay on the device.
_IMAGE_SHARE = 0.25


@dataclass(frozen=True)
class Target:
    """Where a study will be trained.

    Attributes:
        placement: Backend, device kind, count and precision.
        kind: The kind of device.
        accelerator: Its speed and memory; None for a CPU, or an unknown device.
        memory: Bytes of one device: of an accelerator, or a worker's share of the host's memory on
            a CPU; None if unknown.
        cores: Processors per worker, on a CPU.
    """

    placement: Placement
    kind: Literal["cpu", "gpu", "tpu"]
    accelerator: Accelerator | None
    memory: float | None
    cores: int

    @property
    def usable_memory(self) -> float | None:
        """Bytes of one device that the backend can allocate."""
        if self.memory is None or self.kind != "gpu" or self.placement.backend != "jax":
            return self.memory
        return _JAX_SHARE * self.memory

    @property
    def image_bytes(self) -> float | None:
        """Bytes of images that may stay on the device; the rule of the trainer."""
        if self.kind == "gpu" and self.placement.backend == "tensorflow":
            return _TENSORFLOW_IMAGES
        return None if self.usable_memory is None else _IMAGE_SHARE * self.usable_memory


def target_of(
    accelerator: Accelerator | None,
    *,
    kind: Literal["cpu", "gpu", "tpu"],
    backend: Literal["tensorflow", "jax"],
    device_kind: str,
    count: int,
    precision: Literal["auto", "float32", "mixed_bfloat16"] = "auto",
    memory: float | None = None,
    cores: int = 1,
) -> Target:
    """A target, with the precision ``auto`` resolved.

    Args:
        accelerator: See :class:`Target`.
        kind: The kind of device.
        backend: The Keras backend.
        device_kind: The device's name, as the backend reports it.
        count: Devices that one training uses.
        precision: As the study specifies.
        memory: A worker's share of the host's memory, on a CPU.
        cores: Processors per worker, on a CPU.
    """
    resolved: Literal["float32", "mixed_bfloat16"]
    resolved = "float32" if kind == "cpu" else "mixed_bfloat16"
    if precision != "auto":
        resolved = precision
    placement = Placement(
        backend=backend, device_kind=device_kind, device_count=count, precision=resolved
    )
    device_memory = memory if accelerator is None else accelerator.memory
    return Target(placement, kind, accelerator, device_memory, cores)
