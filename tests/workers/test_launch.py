"""Environment variables of workers."""

from __future__ import annotations

import pytest

from effv2_tune.workers.launch import visible_device, worker_environment


def test_a_worker_on_a_cpu_sees_no_accelerator() -> None:
    environment = worker_environment("jax", "cpu", workers=1, cpu_count=8)

    assert environment["KERAS_BACKEND"] == "jax"
    assert environment["CUDA_VISIBLE_DEVICES"] == "-1"
    assert environment["JAX_PLATFORMS"] == "cpu"


def test_workers_share_the_processors() -> None:
    environment = worker_environment("tensorflow", "cpu", workers=3, cpu_count=8)

    assert environment["OMP_NUM_THREADS"] == environment["TF_NUM_INTRAOP_THREADS"] == "2"
    assert environment["PJRT_NPROC"] == "2"


def test_a_lone_worker_has_all_processors() -> None:
    environment = worker_environment("jax", "cpu", workers=1, cpu_count=8)

    assert not {"OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "PJRT_NPROC"} & environment.keys()


def test_each_of_several_workers_sees_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    seen = [visible_device(worker, hardware="gpu", workers=2) for worker in range(2)]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    chosen = [visible_device(worker, hardware="gpu", workers=2) for worker in range(2)]

    assert [one["CUDA_VISIBLE_DEVICES"] for one in seen] == ["0", "1"]
    assert [one["CUDA_VISIBLE_DEVICES"] for one in chosen] == ["4", "7"]


@pytest.mark.parametrize(("hardware", "workers"), [("gpu", 1), ("cpu", 4), ("tpu", 1)])
def test_a_lone_worker_sees_what_there_is(hardware: str, workers: int) -> None:
    assert visible_device(0, hardware=hardware, workers=workers) == {}
