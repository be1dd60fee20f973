"""Opens the devices that JAX trains on, all of one kind."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import jax

from effv2_tune.files.cache import cache_folder
from effv2_tune.host import compute_threads, probe_host, several_hosts_error
from effv2_tune.training.backends.base import ReferenceKernel, missing_device_error
from effv2_tune.training.backends.jax.extraction import JaxExtractor
from effv2_tune.training.backends.jax.flops import image_flops
from effv2_tune.training.backends.jax.handover import Handover
from effv2_tune.training.backends.jax.mesh import device_mesh, replicated, split_by_batch
from effv2_tune.training.backends.jax.placing import place_batch, place_in_blocks, place_whole
from effv2_tune.training.backends.jax.steps import JaxSteps
from effv2_tune.training.backends.reference import reference_inputs, reference_work
from effv2_tune.training.inputs.packing import packed_sources
from effv2_tune.training.inputs.pipeline import device_data

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from jax.sharding import Mesh

    from effv2_tune.host import Kind
    from effv2_tune.optimizers.step_optimizer import StepOptimizer
    from effv2_tune.training.backends.base import StepPlan
    from effv2_tune.training.backends.jax.mesh import Put
    from effv2_tune.training.inputs.pipeline import DeviceData, Source

#: What JAX starts, beside a TPU. Otherwise arrays of a CPU's process are placed on an accelerator
#: where there is one, and libtpu, which may be installed to compile with it, is loaded and prints
#: warnings where there is no TPU.
_PLATFORMS = {"cpu": "cpu", "gpu": "cuda,cpu"}
#: Bytes on disk up to which the compilation cache of one kind of device grows.
_CACHE_BYTES = 4 * 2**30
#: The memory of an accelerator that reports none.
_ASSUMED_BYTES = 8 * 2**30


@dataclass(frozen=True)
class JaxBackend:
    """See :class:`effv2_tune.training.backends.base.Backend`; batches are split over all devices.

    Attributes:
        mesh: Of the devices.
        platform: Their kind.
        device_names: Their names.
        put: Places arrays on them.
        handover: Of what was compiled for them ahead of time; None where nothing is kept.
    """

    mesh: Mesh
    platform: Kind
    device_names: list[str]
    put: Put = jax.device_put
    handover: Handover | None = None

    @classmethod
    def open(cls, hardware: Kind) -> JaxBackend:
        """Start JAX on all devices of this kind."""
        if hardware in _PLATFORMS:
            jax.config.update("jax_platforms", _PLATFORMS[hardware])
        try:
            devices = jax.devices(hardware)
        except RuntimeError as error:
            raise missing_device_error("JAX", hardware) from error
        if jax.process_count() > 1:
            raise several_hosts_error(jax.process_count())
        if hardware == "cpu":
            return cls(device_mesh(devices), hardware, [probe_host().cpu] * len(devices))
        names = [str(device.device_kind) for device in devices]
        handover = Handover(keep_compilations(names[0]), len(devices))
        return cls(device_mesh(devices), hardware, names, handover=handover)

    @property
    def _place(self) -> dict[str, Any]:
        return {"mesh": self.mesh, "platform": self.platform, "put": self.put}

    @property
    def memory_bytes(self) -> int:
        """Memory of the first device."""
        return int(self._memory_stats().get("bytes_limit", _ASSUMED_BYTES))

    def peak_memory(self) -> int | None:
        """The most bytes in use so far on the first device."""
        peak = self._memory_stats().get("peak_bytes_in_use")
        return None if peak is None else int(peak)

    def _memory_stats(self) -> dict[str, Any]:
        return self.mesh.devices.flat[0].memory_stats() or {}

    def place(self, sources: Mapping[str, Source], limit: int) -> DeviceData:
        """Images or features by split: on every device if they have at most ``limit`` bytes.

        Images are packed into rows on accelerators.
        """
        on_cpu, is_attached = self.platform == "cpu", self.put is jax.device_put
        whole = partial(place_whole, replicated(self.mesh), put=self.put)
        in_blocks = partial(place_in_blocks, replicated(self.mesh))
        return device_data(
            sources if on_cpu else packed_sources(sources),
            limit=limit,
            place_all=whole if on_cpu or not is_attached else in_blocks,
            place_batch=partial(place_batch, split_by_batch(self.mesh), put=self.put),
        )

    def make_steps(
        self, network: Any, optimizer: StepOptimizer, plan: StepPlan, data: DeviceData
    ) -> JaxSteps:
        """The steps of a network on the mesh."""
        return JaxSteps(network, optimizer, plan, data, **self._place)

    def make_extractor(self, backbone: Any, plan: StepPlan, data: DeviceData) -> JaxExtractor:
        """The inference of a backbone on the mesh."""
        return JaxExtractor(backbone, plan, data, **self._place)

    def reference_kernel(self) -> ReferenceKernel:
        """See :mod:`effv2_tune.training.backends.reference`; on the first device."""
        inputs = reference_inputs(self.platform)
        images, filters = jax.device_put(inputs, self.mesh.devices.flat[0])
        work = jax.jit(partial(reference_work, kind=self.platform))

        def run() -> None:
            work(images, filters).block_until_ready()

        run()
        threads = compute_threads("jax") if self.platform == "cpu" else None
        return ReferenceKernel(run, threads)

    def take_notes(self) -> tuple[str, ...]:
        """Remarks on programs that were compiled ahead of time, and not used."""
        return () if self.handover is None else self.handover.take_notes()

    image_flops = staticmethod(image_flops)


def keep_compilations(device_kind: str) -> Path:
    """Enable JAX's compilation cache on disk for TPU and GPU.

    Before the first compilation, or JAX never looks (jax-ml/jax#25768). Whoever can write to the
    folder can run code here, so only this user can. Not on the CPU, where some machines always
    reject the entries (jax-ml/jax#38445).

    Returns:
        The folder, one for each version and kind of device.
    """
    folder = compilation_folder(cache_folder("compiled"), device_kind)
    jax.config.update("jax_compilation_cache_dir", str(folder))
    _remove_oldest(folder, _CACHE_BYTES)
    return folder


def compilation_folder(cache: Path, device_kind: str) -> Path:
    """Make the folder of one version of JAX and one kind of device, which only this user can read.

    Args:
        cache: The folder of all of them.
        device_kind: As JAX names it.
    """
    name = re.sub(r"[^A-Za-z0-9.]+", "-", f"{version('jaxlib')}-{device_kind}")
    folder = cache / name
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    return folder


def _remove_oldest(folder: Path, limit: int) -> None:
    """Keep the newest files, up to ``limit`` bytes together (JAX's own limit needs filelock)."""
    kept = 0
    files = [(path, path.stat()) for path in folder.iterdir() if path.is_file()]
    for path, stat in sorted(files, key=lambda file: file[1].st_mtime, reverse=True):
        kept += stat.st_size
        if kept > limit:
            path.unlink(missing_ok=True)
