"""A Ray cluster of several nodes on this machine, whose nodes and actors can be killed."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from typing import TYPE_CHECKING, Any, Self

import psutil
from ray.cluster_utils import Cluster

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Collection

#: Of a worker process that a test waits for.
LONG = 60.0
_NODE_BYTES = 80_000_000
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


class TestCluster:
    """A head without workers, and nodes with room for two each; a context manager.

    Attributes:
        address: Of the head.
        nodes: Those that are alive.
    """

    __test__ = False

    def __init__(self) -> None:
        os.environ.update(_QUIET)
        self._cluster = Cluster(
            initialize_head=True,
            head_node_args={
                "num_cpus": 0,
                "include_dashboard": False,
                "object_store_memory": _NODE_BYTES,
            },
        )
        self.address: str = self._cluster.address
        self.nodes: list[Any] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._cluster.shutdown()

    def add_node(self, cpus: int = 2, *, gpus: int = 0, env: dict[str, str] | None = None) -> Any:
        """Let a node join.

        Args:
            cpus: Of the node; each is room for a worker.
            gpus: That Ray believes it has.
            env: Environment variables that its processes have in addition.
        """
        node = self._cluster.add_node(
            num_cpus=cpus,
            num_gpus=gpus,
            object_store_memory=_NODE_BYTES,
            wait=False,
            env_vars=env or {},
        )
        self.nodes.append(node)
        return node

    def kill_node(self, node: Any) -> None:
        """Kill a node with everything that runs on it."""
        self.nodes.remove(node)
        self._cluster.remove_node(node, allow_graceful=False)

    def agent(self, node: Any) -> psutil.Process:
        """The raylet of a node."""
        return psutil.Process(node.all_processes["raylet"][0].process.pid)

    def actors(self) -> list[psutil.Process]:
        """The processes of all actors that have a worker process."""
        return [
            process
            for process in psutil.process_iter(["name"])
            if str(process.info["name"]).startswith("ray::")
            and self.workers_of(process)
            and self.node_of(process) is not None
        ]

    def node_of(self, actor: psutil.Process) -> Any:
        """The node that an actor runs on; None where it has left the cluster."""
        with contextlib.suppress(psutil.NoSuchProcess):
            pid = int(actor.environ()["RAY_RAYLET_PID"])
            return next((n for n in list(self.nodes) if self.agent(n).pid == pid), None)
        return None

    @staticmethod
    def workers_of(actor: psutil.Process) -> list[psutil.Process]:
        """The worker processes of an actor."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return [
                child for child in actor.children() if any("--fd" in w for w in child.cmdline())
            ]
        return []


class Killer:
    """Kills actors, worker processes and nodes at random while a study runs.

    Args:
        cluster: Its nodes.
        chance: Decides what is killed, and when.
        kills: How many in all.
        node_kills: Which of them, from 0, are of nodes.
        joins: Before which kills another node joins.
        every: Trials that end between two kills.
    """

    def __init__(
        self,
        cluster: TestCluster,
        chance: random.Random,
        *,
        kills: int,
        node_kills: Collection[int],
        joins: Collection[int],
        every: int,
    ) -> None:
        self._cluster = cluster
        self._chance = chance
        self._kills, self._every = kills, every
        self._node_kills, self._joins = frozenset(node_kills), set(joins)
        self._ended = 0
        self._is_over = False
        self._thread = threading.Thread(target=self._run, name="killer")
        self.killed: list[str] = []
        self.joined = 0
        self.seen: set[psutil.Process] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over = True
        self._thread.join()

    def count_end(self) -> None:
        """Another trial has ended. Nodes join in this thread, which has to be the main one."""
        self._ended += 1
        due = {join for join in self._joins if join <= len(self.killed)}
        self._joins -= due
        for _ in due:
            self._cluster.add_node()
            self.joined += 1

    def _run(self) -> None:
        while not self._is_over and len(self.killed) < self._kills:
            if self._ended < self._every * len(self.killed):
                time.sleep(0.02)
                continue
            time.sleep(self._chance.uniform(0.0, 0.3))
            if len(self.killed) in self._node_kills:
                self._kill_node()
            else:
                self._kill_process()

    def _kill_node(self) -> None:
        self._cluster.kill_node(self._chance.choice(self._cluster.nodes))
        self.killed.append("node")

    def _kill_process(self) -> None:
        actors = self._cluster.actors()
        if not actors:
            return
        actor = self._chance.choice(actors)
        workers = self._cluster.workers_of(actor)
        self.seen.update(workers)
        what, processes = ("actor", [actor])
        if self._chance.random() < 0.3 and workers:
            what, processes = ("worker", workers)
        with contextlib.suppress(psutil.NoSuchProcess):
            processes[0].kill()
            self.killed.append(what)


def wait_for(condition: Callable[[], Any], what: str, *, seconds: float = LONG) -> Any:
    """The value of a condition, once it is true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"{what}: not within {seconds} s")
