"""What this machine has, who holds it, and so which device and backend a worker will use.

Reads ``/dev``, ``/proc`` and ``/sys`` and looks for installed packages without importing them: the
supervisor must never start a device, because on a TPU one process owns the chip.
"""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from effv2_tune.errors import TuneError

Kind = Literal["cpu", "gpu", "tpu"]
Backend = Literal["tensorflow", "jax"]

#: What tells a backend how many threads it may compute with.
THREADS_VARIABLE: dict[Backend, str] = {"tensorflow": "TF_NUM_INTRAOP_THREADS", "jax": "PJRT_NPROC"}

_GOOGLE_PCI_VENDOR = "0x1ae0"
#: What JAX calls the chips of a PCI device number (jax/_src/hardware_utils.py).
_TPU_KINDS = {
    "0x0027": "TPU v3",
    "0x005e": "TPU v4",
    "0x0062": "TPU v5",
    "0x0063": "TPU v5 lite",
    "0x006f": "TPU v6 lite",
}


@dataclass(frozen=True)
class Holder:
    """A process that has a device open.

    Attributes:
        pid: Its number.
        command: Its command line, shortened.
    """

    pid: int
    command: str


@dataclass(frozen=True)
class Host:
    """What a machine has.

    Attributes:
        cpu: Name of its processor.
        cpu_count: Processors that this process may use.
        gpus: Names of its NVIDIA GPUs.
        tpu_chips: How many TPU chips it has.
        tpu_holders: Other processes that have a TPU chip open.
        tpu_kind: What JAX calls the chips; empty for none, or a generation newer than our table.
    """

    cpu: str
    cpu_count: int
    gpus: tuple[str, ...]
    tpu_chips: int
    tpu_holders: tuple[Holder, ...]
    tpu_kind: str = ""

    @property
    def best(self) -> Kind:
        """The kind of device that training is fastest on."""
        if self.tpu_chips:
            return "tpu"
        return "gpu" if self.gpus else "cpu"

    def devices(self, kind: Kind) -> int:
        """How many devices of a kind there are; the CPU counts as one."""
        return {"cpu": 1, "gpu": len(self.gpus), "tpu": self.tpu_chips}[kind]


@dataclass(frozen=True)
class Packages:
    """Which of the packages that reach a device are installed."""

    jax: bool
    jax_cuda: bool
    libtpu: bool
    tensorflow: bool
    tensorflow_cuda: bool


@dataclass(frozen=True)
class Hardware:
    """What the workers will use, and why.

    Attributes:
        kind: The kind of device.
        backend: The Keras backend.
        devices: How many there are.
        why: One sentence.
    """

    kind: Kind
    backend: Backend
    devices: int
    why: str


def probe_host(root: Path = Path("/")) -> Host:
    """Look at the machine; ``root`` is where ``dev``, ``proc`` and ``sys`` lie."""
    return Host(
        cpu=_cpu_name(root),
        cpu_count=len(os.sched_getaffinity(0)),
        gpus=_gpus(root),
        tpu_chips=len(_tpu_nodes(root)),
        tpu_holders=_tpu_holders(root),
        tpu_kind=_tpu_kind(root),
    )


