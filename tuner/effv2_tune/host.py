"""Detects devices and installed packages, and chooses the device and backend of the workers.

Reads ``/dev``, ``/proc`` and ``/sys`` and looks for installed packages without importing them: the
supervisor must never start a device, because on a TPU one process owns the chip.
"""

from __future__ import annotations

import json
import os
import platform
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from effv2_tune.errors import EXIT_FAILED, TuneError
from effv2_tune.files.lock_holders import lock_holders
from effv2_tune.keras_backend import has_package

if TYPE_CHECKING:
    from collections.abc import Iterable

Kind = Literal["cpu", "gpu", "tpu"]
Backend = Literal["tensorflow", "jax"]

#: The environment variable that limits a backend's compute threads.
THREADS_VARIABLE: dict[Backend, str] = {"tensorflow": "TF_NUM_INTRAOP_THREADS", "jax": "PJRT_NPROC"}

_GOOGLE_PCI_VENDOR = "0x1ae0"
#: JAX's name of the chips by PCI device number (jax/_src/hardware_utils.py); v2 has that of v3.
_TPU_KINDS = {
    "0x0027": "TPU v3",
    "0x005e": "TPU v4",
    "0x0062": "TPU v5",
    "0x0063": "TPU v5 lite",
    "0x006f": "TPU v6 lite",
}
#: Chips whose two cores are two devices for JAX; the cores of v4 and v5p are one.
_TWO_DEVICES = {"TPU v3"}


@dataclass(frozen=True)
class Holder:
    """A process that has a device open.

    Attributes:
        pid: Process ID.
        command: Command line, shortened.
        devices: Device nodes that it has open, such as ``/dev/vfio/0``.
    """

    pid: int
    command: str
    devices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Host:
    """The devices of a machine.

    Attributes:
        cpu: Name of the processor.
        cpu_count: Processors that this process may use.
        gpus: Names of the NVIDIA GPUs.
        tpu_chips: Number of TPU chips.
        tpu_holders: Other processes that have a TPU chip open.
        tpu_kind: JAX's name of the chips; empty if there are none or the table lacks them.
        tpu_hosts: Hosts of the TPU slice that this machine is part of, as far as the environment
            says.
        libtpu_holders: Other processes that hold the lock of libtpu, which it takes before it opens
            all chips; those of other users, too.
    """

    cpu: str
    cpu_count: int
    gpus: tuple[str, ...]
    tpu_chips: int
    tpu_holders: tuple[Holder, ...]
    tpu_kind: str = ""
    tpu_hosts: int = 1
    libtpu_holders: tuple[Holder, ...] = ()

    @property
    def best(self) -> Kind:
        """The fastest kind of device."""
        if self.tpu_chips:
            return "tpu"
        return "gpu" if self.gpus else "cpu"

    def devices(self, kind: Kind) -> int:
        """Number of devices of a kind, as JAX shows them; the CPU counts as one."""
        cores = self.tpu_chips * self.devices_per_chip
        return {"cpu": 1, "gpu": len(self.gpus), "tpu": cores}[kind]

    @property
    def devices_per_chip(self) -> int:
        """Devices that JAX shows for each TPU chip."""
        return 2 if self.tpu_kind in _TWO_DEVICES else 1


@dataclass(frozen=True)
class Packages:
    """Which of the packages that drive a device are installed."""

    jax: bool
    jax_cuda: bool
    libtpu: bool
    tensorflow: bool
    tensorflow_cuda: bool


@dataclass(frozen=True)
class Hardware:
    """The device and backend of the workers, and why they were chosen.

    Attributes:
        kind: The kind of device.
        backend: The Keras backend.
        devices: How many there are, as JAX shows them.
        why: The reason, in one sentence.
        devices_per_chip: Two on a TPU v2 or v3, whose cores are devices; a process owns whole
            chips.
    """

    kind: Kind
    backend: Backend
    devices: int
    why: str
    devices_per_chip: int = 1

    def devices_of(self, workers: int, each: int | None = None) -> int:
        """How many devices one worker trains on.

        Args:
            workers: How many share the machine.
            each: As the study says; if left out, a lone worker has all, and one of several has one,
                or the devices of one chip.
        """
        if each is not None:
            return each
        return self.devices if workers == 1 else self.devices_per_chip


def probe_host(root: Path = Path("/")) -> Host:
    """Detect the devices of this machine; ``root`` contains ``dev``, ``proc``, ``sys``, ``tmp``."""
    return Host(
        cpu=_cpu_name(root),
        cpu_count=len(os.sched_getaffinity(0)),
        gpus=_gpus(root),
        tpu_chips=len(_tpu_nodes(root)),
        tpu_holders=_tpu_holders(root),
        tpu_kind=_tpu_kind(root),
        tpu_hosts=_tpu_hosts(),
        libtpu_holders=_libtpu_holders(root),
    )


def several_hosts_error(count: int) -> TuneError:
    """The error of a machine that is one of several hosts whose devices JAX uses as one."""
    return TuneError(
        f"JAX uses the devices of {count} hosts as one here, and effv2-tune trains on those of one "
        "host.",
        hint="Use a slice of one host (v5litepod-8 and v6e-8 are the largest), or a virtual "
        "machine for each study.",
        exit_code=EXIT_FAILED,
    )


def compute_threads(backend: Backend) -> int:
    """How many CPU threads a backend computes with in this process."""
    processors = len(os.sched_getaffinity(0))
    limit = os.environ.get(THREADS_VARIABLE[backend], "")
    # Zero, or anything but digits, leaves it to the backend: it uses all.
    return min(processors, int(limit) or processors) if limit.isdecimal() else processors


def usable_bytes() -> int:
    """Memory available to processes: the machine's, or the container's limit if lower."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        limit = _content(Path("/sys/fs/cgroup/memory.max"))
    except OSError:
        return machine
    return machine if limit == "max" else min(machine, int(limit))


def threads_each(cpu_count: int, workers: int) -> int:
    """Compute threads of each worker when several share the processors."""
    return max(cpu_count // workers, 1)


def installed_versions(packages: Iterable[str]) -> dict[str, str]:
    """The versions of those of the packages that are installed."""
    versions = {}
    for package in packages:
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    return versions


def probe_packages() -> Packages:
    """Check which packages are installed, without importing them."""
    return Packages(
        jax=has_package("jax"),
        jax_cuda=has_package("jax_cuda12_plugin") or has_package("jax_cuda13_plugin"),
        libtpu=has_package("libtpu"),
        tensorflow=has_package("tensorflow"),
        tensorflow_cuda=has_package("nvidia.cudnn"),
    )


def choose_hardware(
    hardware: Literal["auto", "cpu", "gpu", "tpu"],
    backend: Literal["auto", "tensorflow", "jax"],
    host: Host,
    packages: Packages,
) -> Hardware:
    """Choose the device and backend of the workers; never falls back to a slower device silently.

    Raises:
        TuneError: The requested device (or the fastest one of the host) cannot be used; the hint
            gives the way out.
    """
    kind = host.best if hardware == "auto" else hardware
    if hardware != "auto" and not host.devices(kind):
        raise TuneError(
            f"The study requires 'hardware: {kind}', but this machine has none.",
            hint=f"It has: {host.best}. Use 'hardware: auto' or 'hardware: {host.best}'.",
        )
    if kind == "tpu":
        return _tpu(backend, host, packages)
    if kind == "gpu":
        return _gpu(backend, host, packages)
    return _cpu(backend, host, packages)


def install_command(extra: str) -> str:
    """The command that installs an extra: from the checkout if this is one, else by name."""
    try:
        source = distribution("effv2-tune").read_text("direct_url.json")  # PEP 610
    except PackageNotFoundError:  # imported from a source tree that is not installed
        return f"pip install -e '.[{extra}]'"
    if source and json.loads(source).get("dir_info", {}).get("editable", False):
        return f"pip install -e '.[{extra}]'"
    return f'pip install "effv2-tune[{extra}]"'


def _cpu(backend: Literal["auto", "tensorflow", "jax"], host: Host, packages: Packages) -> Hardware:
    installed = {"tensorflow": packages.tensorflow, "jax": packages.jax}
    if not any(installed.values()):
        raise TuneError(
            "Neither TensorFlow nor JAX is installed; training needs one of them.",
            hint=f"Install one: {install_command('tensorflow')} (faster on a CPU) or "
            f"{install_command('jax')}",
        )
    if backend != "auto":
        if not installed[backend]:
            name = {"tensorflow": "TensorFlow", "jax": "JAX"}[backend]
            raise TuneError(
                f"The study requires 'backend: {backend}', but {name} is not installed.",
                hint=f"Install it: {install_command(backend)}; or use 'backend: auto'.",
            )
        return Hardware("cpu", backend, 1, f"{host.cpu}; {backend} on the CPU: set by the study")
    if not packages.tensorflow:
        return Hardware("cpu", "jax", 1, f"{host.cpu}; jax on the CPU: TensorFlow is not installed")
    reason = "faster than JAX here" if packages.jax else "JAX is not installed"
    return Hardware("cpu", "tensorflow", 1, f"{host.cpu}; tensorflow on the CPU: {reason}")


def _tpu(backend: str, host: Host, packages: Packages) -> Hardware:
    if backend == "tensorflow":
        raise TuneError(
            "TensorFlow cannot use a TPU (2.19 was the last version that could).",
            hint="Use 'backend: jax' or remove the line; or train on the CPU: 'hardware: cpu'.",
        )
    if not (packages.jax and packages.libtpu):
        raise TuneError(
            "This machine has a TPU, but JAX's TPU packages are not installed.",
            hint=f"Install them: {install_command('tpu')}; or use 'hardware: cpu'.",
        )
    if host.tpu_hosts > 1:  # before JAX waits there for all of them
        raise several_hosts_error(host.tpu_hosts)
    if host.tpu_holders:
        holder = host.tpu_holders[0]
        raise TuneError(
            f"The TPU is in use by process {holder.pid} ({holder.command}); only one process can "
            "use it at a time.",
            hint="Stop that process (restart a notebook kernel that has used JAX, and do not "
            "import jax before the study runs); or use 'hardware: cpu'.",
        )
    each, devices = host.devices_per_chip, host.devices("tpu")
    having = "" if each == 1 else f" with {each} cores each"
    why = f"{host.tpu_chips} TPU chips{having}, with JAX"
    return Hardware("tpu", "jax", devices, why, devices_per_chip=each)


def _gpu(backend: str, host: Host, packages: Packages) -> Hardware:
    usable: dict[Backend, bool] = {
        "jax": packages.jax and packages.jax_cuda,
        "tensorflow": packages.tensorflow and packages.tensorflow_cuda,
    }
    names = ", ".join(sorted(set(host.gpus)))
    for candidate, is_usable in usable.items():
        if is_usable and backend in ("auto", candidate):
            devices = len(host.gpus) if candidate == "jax" else 1
            return Hardware("gpu", candidate, devices, f"{devices} GPU ({names}), with {candidate}")
    missing = "the CUDA packages" if backend == "auto" else f"the CUDA packages of {backend}"
    raise TuneError(
        f"This machine has a GPU ({names}), but {missing} are not installed: training would run "
        "on the CPU.",
        hint=f"Install them: {install_command('cuda')}; or use 'hardware: cpu'.",
    )


def _cpu_name(root: Path) -> str:
    with suppress(OSError):
        name = _first_value(root / "proc/cpuinfo", "model name")
        if name is not None:
            return name
    return platform.processor() or platform.machine()


def _gpus(root: Path) -> tuple[str, ...]:
    drivers = sorted(root.glob("proc/driver/nvidia/gpus/*/information"))
    if drivers:
        return tuple(_first_value(driver, "Model") or "NVIDIA GPU" for driver in drivers)
    # In some containers the driver's files are hidden and only the device nodes are there.
    nodes = [path for path in root.glob("dev/nvidia*") if path.name[6:].isdigit()]
    return ("NVIDIA GPU",) * len(nodes)


def _first_value(path: Path, key: str) -> str | None:
    """The value of the first line ``key: value`` of a file in ``/proc``."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith(key):
            return line.split(":", 1)[1].strip()
    return None


def _tpu_nodes(root: Path) -> list[Path]:
    """Device nodes of TPU chips: ``accel*`` up to v4, ``vfio/*`` from v5e on."""
    nodes = sorted(root.glob("dev/accel[0-9]*"))
    if not nodes and _google_devices(root):
        nodes = sorted(path for path in root.glob("dev/vfio/*") if path.name.isdigit())
    return nodes


def _tpu_kind(root: Path) -> str:
    numbers = (folder / "device" for folder in _google_devices(root))
    kinds = (_TPU_KINDS.get(_content(number)) for number in numbers if number.is_file())
    return next(filter(None, kinds), "")


def _tpu_hosts() -> int:
    """Hosts of the slice; one where a process is limited to this host."""
    is_limited = os.environ.get("TPU_PROCESS_BOUNDS", "") == "1,1,1"
    return 1 if is_limited else len(os.environ.get("TPU_WORKER_HOSTNAMES", "").split(","))


def _google_devices(root: Path) -> list[Path]:
    """Folders of Google's PCI devices."""
    vendors = sorted(root.glob("sys/bus/pci/devices/*/vendor"))
    return [vendor.parent for vendor in vendors if _content(vendor) == _GOOGLE_PCI_VENDOR]


def _content(path: Path) -> str:
    return path.read_text(encoding="ascii").strip()


def _tpu_holders(root: Path) -> tuple[Holder, ...]:
    nodes = {str(Path("/") / node.relative_to(root)) for node in _tpu_nodes(root)}
    holders = []
    for process in root.glob("proc/[0-9]*") if nodes else ():
        if int(process.name) == os.getpid():
            continue
        try:
            open_files = {os.readlink(link) for link in (process / "fd").iterdir()}  # noqa: PTH115 - compared as text
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue  # it has exited, or belongs to another user
        if held := sorted(open_files & nodes):
            holders.append(Holder(int(process.name), command.strip()[:60], tuple(held)))
    return tuple(sorted(holders, key=lambda holder: holder.pid))


def _libtpu_holders(root: Path) -> tuple[Holder, ...]:
    try:
        with (root / "tmp/libtpu_lockfile").open("rb") as file:
            holders = lock_holders(file.fileno())
    except OSError:  # no process has used libtpu, or only another user may read it
        return ()
    return tuple(Holder(one.pid, one.command) for one in holders if one.pid != os.getpid())
