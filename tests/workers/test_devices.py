"""Each worker sees its share of the devices of a machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from effv2_tune.study.plan import StudyPlan
from effv2_tune.workers.devices import (
    CHIP_BOUNDS,
    own_devices,
    simulated_devices,
    visible_devices,
)
from effv2_tune.workers.launch import WorkerSpec


def spec_of(
    workers: int, *, each: int | None = None, devices: int = 8, per_chip: int = 1
) -> WorkerSpec:
    space = {"epochs": {"type": "int", "low": 1, "high": 2}}
    written = {"name": "x", "search_space": space, "trials": 1, "devices_per_worker": each}
    plan = StudyPlan.from_plain(written)
    return WorkerSpec.of(
        plan,
        base=Path(),
        hardware="tpu",
        backend="jax",
        workers=workers,
        devices=devices,
        devices_per_chip=per_chip,
    )


def test_eight_workers_of_a_tpu_host_have_one_chip_each_and_ports_of_their_own() -> None:
    seen = [spec_of(8).environment(worker) for worker in range(8)]

    assert [one["TPU_VISIBLE_CHIPS"] for one in seen] == list("01234567")
    assert [one["TPU_VISIBLE_DEVICES"] for one in seen] == list("01234567")
    assert {one["TPU_CHIPS_PER_PROCESS_BOUNDS"] for one in seen} == {"1,1,1"}
    assert {one["TPU_PROCESS_BOUNDS"] for one in seen} == {"1,1,1"}
    ports = [one[name] for one in seen for name in ("TPU_PROCESS_PORT", "TPU_MESH_CONTROLLER_PORT")]
    assert len(set(ports)) == 16
    assert all(one["TPU_PROCESS_ADDRESSES"].endswith(one["TPU_PROCESS_PORT"]) for one in seen)


@pytest.mark.parametrize(
    ("each", "chips", "bounds"),
    [
        (2, ["0,1", "2,3", "4,5", "6,7"], "1,2,1"),
        (4, ["0,1,2,3", "4,5,6,7"], "2,2,1"),
    ],
)
def test_workers_with_several_chips_have_neighbours(
    each: int, chips: list[str], bounds: str
) -> None:
    seen = [spec_of(len(chips), each=each).environment(worker) for worker in range(len(chips))]

    assert [one["TPU_VISIBLE_CHIPS"] for one in seen] == chips
    assert {one["TPU_CHIPS_PER_PROCESS_BOUNDS"] for one in seen} == {bounds}


@pytest.mark.parametrize(
    ("workers", "each", "chips", "bounds"),
    [
        (4, None, ["0", "1", "2", "3"], "1,1,1"),
        (4, 2, ["0", "1", "2", "3"], "1,1,1"),
        (2, 4, ["0,1", "2,3"], "1,2,1"),
    ],
)
def test_a_worker_of_a_v3_8_has_whole_chips_with_two_devices_each(
    workers: int, each: int | None, chips: list[str], bounds: str
) -> None:
    spec = spec_of(workers, each=each, per_chip=2)
    seen = [spec.environment(worker) for worker in range(workers)]

    assert [one["TPU_VISIBLE_CHIPS"] for one in seen] == chips
    assert {one["TPU_CHIPS_PER_PROCESS_BOUNDS"] for one in seen} == {bounds}
    assert "TPU_VISIBLE_CHIPS" not in spec_of(1, per_chip=2).environment()


def test_bounds_hold_as_many_chips_as_they_are_for() -> None:
    for count, bounds in CHIP_BOUNDS.items():
        x, y, z = map(int, bounds.split(","))
        assert x * y * z == count


@pytest.mark.parametrize("each", [None, 8])
def test_a_lone_worker_of_a_tpu_host_has_all_chips_without_any_limit(each: int | None) -> None:
    assert not [name for name in spec_of(1, each=each).environment() if "TPU" in name]


def test_a_lone_worker_may_have_a_part_of_the_chips() -> None:
    assert spec_of(1, each=4).environment()["TPU_VISIBLE_CHIPS"] == "0,1,2,3"


def test_each_of_several_workers_sees_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def seen(each: int) -> list[str]:
        shares = [visible_devices(n, hardware="gpu", each=each, machine=4) for n in range(2)]
        return [share["CUDA_VISIBLE_DEVICES"] for share in shares]

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert seen(1) == ["0", "1"]
    assert seen(2) == ["0,1", "2,3"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    assert seen(1) == ["4", "7"]


@pytest.mark.parametrize("hardware", ["gpu", "cpu", "tpu"])
def test_a_lone_worker_sees_what_there_is(hardware: str) -> None:
    assert visible_devices(0, hardware=hardware, each=None, machine=4) == {}


def test_on_a_cpu_devices_are_simulated_and_other_flags_of_xla_stay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=8 --xla_dump_to=x")
    assert simulated_devices() == 8

    share = visible_devices(0, hardware="cpu", each=2, machine=8)

    assert share["XLA_FLAGS"] == "--xla_dump_to=x"
    assert share["JAX_NUM_CPU_DEVICES"] == "2"
    assert simulated_devices(share) == 2


def test_a_process_knows_the_devices_that_it_is_limited_to() -> None:
    chips = spec_of(4, each=2).environment(1)

    assert own_devices("tpu", chips) == ("tpu-2", "tpu-3")
    assert own_devices("gpu", {"CUDA_VISIBLE_DEVICES": "GPU-8a"}) == ("gpu-GPU-8a",)
    assert own_devices("cpu", {}) == own_devices("tpu", {}) == ()
