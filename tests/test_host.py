"""Which device is used, and that it is never a lesser one silently."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from effv2_tune.errors import TuneError
from effv2_tune.host import Hardware, Packages, choose_hardware, probe_host, probe_packages

if TYPE_CHECKING:
    from pathlib import Path

NOTHING = Packages(jax=False, jax_cuda=False, libtpu=False, tensorflow=True, tensorflow_cuda=False)
CUDA = Packages(jax=True, jax_cuda=True, libtpu=False, tensorflow=True, tensorflow_cuda=False)
TPU = Packages(jax=True, jax_cuda=False, libtpu=True, tensorflow=True, tensorflow_cuda=False)


def machine(root: Path, *, gpus: int = 0, tpus: int = 0, holder: str | None = None) -> Path:
    (root / "proc").mkdir()
    (root / "proc/cpuinfo").write_text("model name\t: Slow CPU\n")
    for number in range(gpus):
        folder = root / f"proc/driver/nvidia/gpus/{number}"
        folder.mkdir(parents=True)
        (folder / "information").write_text("Model: \t\t NVIDIA T4\nIRQ: 3\n")
    (root / "dev/vfio").mkdir(parents=True)
    for number in range(tpus):
        (root / f"dev/vfio/{number}").touch()
        device = root / f"sys/bus/pci/devices/{number}"
        device.mkdir(parents=True)
        (device / "vendor").write_text("0x1ae0\n")
        (device / "device").write_text("0x0063\n")
    if holder is not None:
        (root / "proc/4321/fd").mkdir(parents=True)
        (root / "proc/4321/fd/7").symlink_to("/dev/vfio/0")
        (root / "proc/4321/cmdline").write_bytes(holder.encode().replace(b" ", b"\0"))
    return root


def test_this_machine_can_be_looked_at() -> None:
    host = probe_host()

    assert host.cpu_count >= 1
    assert host.cpu
    assert probe_packages().tensorflow


def test_a_bare_machine_trains_on_its_cpu_with_tensorflow(tmp_path: Path) -> None:
    chosen = choose_hardware("auto", "auto", probe_host(machine(tmp_path)), NOTHING)

    assert (chosen.kind, chosen.backend) == ("cpu", "tensorflow")
    assert "Slow CPU" in chosen.why


def test_a_gpu_without_cuda_packages_stops_and_names_them(tmp_path: Path) -> None:
    host = probe_host(machine(tmp_path, gpus=1))

    with pytest.raises(TuneError, match=r"NVIDIA T4.*would get the CPU") as caught:
        choose_hardware("auto", "auto", host, NOTHING)

    assert "effv2-tune[cuda]" in (caught.value.hint or "")


def test_a_gpu_host_may_say_that_the_cpu_is_meant(tmp_path: Path) -> None:
    host = probe_host(machine(tmp_path, gpus=1))

    assert choose_hardware("cpu", "auto", host, NOTHING).kind == "cpu"


def test_two_gpus_go_to_jax(tmp_path: Path) -> None:
    host = probe_host(machine(tmp_path, gpus=2))

    chosen = choose_hardware("auto", "auto", host, CUDA)

    assert (chosen.kind, chosen.backend, chosen.devices) == ("gpu", "jax", 2)


def test_the_generation_of_a_tpu_is_read_from_its_pci_number(tmp_path: Path) -> None:
    assert probe_host(machine(tmp_path, tpus=8)).tpu_kind == "TPU v5 lite"
    assert probe_host(tmp_path / "nothing").tpu_kind == ""


def test_tensorflow_on_a_tpu_host_is_told_what_to_set(tmp_path: Path) -> None:
    host = probe_host(machine(tmp_path, tpus=8))

    with pytest.raises(TuneError, match="TensorFlow cannot use a TPU") as caught:
        choose_hardware("auto", "tensorflow", host, TPU)

    assert "backend: jax" in (caught.value.hint or "")


def test_the_process_that_holds_the_tpu_is_named(tmp_path: Path) -> None:
    host = probe_host(machine(tmp_path, tpus=1, holder="python -m ipykernel_launcher"))

    with pytest.raises(TuneError, match=r"process 4321 \(python -m ipykernel_launcher\)"):
        choose_hardware("auto", "auto", host, TPU)


def test_a_free_tpu_is_taken_with_jax(tmp_path: Path) -> None:
    chosen = choose_hardware("auto", "auto", probe_host(machine(tmp_path, tpus=8)), TPU)

    assert chosen == Hardware("tpu", "jax", 8, "8 TPU chips, with JAX")


def test_hardware_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TuneError, match="asks for 'hardware: gpu'"):
        choose_hardware("gpu", "auto", probe_host(machine(tmp_path)), CUDA)


def test_jax_that_is_not_installed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TuneError, match="JAX is not installed"):
        choose_hardware("auto", "jax", probe_host(machine(tmp_path)), NOTHING)
