"""Opens the device that a process trains on: of the requested kind, or an error."""

from __future__ import annotations

import platform
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from effv2_tune.errors import EXIT_FAILED, TuneError
from effv2_tune.host import compute_threads, installed_versions, usable_bytes
from effv2_tune.study.bucket import Placement
from effv2_tune.study.trial import Environment
from effv2_tune.training.backends import open_backend

if TYPE_CHECKING:
    from effv2_tune.host import Backend as BackendName
    from effv2_tune.host import Kind
    from effv2_tune.training.backends.base import Backend

#: Packages whose versions may change the last digits of a result.
_PACKAGES = ("effv2-tune", "keras", "tensorflow", "jax", "jaxlib", "numpy")


@dataclass(frozen=True)
class Device:
    """The devices of this process and the backend on them.

    Attributes:
        kind: ``cpu``, ``gpu`` or ``tpu``.
        backend: Opened on the devices.
        environment: For the record.
        placement: For bucket keys.
        image_bytes: How many bytes of images it may hold beside networks.
    """

    kind: Kind
    backend: Backend
    environment: Environment
    placement: Placement
    image_bytes: int


def open_device(
    backend: BackendName,
    *,
    hardware: Kind,
    precision: Literal["auto", "float32", "mixed_bfloat16"] = "auto",
) -> Device:
    """Start the backend on the requested kind of device.

    Args:
        backend: The Keras backend; equal to KERAS_BACKEND.
        hardware: The kind of device.
        precision: ``auto`` is mixed_bfloat16 on TPU and GPU, float32 on a CPU.

    Raises:
        TuneError: Keras runs on another backend, or the backend finds no such device.
    """
    _check_backend(backend)
    opened = open_backend(backend, hardware)
    if precision == "auto":
        precision = "float32" if hardware == "cpu" else "mixed_bfloat16"
    names = opened.device_names
    environment = Environment(
        hardware=hardware,
        device_kind=names[0],
        device_count=len(names),
        backend=backend,
        precision=precision,
        threads=compute_threads(backend),
        host=socket.gethostname(),
        versions={"python": platform.python_version()} | installed_versions(_PACKAGES),
    )
    placement = Placement(
        backend=backend,
        device_kind=environment.device_kind,
        device_count=environment.device_count,
        precision=precision,
    )
    memory = usable_bytes() if hardware == "cpu" else opened.memory_bytes
    return Device(hardware, opened, environment, placement, image_bytes=memory // 4)


def _check_backend(backend: BackendName) -> None:
    import keras

    running = keras.backend.backend()
    if running != backend:
        raise TuneError(
            f"Keras runs on {running} in this process, but backend {backend} is requested.",
            hint=f"Set KERAS_BACKEND={backend} before Keras is imported.",
            exit_code=EXIT_FAILED,
        )
