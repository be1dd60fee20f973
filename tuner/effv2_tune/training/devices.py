"""The device that a process trains on: the kind that was asked for, or a sentence why not."""

from __future__ import annotations

import os
import platform
import re
import socket
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from effv2_tune.errors import EXIT_FAILED, TuneError
from effv2_tune.host import THREADS_VARIABLE, probe_host, usable_bytes
from effv2_tune.study.bucket import Placement
from effv2_tune.study.trial import Environment

if TYPE_CHECKING:
    from effv2_tune.host import Backend, Kind

Precision = Literal["float32", "mixed_bfloat16"]

#: What the last digits of a training depend on.
_PACKAGES = ("effv2-tune", "keras", "tensorflow", "jax", "jaxlib", "numpy")


#: What all kept compilations of one kind of device may take on disk.
_CACHE_BYTES = 4 * 2**30


@dataclass(frozen=True)
class Device:
    """Where this process trains.

    Attributes:
        kind: ``cpu``, ``gpu`` or ``tpu``.
        environment: For the record.
        placement: For bucket keys.
        image_bytes: How many bytes of images it may hold beside networks.
    """

    kind: Kind
    environment: Environment
    placement: Placement
    image_bytes: int


def open_device(
    backend: Backend,
    *,
    hardware: Kind,
    precision: Literal["auto", "float32", "mixed_bfloat16"] = "auto",
) -> Device:
    """Start the backend on the kind of device that is asked for.

    Args:
        backend: The Keras backend; KERAS_BACKEND says the same.
        hardware: The kind of device.
        precision: ``auto`` is mixed_bfloat16 on TPU and GPU, float32 on a CPU.

    Raises:
        TuneError: Keras runs on another backend, or the backend finds no such device.
    """
    _check_backend(backend)
    kinds = _tensorflow_devices(hardware) if backend == "tensorflow" else _jax_devices(hardware)
    resolved: Precision = "float32" if hardware == "cpu" else "mixed_bfloat16"
    if precision != "auto":
        resolved = precision
    environment = Environment(
        hardware=hardware,
        device_kind=kinds[0],
        device_count=len(kinds),
        backend=backend,
        precision=resolved,
        threads=_threads(backend),
        host=socket.gethostname(),
        versions=_versions(),
    )
    placement = Placement(
        backend=backend,
        device_kind=environment.device_kind,
        device_count=environment.device_count,
        precision=resolved,
    )
    return Device(hardware, environment, placement, _image_bytes(backend, hardware))


def _threads(backend: Backend) -> int:
    """How many CPU threads the backend computes with in this process."""
    processors = len(os.sched_getaffinity(0))
    given = os.environ.get(THREADS_VARIABLE[backend], "")
    # Zero, and what is no number, leave it to the backend: it takes all.
    return min(processors, int(given) or processors) if given.isdecimal() else processors


def _check_backend(backend: Backend) -> None:
    import keras

    running = keras.backend.backend()
    if running != backend:
        raise TuneError(
            f"This process runs Keras on {running}, and {backend} is asked for.",
            hint=f"Set KERAS_BACKEND={backend} before Keras is imported.",
            exit_code=EXIT_FAILED,
        )


def _tensorflow_devices(hardware: Kind) -> list[str]:
    """Names of the devices; TensorFlow trains on one."""
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if hardware == "cpu":
        tf.config.set_visible_devices([], "GPU")
        return [probe_host().cpu]
    if hardware == "tpu":
        raise TuneError(
            "TensorFlow cannot use a TPU any more (2.19 was the last that could).",
            hint="Write 'backend: jax'.",
        )
    if not gpus:
        raise _lacking("TensorFlow", hardware)
    # Otherwise TensorFlow takes all memory at once, and a second process finds none.
    tf.config.experimental.set_memory_growth(gpus[0], enable=True)
    tf.config.set_visible_devices(gpus[:1], "GPU")
    details = tf.config.experimental.get_device_details(gpus[0])
    return [str(details.get("device_name", "GPU"))]


def _jax_devices(hardware: Kind) -> list[str]:
    """Names of the devices, all of which take part."""
    import jax

    if hardware == "cpu":
        # Otherwise arrays lie on an accelerator where there is one, whatever was asked for.
        jax.config.update("jax_platforms", "cpu")
    try:
        devices = jax.devices(hardware)
    except RuntimeError as error:
        raise _lacking("JAX", hardware) from error
    if hardware == "cpu":
        return [probe_host().cpu] * len(devices)
    kinds = [str(device.device_kind) for device in devices]
    keep_compilations(kinds[0])
    return kinds


def keep_compilations(device_kind: str) -> Path:
    """Have JAX keep what it compiles for TPU and GPU, for the next process.

    Before the first compilation, or JAX never looks (jax-ml/jax#25768). Whoever can write to the
    folder can run code here: it is this user's alone. Not on the CPU, where some machines always
    reject the entries (jax-ml/jax#38445).

    Returns:
        The folder, one for each version and kind of device.
    """
    import jax

    name = re.sub(r"[^A-Za-z0-9.]+", "-", f"{version('jaxlib')}-{device_kind}")
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = caches / "effv2-tune" / "compiled" / name
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    jax.config.update("jax_compilation_cache_dir", str(folder))
    _remove_oldest(folder, _CACHE_BYTES)
    return folder


def _remove_oldest(folder: Path, limit: int) -> None:
    """Keep the newest files that have ``limit`` bytes together (JAX' own limit needs filelock)."""
    kept = 0
    files = [(path, path.stat()) for path in folder.iterdir() if path.is_file()]
    for path, facts in sorted(files, key=lambda file: file[1].st_mtime, reverse=True):
        kept += facts.st_size
        if kept > limit:
            path.unlink(missing_ok=True)


def _image_bytes(backend: Backend, hardware: Kind) -> int:
    """A quarter of the memory; where TensorFlow does not say how much there is, two gigabytes."""
    if hardware == "cpu":
        return usable_bytes() // 4
    if backend == "tensorflow":
        return 2 * 2**30
    import jax

    return int((jax.devices()[0].memory_stats() or {}).get("bytes_limit", 8 * 2**30)) // 4


def _lacking(backend: str, hardware: Kind) -> TuneError:
    return TuneError(
        f"{backend} finds no {hardware.upper()} in this process.",
        hint="'effv2-tune doctor' says what this machine has; 'hardware: cpu' trains on the CPU.",
        exit_code=EXIT_FAILED,
    )


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions
