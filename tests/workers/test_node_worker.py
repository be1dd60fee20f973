"""A worker process of a node, and the supervisor's calls, without a cluster."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from effv2_tune.files.cache import CACHE_VARIABLE
from effv2_tune.study.recipe import DataSpec, Recipe
from effv2_tune.workers.folder_copies import FolderCopy
from effv2_tune.workers.messages import Finished, Heartbeat, Refused, Stop, Train
from effv2_tune.workers.node_worker import NodeStart, NodeWorker
from effv2_tune.workers.supervised_pool import ProcessExit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CONNECTION = """
import sys
from multiprocessing.connection import Connection
connection = Connection(int(sys.argv[sys.argv.index("--fd") + 1]))
print("started", flush=True)
"""
ECHO = f"""{CONNECTION}
while True:
    try:
        connection.send(connection.recv())
    except EOFError:
        sys.exit(3)
"""
DEAF = f"{CONNECTION}\nimport time; connection.send('ready'); time.sleep(600)"
#: Writes two checkpoints, the first of which it then removes, and ends the trial.
TRAINER = f"""{CONNECTION}
from effv2_tune.study.trial import Times
from effv2_tune.workers.messages import Finished, Heartbeat
while True:
    try:
        order = connection.recv()
    except EOFError:
        sys.exit(0)
    found = sorted(path.name for path in order.checkpoint.iterdir())
    connection.send(Heartbeat(waits=True))
    connection.recv()
    (order.checkpoint / "step-1").unlink(missing_ok=True)
    (order.checkpoint / "step-2").write_text("second")
    connection.send(Finished(trial=order.trial, outcome="failed", scores=None, selected_epoch=None,
        curve=(), times=Times(), memory_bytes=1, reason=" ".join(found)))
"""

#: Long enough for a process on a loaded machine.
LONG = 60.0


@pytest.fixture(autouse=True)
def node_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the node keeps what it can lose."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache" / "cluster"


def order(program: str, **changes: Any) -> NodeStart:
    facts = {
        "name": "tiny-worker-0",
        "command": ("/python/of/the/supervisor", "-c", program),
        "python": "/python/of/the/supervisor",
        "environment": {},
        "version": "1.0",
    }
    return NodeStart(**(facts | changes))


@pytest.fixture
def start() -> Iterator[Callable[..., NodeWorker]]:
    """A function that starts a program as the worker of a node."""
    with contextlib.ExitStack() as ending:

        def begin(program: str, *, copy_seconds: float = LONG, **changes: Any) -> NodeWorker:
            worker = NodeWorker(order(program, **changes), "1.0", copy_seconds)
            ending.callback(worker.end, 0.0)
            return worker

        yield begin


def received(worker: NodeWorker, count: int) -> list[Any]:
    """The first messages of a worker, as a supervisor that confirms each of them gets them."""
    items: list[Any] = []
    while len(items) < count:
        delivery = worker.receive(len(items), LONG)
        assert delivery.items
        items += delivery.items[len(items) - delivery.first :]
    return items


def test_messages_go_both_ways_in_the_order_of_their_numbers(
    start: Callable[..., NodeWorker],
) -> None:
    worker = start(ECHO)

    worker.send(2, Heartbeat(waits=True))
    worker.send(1, Stop())
    worker.send(1, Stop())

    assert received(worker, 3) == [Heartbeat(waits=False), Stop(), Heartbeat(waits=True)]
    assert worker.receive(3, 0.1).items == ()


def test_what_was_not_confirmed_is_delivered_again(start: Callable[..., NodeWorker]) -> None:
    worker = start(ECHO)
    worker.send(1, Stop())
    received(worker, 2)

    assert worker.receive(1, LONG).items == (Stop(),)
    assert worker.receive(1, LONG).received == 1
    assert worker.receive(2, 0.1).items == ()


def test_the_end_of_the_process_is_reported_with_the_end_of_its_log(
    start: Callable[..., NodeWorker],
) -> None:
    worker = start(ECHO)
    worker.send(1, Stop())
    received(worker, 2)
    worker.kill()

    exited = received(worker, 3)[2]

    assert isinstance(exited, ProcessExit)
    assert (exited.cause, exited.kind, exited.log_tail) == ("killed (SIGKILL)", "kill", "started")


def test_a_worker_ends_when_its_pipe_closes_and_is_killed_after_the_grace(
    start: Callable[..., NodeWorker],
) -> None:
    patient, deaf = start(ECHO), start(DEAF)
    patient.send(1, Stop())
    received(patient, 2)

    ends = [patient.end(LONG), deaf.end(0.2)]

    assert [exit_ and exit_.cause for exit_ in ends] == [
        "exit status 3",
        "killed, as it did not exit",
    ]


def test_a_program_that_cannot_be_started_is_a_crash(start: Callable[..., NodeWorker]) -> None:
    worker = start("", command=("/no/such/program",))

    exited = received(worker, 2)[1]

    assert exited.kind == "crash"
    assert exited.cause == "exit status 1"
    assert exited.log_tail.startswith("/no/such/program could not be started: ")


def test_another_version_refuses_to_work(node_folder: Path) -> None:
    del node_folder
    refused, exited = received(NodeWorker(order(ECHO), "0.9"), 2)

    assert isinstance(refused, Refused)
    assert "has effv2-tune 0.9, and the supervisor has 1.0" in refused.message
    assert isinstance(exited, ProcessExit)


def test_a_variable_of_the_node_can_be_removed(
    start: Callable[..., NodeWorker], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    shows = f"{CONNECTION}\nimport os; connection.send(sorted(os.environ))"

    worker = start(shows, environment={"OMP_NUM_THREADS": None, "KERAS_BACKEND": "jax"})
    names = received(worker, 2)[1]

    assert "KERAS_BACKEND" in names
    assert "OMP_NUM_THREADS" not in names


def test_a_trial_finds_its_checkpoints_on_the_node_and_new_ones_come_before_its_end(
    start: Callable[..., NodeWorker], tmp_path: Path, node_folder: Path
) -> None:
    worker = start(TRAINER)
    train = Train(
        trial=7,
        recipe=Recipe(data=DataSpec(name="digits")),
        rungs=(),
        step_seconds=None,
        checkpoint=tmp_path / "study" / "checkpoints" / "trial-00007",
    )
    before = FolderCopy("trial-00007", frozenset({"step-1"}), {"step-1": b"first"})

    worker.send(1, train, before)
    worker.send(2, Stop())
    *_, copy, finished = received(worker, 4)

    assert copy == FolderCopy("trial-00007", frozenset({"step-2"}), {"step-2": b"second"})
    assert isinstance(finished, Finished)
    assert finished.reason == "step-1"
    assert not list(node_folder.rglob("step-*"))


def test_new_checkpoints_come_while_a_trial_is_trained(
    start: Callable[..., NodeWorker], tmp_path: Path
) -> None:
    busy = f"""{CONNECTION}
