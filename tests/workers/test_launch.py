"""Environment variables of workers."""

from __future__ import annotations

from effv2_tune.workers.launch import worker_environment


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
