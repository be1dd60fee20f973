"""The choice of device and backend follows the machine and the installed packages."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError
from typing import TYPE_CHECKING, Literal

import pytest

from effv2_tune import host as host_module
from effv2_tune.errors import TuneError
from effv2_tune.host import (
    Hardware,
    Packages,
    choose_hardware,
    install_command,
    probe_host,
    probe_packages,
)

if TYPE_CHECKING:
    from pathlib import Path

NOTHING = Packages(jax=False, jax_cuda=False, libtpu=False, tensorflow=True, tensorflow_cuda=False)
CUDA = Packages(jax=True, jax_cuda=True, libtpu=False, tensorflow=True, tensorflow_cuda=False)
JAX = Packages(jax=True, jax_cuda=False, libtpu=False, tensorflow=False, tensorflow_cuda=False)
NO_BACKEND = Packages(
    jax=False, jax_cuda=False, libtpu=False, tensorflow=False, tensorflow_cuda=False
)
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

    with pytest.raises(TuneError, match=r"NVIDIA T4.*training would run on the CPU") as caught:
        choose_hardware("auto", "auto", host, NOTHING)

    assert install_command("cuda") in (caught.value.hint or "")


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


def test_the_two_cores_of_a_chip_of_v3_are_two_devices(tmp_path: Path) -> None:
    root = machine(tmp_path, tpus=4)
    for number in range(4):
        (root / f"sys/bus/pci/devices/{number}/device").write_text("0x0027\n")
    host = probe_host(root)

    chosen = choose_hardware("auto", "auto", host, TPU)

    assert (host.tpu_chips, chosen.devices, chosen.devices_per_chip) == (4, 8, 2)
    assert chosen.why == "4 TPU chips with 2 cores each, with JAX"
    assert [chosen.devices_of(1), chosen.devices_of(4), chosen.devices_of(2, 4)] == [8, 2, 4]


def test_one_of_several_hosts_of_a_slice_is_refused_unless_it_is_used_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = machine(tmp_path, tpus=4)
    monkeypatch.setenv("TPU_WORKER_HOSTNAMES", "10.0.0.1,10.0.0.2")

    with pytest.raises(TuneError, match="the devices of 2 hosts as one"):
        choose_hardware("auto", "auto", probe_host(root), TPU)

    monkeypatch.setenv("TPU_PROCESS_BOUNDS", "1,1,1")
    assert choose_hardware("auto", "auto", probe_host(root), TPU).devices == 4


def test_hardware_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TuneError, match="requires 'hardware: gpu'"):
        choose_hardware("gpu", "auto", probe_host(machine(tmp_path)), CUDA)


def test_jax_that_is_not_installed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TuneError, match="JAX is not installed"):
        choose_hardware("auto", "jax", probe_host(machine(tmp_path)), NOTHING)


def test_without_tensorflow_the_cpu_trains_with_jax(tmp_path: Path) -> None:
    chosen = choose_hardware("auto", "auto", probe_host(machine(tmp_path)), JAX)

    assert (chosen.kind, chosen.backend) == ("cpu", "jax")
    assert "TensorFlow is not installed" in chosen.why


def test_tensorflow_that_is_not_installed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TuneError, match="TensorFlow is not installed") as caught:
        choose_hardware("auto", "tensorflow", probe_host(machine(tmp_path)), JAX)

    assert install_command("tensorflow") in (caught.value.hint or "")


@pytest.mark.parametrize("backend", ["auto", "tensorflow", "jax"])
def test_without_a_backend_the_error_names_both(
    tmp_path: Path, backend: Literal["auto", "tensorflow", "jax"]
) -> None:
    with pytest.raises(TuneError, match="Neither TensorFlow nor JAX is installed") as caught:
        choose_hardware("auto", backend, probe_host(machine(tmp_path)), NO_BACKEND)

    assert install_command("tensorflow") in (caught.value.hint or "")
    assert install_command("jax") in (caught.value.hint or "")


def test_cuda_libraries_without_tensorflow_do_not_select_tensorflow(tmp_path: Path) -> None:
    packages = Packages(
        jax=True, jax_cuda=False, libtpu=False, tensorflow=False, tensorflow_cuda=True
    )

    with pytest.raises(TuneError, match="training would run on the CPU"):
        choose_hardware("auto", "auto", probe_host(machine(tmp_path, gpus=1)), packages)


class Installed:
    """A distribution with this ``direct_url.json``."""

    def __init__(self, direct_url: str | None) -> None:
        self._direct_url = direct_url

    def read_text(self, name: str) -> str | None:
        assert name == "direct_url.json"
        return self._direct_url


@pytest.mark.parametrize(
    ("direct_url", "command"),
    [
        ('{"url": "file:///src", "dir_info": {"editable": true}}', "pip install -e '.[jax]'"),
        ('{"url": "file:///src", "dir_info": {}}', 'pip install "effv2-tune[jax]"'),
        ('{"url": "https://x/y.whl", "archive_info": {}}', 'pip install "effv2-tune[jax]"'),
        (None, 'pip install "effv2-tune[jax]"'),
    ],
)
def test_the_install_command_fits_the_way_this_package_was_installed(
    monkeypatch: pytest.MonkeyPatch, direct_url: str | None, command: str
) -> None:
    monkeypatch.setattr(host_module, "distribution", lambda _: Installed(direct_url))

    assert install_command("jax") == command


def test_a_source_tree_that_is_not_installed_installs_from_the_checkout(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(name: str) -> Installed:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(host_module, "distribution", missing)

    assert install_command("cuda") == "pip install -e '.[cuda]'"
