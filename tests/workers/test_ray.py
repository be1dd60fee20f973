"""Checks of a Ray cluster before anything is started; whole studies are in test_cluster.py."""

from __future__ import annotations

import json
import socket
import threading
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from effv2_tune.errors import TuneError
from effv2_tune.study import load_plan
from effv2_tune.study.plan import PerWorker, StudyPlan
from effv2_tune.workers.device_choice import choose_device
from effv2_tune.workers.ray import check_address, check_room, check_target, check_version

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import Outcome

STUDY = {
    "name": "tiny",
    "trials": 2,
    "data": {"name": "digits"},
    "search_space": {"weight_decay": {"type": "float", "low": 1e-6, "high": 1e-1}},
}


def plan(**changes: Any) -> StudyPlan:
    return StudyPlan.model_validate_json(json.dumps(STUDY | changes))


def test_a_missing_ray_is_named_with_the_command_that_installs_it() -> None:
    with pytest.raises(TuneError, match="Ray is not installed") as caught:
        check_version(None)

    assert caught.value.exit_code == 2
    assert caught.value.hint is not None
    assert "[ray]" in caught.value.hint


@pytest.mark.parametrize(("found", "is_old"), [("2.9.3", True), ("2.50.0", False), ("3.0", False)])
def test_a_ray_that_is_too_old_is_refused(found: str, *, is_old: bool) -> None:
    if not is_old:
        check_version(found)
        return
    with pytest.raises(TuneError, match=r"Ray 2\.9\.3 is too old; effv2-tune needs 2\.50"):
        check_version(found)


@pytest.mark.parametrize("address", ["ray://head:10001", "head", "head:", ":6379", "head:port"])
def test_an_address_of_another_form_is_wrong_input(address: str) -> None:
    with pytest.raises(TuneError, match="HOST:PORT") as caught:
        check_address(address)

    assert caught.value.exit_code == 2


def test_an_address_where_nothing_answers_is_a_failure_of_the_place() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(TuneError, match=r"cannot be reached: .*refused") as caught:
            check_address(f"127.0.0.1:{port}")

    assert caught.value.exit_code == 1
    assert caught.value.hint is not None
    assert "ray status" in caught.value.hint


def test_an_address_where_something_else_answers_is_not_tried_for_minutes() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(TuneError, match="is no head of a Ray cluster") as caught:
            check_address(f"127.0.0.1:{server.getsockname()[1]}")

    assert caught.value.exit_code == 1


NODES = [{"CPU": 8.0, "GPU": 1.0}, {"CPU": 5.0}, {}]


@pytest.mark.parametrize(
    ("per_worker", "room"),
    [(PerWorker(), 13), (PerWorker(cpu=2), 6), (PerWorker(gpu=1), 1), (PerWorker(cpu=8, gpu=1), 1)],
)
def test_a_worker_needs_all_its_resources_on_one_node(per_worker: PerWorker, room: int) -> None:
    assert check_room(NODES, per_worker) == room


def test_a_worker_that_fits_no_node_is_refused_with_what_there_is() -> None:
    with pytest.raises(TuneError) as caught:
        check_room(NODES, PerWorker(cpu=9))

    assert "9 CPU for each worker exceeds every node" in caught.value.message
    assert "8 CPU, 1 GPU; 5 CPU, 0 GPU" in caught.value.message
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"devices_per_worker": 2},
        {"target": {"devices": 2, "device": "t4"}},
        {"target": {"devices": 1}},
    ],
)
def test_keys_of_one_machine_and_a_cluster_exclude_each_other(changes: dict[str, Any]) -> None:
    plan(**changes)

    with pytest.raises(ValidationError, match=next(iter(changes))):
        plan(cluster={}, **changes)


@pytest.mark.parametrize(
    ("device", "found"),
    [("t4-2", "2 devices"), ("v5e", "a TPU"), ("t5", "Unknown device 't5'")],
)
def test_a_target_that_no_worker_can_have_is_refused(device: str, found: str) -> None:
    check_target("t4", "gpu")

    with pytest.raises(TuneError, match=found) as caught:
        check_target(device, "gpu")

    assert caught.value.exit_code == 2


def add_cluster(folder: Path, lines: str = "cluster: {per_worker: {cpu: 2}}") -> None:
    with (folder / "study.yaml").open("a") as file:
        file.write(f"{lines}\n")


@pytest.mark.skipif(find_spec("ray") is not None, reason="Ray is installed")
@pytest.mark.parametrize("is_written", [True, False])
def test_without_ray_a_study_on_a_cluster_is_refused_before_it_starts(
    folder: Path, tune: Callable[..., Outcome], *, is_written: bool
) -> None:
    if is_written:
        add_cluster(folder)
    said = tune("run", "study.yaml", *([] if is_written else ["--ray", "auto"]))

    assert said.code == 2
    assert "Ray is not installed here" in said.err
    assert not (folder / "runs").exists()


def test_a_kind_of_device_that_the_workers_do_not_have_is_refused(
    folder: Path, tune: Callable[..., Outcome]
) -> None:
    add_cluster(folder, "hardware: gpu\ncluster: {per_worker: {cpu: 2}}")

    said = tune("run", "study.yaml")

    assert said.code == 2
    assert "hardware: gpu contradicts 'cluster: per_worker:'" in said.err


def test_a_command_that_uses_the_devices_of_this_machine_says_so() -> None:
    with pytest.raises(TuneError, match="run on a Ray cluster"):
        choose_device(plan(cluster={}))


def test_the_address_on_the_command_line_keeps_what_each_worker_needs(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(
        json.dumps(STUDY | {"cluster": {"per_worker": {"cpu": 3}}})
    )
    loaded = load_plan(tmp_path / "study.yaml", overrides={"ray": "head:6379", "trials": None})

    assert loaded.plan.cluster is not None
    assert loaded.plan.cluster.ray == "head:6379"
    assert loaded.plan.cluster.per_worker.cpu == 3