def usable_bytes() -> int:
    """Memory that processes may use here: the machine's, or the container's where that is less."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
    except OSError:
        return machine
    return machine if limit == "max" else min(machine, int(limit))


def threads_each(cpu_count: int, workers: int) -> int:
    """How many threads each of several workers computes with, where they share processors."""
    return max(cpu_count // workers, 1)


def probe_packages() -> Packages:
    """Look for packages without importing them."""
    return Packages(
        jax=_has("jax"),
        jax_cuda=_has("jax_cuda12_plugin") or _has("jax_cuda13_plugin"),
        libtpu=_has("libtpu"),
        tensorflow=_has("tensorflow"),
        tensorflow_cuda=_has("nvidia.cudnn"),
    )


def choose_hardware(
    hardware: Literal["auto", "cpu", "gpu", "tpu"],
    backend: Literal["auto", "tensorflow", "jax"],
    host: Host,
    packages: Packages,
) -> Hardware:
    """Which device and backend the workers use. Never a lesser device than the host has, silently.

    Raises:
        TuneError: The device that is asked for (or the best one of the host) cannot be used; the
            hint names the cause.
    """
    kind = host.best if hardware == "auto" else hardware
    if hardware != "auto" and not host.devices(kind):
        raise TuneError(
            f"The study asks for 'hardware: {kind}', and this machine has none.",
            hint=f"It has: {host.best}. Write 'hardware: auto' or 'hardware: {host.best}'.",
        )
    if kind == "tpu":
        return _tpu(backend, host, packages)
    if kind == "gpu":
        return _gpu(backend, host, packages)
    chosen: Backend = "tensorflow" if backend == "auto" else backend
    if chosen == "jax" and not packages.jax:
        raise TuneError(
            "The study asks for 'backend: jax', and JAX is not installed.",
            hint='Install it: pip install "effv2-tune[jax]"',
        )
    reason = "as the study says" if backend != "auto" else "it starts and trains faster than JAX"
    return Hardware("cpu", chosen, 1, f"{host.cpu}; {chosen} on the CPU: {reason}")


def _tpu(backend: str, host: Host, packages: Packages) -> Hardware:
    if backend == "tensorflow":
        raise TuneError(
            "TensorFlow cannot use a TPU any more (2.19 was the last that could).",
            hint="Write 'backend: jax' or remove the line; or train on the CPU: 'hardware: cpu'.",
        )
    if not (packages.jax and packages.libtpu):
        raise TuneError(
            "This machine has a TPU, and the packages that reach it are not installed.",
            hint="Install them: pip install \"effv2-tune[tpu]\"; or write 'hardware: cpu'.",
        )
    if host.tpu_holders:
        holder = host.tpu_holders[0]
        raise TuneError(
            f"The TPU is held by process {holder.pid} ({holder.command}); one process owns it.",
            hint="End that process (a notebook kernel that has used JAX: restart it, and do not "
            "import jax before the study runs); or write 'hardware: cpu'.",
        )
    return Hardware("tpu", "jax", host.tpu_chips, f"{host.tpu_chips} TPU chips, with JAX")


def _gpu(backend: str, host: Host, packages: Packages) -> Hardware:
    reach = {"jax": packages.jax and packages.jax_cuda, "tensorflow": packages.tensorflow_cuda}
    names = ", ".join(sorted(set(host.gpus)))
    order: tuple[Backend, ...] = ("jax", "tensorflow")
    for one in order:
        if reach[one] and backend in ("auto", one):
            devices = len(host.gpus) if one == "jax" else 1
            return Hardware("gpu", one, devices, f"{devices} GPU ({names}), with {one}")
    wanted = "the CUDA packages" if backend == "auto" else f"the CUDA packages of {backend}"
    raise TuneError(
        f"This machine has a GPU ({names}), and {wanted} are not installed: training would get "
        "the CPU.",
        hint="Install them: pip install \"effv2-tune[cuda]\"; or write 'hardware: cpu'.",
    )


def _cpu_name(root: Path) -> str:
    try:
        for line in (root / "proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _gpus(root: Path) -> tuple[str, ...]:
    names = []
    for path in sorted(root.glob("proc/driver/nvidia/gpus/*/information")):
        model = [
            line.split(":", 1)[1].strip()
            for line in path.read_text(encoding="utf-8").splitlines()
            if line.startswith("Model:")
        ]
        names.append(model[0] if model else "NVIDIA GPU")
    if names:
        return tuple(names)
    # In some containers the driver's files are hidden and only the device nodes are there.
    nodes = [path for path in root.glob("dev/nvidia*") if path.name[6:].isdigit()]
    return ("NVIDIA GPU",) * len(nodes)


def _tpu_nodes(root: Path) -> list[Path]:
    """Device nodes of TPU chips: ``accel*`` up to v4, ``vfio/*`` from v5e on."""
    nodes = sorted(root.glob("dev/accel[0-9]*"))
    vendors = (
        path.read_text(encoding="ascii").strip()
        for path in root.glob("sys/bus/pci/devices/*/vendor")
    )
    if not nodes and _GOOGLE_PCI_VENDOR in vendors:
        nodes = sorted(path for path in root.glob("dev/vfio/*") if path.name.isdigit())
    return nodes


def _tpu_kind(root: Path) -> str:
    for vendor in sorted(root.glob("sys/bus/pci/devices/*/vendor")):
        number = vendor.with_name("device")
        if vendor.read_text(encoding="ascii").strip() == _GOOGLE_PCI_VENDOR and number.is_file():
            kind = _TPU_KINDS.get(number.read_text(encoding="ascii").strip(), "")
            if kind:
                return kind
    return ""


def _tpu_holders(root: Path) -> tuple[Holder, ...]:
    nodes = {str(Path("/") / node.relative_to(root)) for node in _tpu_nodes(root)}
    holders = []
    for process in root.glob("proc/[0-9]*") if nodes else ():
        if int(process.name) == os.getpid():
            continue
        try:
            open_files = {os.readlink(link) for link in (process / "fd").iterdir()}  # noqa: PTH115 - a text is wanted, not a Path
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue  # it has ended, or it is another user's
        if open_files & nodes:
            holders.append(Holder(int(process.name), command.strip()[:60]))
    return tuple(holders)


def _has(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:
        return False
