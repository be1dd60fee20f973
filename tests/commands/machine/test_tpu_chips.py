"""What `doctor` shows of a TPU host: its devices as files, and locks of processes that run."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from tests.files.held_lock import BY_LOCKF, held_lock

from effv2_tune.commands.machine.tpu_chips import TpuChips, tpu_lines
from effv2_tune.host import Packages, probe_host

if TYPE_CHECKING:
    from pathlib import Path

TPU = Packages(jax=True, jax_cuda=False, libtpu=True, tensorflow=False, tensorflow_cuda=False)
VERSIONS = {"libtpu": "0.0.52"}


def tpu_host(root: Path, *, chips: int, pci: str, nodes: str = "vfio/{}") -> Path:
    """A folder with the files of a TPU host, as its kernel shows them."""
    (root / "proc").mkdir()
    (root / "tmp").mkdir()
    (root / "dev/vfio").mkdir(parents=True)
    (root / "dev/vfio/vfio").touch()
    for number in range(chips):
        (root / "dev" / nodes.format(number)).touch()
        device = root / f"sys/bus/pci/devices/0000:00:0{number}.0"
        device.mkdir(parents=True)
        (device / "vendor").write_text("0x1ae0\n")
        (device / "device").write_text(f"{pci}\n")
    return root


def add_process(root: Path, pid: int, command: str, *nodes: str) -> None:
    (root / f"proc/{pid}/fd").mkdir(parents=True)
    (root / f"proc/{pid}/cmdline").write_bytes(command.encode().replace(b" ", b"\0"))
    for number, node in enumerate(("/dev/null", *nodes)):
        (root / f"proc/{pid}/fd/{number}").symlink_to(node)


@pytest.mark.parametrize(
    ("chips", "pci", "nodes", "line"),
    [
        (8, "0x0063", "vfio/{}", "8 x v5e (TPU v5 lite), 16 GB of HBM each; '--device v5e-8'"),
        (1, "0x006f", "vfio/{}", "1 x v6e (TPU v6 lite), 32 GB of HBM each; '--device v6e-1'"),
        (4, "0x0062", "vfio/{}", "4 x v5p (TPU v5), 95 GB of HBM each; '--device v5p-8'"),
        (4, "0x005e", "accel{}", "4 x v4 (TPU v4), 32 GB of HBM each; '--device v4-8'"),
        # JAX shows its two cores.
        (4, "0x0027", "accel{}", "4 x v3 (TPU v3), 32 GB of HBM each; '--device v3-8'"),
        (2, "0x0063", "vfio/{}", "2 x v5e (TPU v5 lite), 16 GB of HBM each"),
        (4, "0x0076", "vfio/{}", "4 chips of an unknown generation"),
    ],
)
def test_chips_are_known_by_their_pci_number(
    tmp_path: Path, chips: int, pci: str, nodes: str, line: str
) -> None:
    host = probe_host(tpu_host(tmp_path, chips=chips, pci=pci, nodes=nodes))

    assert list(tpu_lines(host, TPU, VERSIONS))[:2] == [line, "libtpu 0.0.52"]


def test_a_host_without_chips_has_none(tmp_path: Path) -> None:
    assert TpuChips.of(probe_host(tpu_host(tmp_path, chips=0, pci=""))) is None


def test_each_process_that_has_chips_open_is_named_with_them(tmp_path: Path) -> None:
    root = tpu_host(tmp_path, chips=4, pci="0x0063")
    add_process(root, 7, "bash", "/dev/vfio/vfio")
    add_process(root, 4321, "python -m ipykernel_launcher", "/dev/vfio/0", "/dev/vfio/1")
    add_process(root, 99, "python /home/anna/train.py", "/dev/vfio/3", "/dev/vfio/3")

    lines = list(tpu_lines(probe_host(root), TPU, VERSIONS))

    assert lines[2:] == [
        "/dev/vfio/3: held by process 99 (python ~/train.py)",
        "/dev/vfio/0, /dev/vfio/1: held by process 4321 (python -m ipykernel_launcher)",
    ]


def test_a_process_that_holds_the_lock_of_libtpu_is_named(tmp_path: Path) -> None:
    root = tpu_host(tmp_path, chips=1, pci="0x0063")
    with held_lock(root / "tmp/libtpu_lockfile", BY_LOCKF) as process:
        held = list(tpu_lines(probe_host(root), TPU, VERSIONS))
    free = list(tpu_lines(probe_host(root), TPU, VERSIONS))

    assert held[2].startswith(
        f"lock of libtpu: held by process {process.pid} ({sys.executable}"[:60]
    )
    assert free[2].startswith("held by no process")


def test_without_libtpu_the_way_to_install_it_is_shown(tmp_path: Path) -> None:
    host = probe_host(tpu_host(tmp_path, chips=1, pci="0x0063"))

    assert list(tpu_lines(host, TPU, {}))[1].startswith("no libtpu; install it: pip install")