order = connection.recv()
(order.checkpoint / "step-1").write_text("first")
import time; time.sleep(600)
"""
    worker = start(busy, copy_seconds=0.1)
    train = Train(
        trial=7,
        recipe=Recipe(data=DataSpec(name="digits")),
        rungs=(),
        step_seconds=None,
        checkpoint=tmp_path / "trial-00007",
    )

    worker.send(1, train, FolderCopy("trial-00007"))

    assert received(worker, 2)[1].contents == {"step-1": b"first"}


HOST = """
import sys, time
from effv2_tune.workers.node_worker import NodeStart, NodeWorker
start = NodeStart("tiny", (sys.executable, "-c", sys.argv[1]), sys.executable, {}, "1.0")
worker = NodeWorker(start, "1.0")
while not any(isinstance(item, str) for item in worker.receive(0, 60.0).items):
    pass  # until the program has said that it runs
print(worker._process._process.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("is_stopped", [False, True])
def test_the_process_never_outlives_the_one_that_started_it(*, is_stopped: bool) -> None:
    host = subprocess.Popen([sys.executable, "-c", HOST, DEAF], stdout=subprocess.PIPE, text=True)
    assert host.stdout is not None
    with host.stdout:
        process = psutil.Process(int(host.stdout.readline()))
    if is_stopped:
        os.kill(process.pid, signal.SIGSTOP)

    host.kill()
    host.wait()

    _, alive = psutil.wait_procs([process], timeout=20)
    assert not alive


def test_the_process_ends_with_the_agent_of_its_node_even_while_nobody_reaps_that(
    start: Callable[..., NodeWorker], monkeypatch: pytest.MonkeyPatch
) -> None:
    with subprocess.Popen(["/bin/sleep", "600"]) as agent:
        monkeypatch.setenv("AGENT_PID", str(agent.pid))
        worker = start(DEAF, agent="AGENT_PID", copy_seconds=0.1)
        received(worker, 2)

        agent.kill()

        assert received(worker, 3)[2].cause == "killed (SIGKILL)"


def test_what_a_killed_host_left_on_the_node_is_removed(
    start: Callable[..., NodeWorker], node_folder: Path
) -> None:
    host = subprocess.Popen([sys.executable, "-c", HOST, DEAF], stdout=subprocess.PIPE)
    assert host.stdout is not None
    with host.stdout:
        host.stdout.readline()
    (abandoned,) = node_folder.glob(f"*/tiny@{host.pid}")
    host.kill()
    host.wait()

    start(ECHO)

    deadline = time.monotonic() + LONG
    while abandoned.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not abandoned.exists()
