"""Starts workers on the nodes of a Ray cluster: an actor for each, which runs its process."""

from __future__ import annotations

import logging
import math
import signal
import socket
import sys
import threading
import time
from collections import deque
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from effv2_tune.errors import EXIT_FAILED, TuneError
from effv2_tune.host import (
    Hardware,
    choose_hardware,
    install_command,
    installed_versions,
    probe_host,
    probe_packages,
)
from effv2_tune.plurals import pluralized
from effv2_tune.workers.accelerators import named
from effv2_tune.workers.feature_relay import Copy, FeatureRelay, Send, features_of
from effv2_tune.workers.folder_copies import FolderCopy, copy_of, write_copy
from effv2_tune.workers.launch import thread_limits, worker_environment
from effv2_tune.workers.messages import (
    Compiled,
    Finished,
    Heartbeat,
    Paused,
    Stop,
    Stopped,
    Train,
    Unavailable,
    Waiting,
)
from effv2_tune.workers.node_worker import Delivery, NodeStart, NodeWorker, own_version
from effv2_tune.workers.pool import checkpoint_folder
from effv2_tune.workers.supervised_pool import ProcessExit, SupervisedPool

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from effv2_tune.host import Kind
    from effv2_tune.study.plan import ClusterSpec, PerWorker, StudyPlan
    from effv2_tune.workers.exits import ExitKind
    from effv2_tune.workers.launch import WorkerSpec
    from effv2_tune.workers.messages import FromWorker, ToWorker
    from effv2_tune.workers.silence import SilenceLimits

#: The first version with `ActorUnavailableError` and `ActorDiedError` as this module uses them.
OLDEST_RAY = (2, 50)
#: How long a node may be unreachable before its worker counts as exited.
UNAVAILABLE_SECONDS = 20.0
_RETRY_SECONDS = 0.5
#: The longest call of :meth:`NodeWorker.receive`: a lost connection shows at its end.
_RECEIVE_SECONDS = 30.0
#: Of a call of :meth:`NodeWorker.end`, in addition to the grace of the worker.
_END_SECONDS = 10.0
_CONNECT_SECONDS = 5.0
#: The longest time in which a part of a file is read from another node.
_FEATURE_SECONDS = 120.0
_WAITING_NOTE = "waits for features that another node of the cluster extracts"
#: The first frame of each side of a connection of HTTP/2, with no settings; its fourth byte is the
#: type of the frame (RFC 9113, sections 3.4, 4.1 and 6.5).
_HTTP2_SETTINGS = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
_HTTP2_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _HTTP2_SETTINGS
_SCHEME_OF_CLIENTS = "ray://"
#: Of each process that Ray starts: the process ID of the raylet of its node.
_AGENT = "RAY_RAYLET_PID"
_log = logging.getLogger(__name__)
_GONE = "its actor was killed, or its node left the cluster"


class RayLauncher:
    """Starts the workers of a pool as actors of a Ray cluster.

    A worker waits until the cluster has room for it: it starts when a node joins, or another worker
    leaves.

    Args:
        ray: The package, connected to the cluster.
        spec: The start of each worker.
        per_worker: What Ray reserves for each.
        out: The study's folder, into which checkpoints are copied.
        name: Of the study.
        unavailable_seconds: How long a node may be unreachable before its worker counts as exited.
    """

    def __init__(
        self,
        ray: Any,
        spec: WorkerSpec,
        per_worker: PerWorker,
        *,
        out: Path,
        name: str,
        unavailable_seconds: float = UNAVAILABLE_SECONDS,
    ) -> None:
        self._ray = ray
        self._spec = spec
        self._checkpoints = checkpoint_folder(out, 0).parent
        self._name = name
        self._unavailable_seconds = unavailable_seconds
        self._environment = _environment(spec, per_worker)
        self._actors: dict[int, _Actor] = {}
        self._relay = FeatureRelay()
        self._copies: dict[Any, Copy] = {}
        self._remote = ray.remote(
            num_cpus=per_worker.cpu,
            num_gpus=per_worker.gpu,
            # The supervisor replaces workers, and counts their deaths.
            max_restarts=0,
            max_task_retries=0,
            # One call receives, others send, end, kill, or copy features meanwhile.
            max_concurrency=8,
            scheduling_strategy="SPREAD",
        )(NodeWorker)

    def start(self, worker: int) -> None:
        """Start a worker as soon as the cluster has room; it waits for its first message."""
        start = NodeStart(
            name=f"{self._name}-worker-{worker}",
            command=self._spec.command,
            python=sys.executable,
            environment=self._environment,
            version=own_version(),
            agent=_AGENT,
        )
        actor = _Actor(self._remote.remote(start))
        # Waiting for room is no silence.
        actor.queue.append(Heartbeat(waits=True))
        actor.ask()
        self._actors[worker] = actor

    def send(self, worker: int, message: ToWorker) -> None:
        """Send a message; one to an exited worker is dropped, and :meth:`receive` reports it."""
        if isinstance(message, Stop):
            self._relay.leave(worker)
        if not isinstance(message, Train) or not features_of(message.recipe):
            self._send(worker, message)
            return
        actor = self._actors[worker]
        self._relay.hold(worker, actor.store, message)
        self._relay_features()
        if self._relay.is_held(worker):
            # Waiting for another node is no silence.
            actor.queue.append(Heartbeat(waits=True))
            actor.queue.append(Waiting(note=_WAITING_NOTE))

    def _send(self, worker: int, message: ToWorker) -> None:
        copy = copy_of(message.checkpoint) if isinstance(message, Train) else None
        self._actors[worker].send(message, copy)

    def _relay_features(self) -> None:
        """Begin the copies of features that are due, and send the trials that need not wait."""
        for action in self._relay.actions():
            if isinstance(action, Send):
                self._send(action.worker, action.message)
            else:
                source = _Source(self._actors[action.source].handle)
                copying = self._actors[action.destination].handle.copy_features.remote(source)
                self._copies[copying] = action

    def receive(
        self, timeout_seconds: float
    ) -> Sequence[tuple[int, FromWorker | Heartbeat | None]]:
        """The next message of each worker, as soon as there is one; None from an exited worker."""
        if not any(actor.queue for actor in self._actors.values()):
            self._fetch(timeout_seconds)
        return [
            (worker, actor.queue.popleft()) for worker, actor in self._actors.items() if actor.queue
        ]

    def is_waiting(self, worker: int) -> bool:
        """Whether a worker has not begun, as no node has room for it."""
        return not self._actors[worker].has_begun

    def kill(self, worker: int) -> None:
        """Kill a worker process without warning."""
        self._actors[worker].call("kill")

    def end(self, worker: int, *, grace_seconds: float) -> ProcessExit:
        """End a worker; kill it if it has not exited after the grace."""
        actor = self._actors.pop(worker)
        self._relay.exit(worker)
        if actor.exit is None and actor.has_begun:
            with suppress(self._ray.exceptions.RayError):  # also of a timeout
                ending = actor.handle.end.remote(grace_seconds)
                actor.exit = self._ray.get(ending, timeout=grace_seconds + _END_SECONDS)
        self._ray.kill(actor.handle)
        return actor.exit or ProcessExit("killed, as it did not exit", actor.where, "", "kill")

    def close(self, *, grace_seconds: float) -> None:
        """End all workers; kill those that have not exited after the grace."""
        actors, self._actors = list(self._actors.values()), {}
        self._relay, self._copies = FeatureRelay(), {}
        ending = [
            actor.handle.end.remote(grace_seconds)
            for actor in actors
            if actor.exit is None and actor.has_begun
        ]
        if ending:
            timeout = grace_seconds + _END_SECONDS
            self._ray.wait(ending, num_returns=len(ending), timeout=timeout)
        for actor in actors:
            self._ray.kill(actor.handle)

    def _fetch(self, timeout_seconds: float) -> None:
        """Wait for deliveries, and put what they contain into the queues."""
        timeout = timeout_seconds
        for actor in self._actors.values():
            if actor.asked is None and actor.exit is None:
                timeout = min(timeout, _RETRY_SECONDS)
                actor.retry()
        asked = {
            actor.asked: worker for worker, actor in self._actors.items() if actor.asked is not None
        }
        if not asked:
            time.sleep(min(timeout, _RETRY_SECONDS))
            return
        limit = None if math.isinf(timeout) else timeout
        calls = [*asked, *self._copies]
        ready, _ = self._ray.wait(calls, num_returns=1, timeout=limit)
        if ready:
            ready, _ = self._ray.wait(calls, num_returns=len(calls), timeout=0)
        for reference in ready:
            if reference in asked:
                self._take(asked[reference], self._actors[asked[reference]])
            else:
                self._end_copy(reference)
        self._relay_features()

    def _end_copy(self, reference: Any) -> None:
        """Take the end of a copy of features; without them the node extracts its own."""
        copy, succeeded = self._copies.pop(reference), True
        try:
            self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            _log.warning("features were not copied between nodes: %s", error)
            succeeded = False
        self._relay.take_copied(copy, succeeded=succeeded)

    def _take(self, worker: int, actor: _Actor) -> None:
        """Take what a call has returned, or the error that it ended with."""
        errors = self._ray.exceptions
        try:
            delivery = self._ray.get(actor.asked)
        except errors.ActorUnavailableError as error:
            self._count_failure(actor, error)
        except errors.OutOfMemoryError as error:
            cause = "Ray killed it, as the memory of its node ran out"
            self._lose(actor, cause, str(error), "memory")
        except errors.RayActorError as error:
            is_started = not error.actor_init_failed
            cause = _GONE if is_started else "its actor could not be started"
            self._lose(actor, cause, str(error), "kill" if is_started else "crash")
        except errors.RayError as error:  # such as of a result that was lost with its node
            self._count_failure(actor, error)
        else:
            for item in actor.take(delivery):
                self._follow(worker, item)
            if actor.exit is None:
                actor.ask()

    def _follow(self, worker: int, item: Any) -> None:
        """Write the checkpoints of a worker, and follow what it has of its features."""
        if isinstance(item, FolderCopy):
            write_copy(self._checkpoints, item)
        elif isinstance(item, Compiled):
            self._relay.take_found(worker)
        elif isinstance(item, Finished | Paused | Stopped | Unavailable):
            self._relay.leave(worker)

    def _count_failure(self, actor: _Actor, error: Exception) -> None:
        """Ask a worker again that is not available, within the grace."""
        seconds = actor.fail()
        if seconds >= self._unavailable_seconds:
            cause = f"its node was not available for {seconds:.0f} s"
            self._lose(actor, cause, str(error), "kill")

    def _lose(self, actor: _Actor, cause: str, text: str, kind: ExitKind) -> None:
        """Record that an actor or its node is gone."""
        actor.asked = None
        actor.exit = ProcessExit(cause, actor.where, text, kind)
        actor.queue.append(None)


class _Source:
    """A worker that has features, as another node reads them.

    Args:
        handle: Of its Ray actor.
    """

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    def features(self) -> dict[str, int]:
        """See :meth:`NodeWorker.features`."""
        found: dict[str, int] = _get(self._handle.features.remote())
        return found

    def read_feature(self, path: str, offset: int) -> bytes:
        """See :meth:`NodeWorker.read_feature`."""
        part: bytes = _get(self._handle.read_feature.remote(path, offset))
        return part


def _get(reference: Any) -> Any:
    """The result of a call, on a node."""
    import ray

    return ray.get(reference, timeout=_FEATURE_SECONDS)


class _Actor:
    """One worker as the supervisor sees it.

    Args:
        handle: Of its Ray actor.

    Attributes:
        handle: As given.
        asked: The call that returns its next messages; None before it is to be repeated.
        queue: Messages that the pool has not received yet; None for its exit.
        exit: How it ended.
        node: Name of its node, once it has begun.
        store: Of the cached features of that node.
    """

    def __init__(self, handle: Any) -> None:
        self.handle = handle
        self.asked: Any = None
        self.queue: deque[FromWorker | Heartbeat | None] = deque()
        self.exit: ProcessExit | None = None
        self.node = self.store = ""
        self._unconfirmed: dict[int, tuple[ToWorker, FolderCopy | None]] = {}
        self._sent = self._received = 0
        self._failed_at: float | None = None
        self._retry_at = 0.0

    @property
    def has_begun(self) -> bool:
        """Whether it has sent anything."""
        return bool(self.node)

    @property
    def where(self) -> str:
        """Where its log is."""
        return f"on node {self.node}" if self.node else "of the Ray cluster"

    def call(self, method: str, *arguments: Any) -> None:
        """Call a method whose result nobody waits for."""
        getattr(self.handle, method).options(num_returns=0).remote(*arguments)

    def ask(self) -> None:
        """Ask for the next messages."""
        self.asked = self.handle.receive.remote(self._received, _RECEIVE_SECONDS)

    def send(self, message: ToWorker, copy: FolderCopy | None) -> None:
        """Send a message, and keep it until its arrival is confirmed."""
        if self.exit is not None:
            return
        self._sent += 1
        self._unconfirmed[self._sent] = (message, copy)
        self.call("send", self._sent, message, copy)

    def take(self, delivery: Delivery) -> list[Any]:
        """The new items of a delivery; messages and the exit are put into the queue."""
        self._failed_at = None
        self.node, self.store = delivery.node, delivery.store
        items = delivery.items[self._received - delivery.first :]
        self._received += len(items)
        for number in [n for n in self._unconfirmed if n <= delivery.received]:
            del self._unconfirmed[number]
        for item in items:
            if isinstance(item, ProcessExit):
                self.exit, self.asked = item, None
                self.queue.append(None)
            elif not isinstance(item, FolderCopy):
                self.queue.append(item)
        return list(items)

    def fail(self) -> float:
        """A call has failed; for how many seconds all have."""
        now = time.monotonic()
        self.asked = None
        self._failed_at = now if self._failed_at is None else self._failed_at
        self._retry_at = now + _RETRY_SECONDS
        return now - self._failed_at

    def retry(self) -> None:
        """Repeat what may have been lost, once it is time."""
        if time.monotonic() >= self._retry_at:
            for number, (message, copy) in self._unconfirmed.items():
                self.call("send", number, message, copy)
            self.ask()


def ray_pool(
    spec: WorkerSpec,
    cluster: ClusterSpec,
    *,
    count: int | None,
    out: Path,
    name: str,
    limits: SilenceLimits | None = None,
) -> SupervisedPool:
    """A pool of workers on the nodes of a Ray cluster.

    Args:
        spec: The start of each worker.
        cluster: Which cluster, and what each worker needs.
        count: How many workers at most; those that have no room wait for it. None for as many as
            the cluster has room for, whose number follows its nodes.
        out: The study's folder, for checkpoints.
        name: Of the study.
        limits: How long a worker may send nothing before it counts as hung.

    Raises:
        TuneError: The cluster cannot be used.
    """
    ray = connect(cluster.ray)
    per_worker = cluster.per_worker
    room = [_room(node, per_worker) for node in _nodes(ray)]
    limit = sum(room) if count is None else count
    # Of the node with most of them: they share its memory, and measure one after another.
    prepare = spec.prepare.model_copy(update={"workers": max(1, min(limit, max(room)))})
    launcher = RayLauncher(ray, replace(spec, prepare=prepare), per_worker, out=out, name=name)
    return SupervisedPool(
        launcher,
        prepare,
        count=max(1, limit),
        out=out,
        limits=limits,
        room=partial(_room_of_all, ray, per_worker) if count is None else None,
    )


def _room_of_all(ray: Any, per_worker: PerWorker) -> int:
    """How many workers the nodes have room for that are there now."""
    return sum(_room(node, per_worker) for node in _nodes(ray))


def choose_cluster_device(plan: StudyPlan, cluster: ClusterSpec) -> Hardware:
    """The device and backend of a study's workers on its cluster.

    Raises:
        TuneError: Ray is missing or too old, the cluster cannot be reached, or no node of it has
            what a worker needs; or the study asks for another kind of device.
    """
    per_worker = cluster.per_worker
    kind: Kind = "gpu" if per_worker.gpu else "cpu"
    if plan.hardware not in ("auto", kind):
        raise TuneError(
            f"hardware: {plan.hardware} contradicts 'cluster: per_worker:', which gives each "
            f"worker a {kind.upper()}.",
            hint="Use 'hardware: auto', or 'per_worker: {gpu: 1}' for GPUs, '{cpu: N}' for CPUs.",
        )
    if plan.target is not None:
        check_target(plan.target.device or "", kind)
    ray = connect(cluster.ray)
    nodes = _nodes(ray)
    room = check_room(nodes, per_worker)
    where = f"Ray cluster {cluster.ray}: {pluralized(len(nodes), 'node')} with room for "
    where += pluralized(room, "worker")
    if kind == "gpu":
        if plan.backend == "tensorflow":
            raise TuneError(
                "backend: tensorflow cannot be used for GPUs of a cluster.",
                hint="Use 'backend: jax' or 'backend: auto'.",
            )
        return Hardware("gpu", "jax", 1, f"{where} of one GPU, with jax")
    own = choose_hardware("cpu", plan.backend, probe_host(), probe_packages())
    threads = f"{per_worker.cpu} CPU" + ("s" if per_worker.cpu > 1 else "")
    return Hardware("cpu", own.backend, 1, f"{where} of {threads}, with {own.backend}")


def check_target(device: str, kind: Kind) -> None:
    """Check that nodes can have the device that step times are measured on.

    Args:
        device: As the study names it.
        kind: Of the device of each worker.

    Raises:
        TuneError: There is no device of that name, or it is of another kind.
    """
    chip, count = named(device)
    if count > 1 or chip.kind != kind:
        what = f"{count} devices" if count > 1 else f"a {chip.kind.upper()}"
        raise TuneError(
            f"target: {device} is {what}, and 'cluster: per_worker:' gives each worker one "
            f"{kind.upper()}.",
            hint="Name the device of some nodes, such as 't4', or remove 'target:'.",
        )


def connect(address: str) -> Any:
    """Connect this process to a cluster, unless it is connected already.

    Args:
        address: ``auto`` for the cluster that this machine is a node of, or ``HOST:PORT`` of its
            head.

    Returns:
        The package.

    Raises:
        TuneError: Ray is missing or too old, or there is no such cluster.
    """
    ray = _import_ray()
    if ray.is_initialized():
        return ray
    if address != "auto":
        check_address(address)
    try:
        with _keeping_sigterm():
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, TimeoutError, ValueError, OSError) as error:
        raise _unreachable(address, str(error)) from error
    # Ray prints the ends of its processes to stdout, where a program may read results, and has no
    # option for it; the supervisor reports them.
    vars(import_module("ray._private.worker"))["_worker_logs_enabled"] = False
    return ray


def _import_ray() -> Any:
    """The package.

    Raises:
        TuneError: It is missing or too old.
    """
    check_version(installed_versions(["ray"]).get("ray"))
    import ray

    return ray


def check_version(found: str | None) -> None:
    """Check that a version of Ray can be used.

    Args:
        found: The installed one; None without any.

    Raises:
        TuneError: It is missing or too old.
    """
    oldest = ".".join(map(str, OLDEST_RAY))
    if found is None:
        raise TuneError(
            "The study runs on a Ray cluster, but Ray is not installed here.",
            hint=f"Install it here and on all nodes: {install_command('ray')}; or remove "
            "'cluster:' and --ray to run on this machine alone.",
        )
    if tuple(int(part) for part in found.split(".")[:2]) < OLDEST_RAY:
        raise TuneError(
            f"Ray {found} is too old; effv2-tune needs {oldest} or later.",
            hint=f"Install it here and on all nodes: {install_command('ray')}",
        )


def check_address(address: str) -> None:
    """Check that a server of gRPC, as a cluster's head is, answers at an address.

    Ray itself would try to reach any other one for minutes.

    Raises:
        TuneError: It is no address, or nothing or something else answers.
    """
    host, _, port = address.rpartition(":")
    if address.startswith(_SCHEME_OF_CLIENTS) or not host or not port.isdecimal():
        raise TuneError(
            f"cluster: ray: {address!r} is no address of a Ray cluster that can be used here; use "
            "'auto', or HOST:PORT of its head (such as 10.0.0.1:6379).",
            hint="Run the command on a node of the cluster. Ray clients (ray://...) are not "
            "supported: 'ray job submit' starts the command on the cluster's head.",
        )
    try:
        with socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS) as connection:
            connection.sendall(_HTTP2_HELLO)
            reply = connection.recv(len(_HTTP2_SETTINGS), socket.MSG_WAITALL)
    except (OSError, OverflowError) as error:
        raise _unreachable(address, str(error)) from error
    if reply[3:4] != _HTTP2_SETTINGS[3:4]:
        raise _unreachable(address, "what answers there is no head of a Ray cluster")


def _unreachable(address: str, reason: str) -> TuneError:
    first = (reason.strip().splitlines() or ["no reason was given"])[0]
    return TuneError(
        f"The Ray cluster {address!r} cannot be reached: {first}",
        hint="Check with 'ray status' on this machine, which has to be a node of the cluster; "
        "start one with 'ray start --head', and join it with 'ray start --address=HOST:6379'.",
        exit_code=EXIT_FAILED,
    )


@contextmanager
def _keeping_sigterm() -> Iterator[None]:
    """Keep the handler of SIGTERM, which Ray replaces: the signal interrupts a study."""
    if threading.current_thread() is not threading.main_thread():  # there Ray does not either
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _nodes(ray: Any) -> list[dict[str, float]]:
    """The resources of each node that is alive."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _room(node: Mapping[str, float], per_worker: PerWorker) -> int:
    """How many workers a node has room for, while nothing else runs there."""
    needs = {"CPU": per_worker.cpu, "GPU": per_worker.gpu}
    return min(int(node.get(name, 0.0) // amount) for name, amount in needs.items() if amount)


def check_room(nodes: Sequence[Mapping[str, float]], per_worker: PerWorker) -> int:
    """How many workers all nodes have room for.

    Args:
        nodes: The resources of each, as Ray names them.
        per_worker: What each worker needs.

    Raises:
        TuneError: None.
    """
    room = sum(_room(node, per_worker) for node in nodes)
    if room:
        return room
    having = "; ".join(f"{node.get('CPU', 0):g} CPU, {node.get('GPU', 0):g} GPU" for node in nodes)
    wanted = f"{per_worker.cpu} CPU" + (f" and {per_worker.gpu} GPU" if per_worker.gpu else "")
    raise TuneError(
        f"cluster: per_worker: {wanted} for each worker exceeds every node of the cluster "
        f"({having or 'it has none'}).",
        hint="Ask for less, or add a node with as much: 'ray status' shows what there is. Nodes "
        "may join and leave later, but one has to be there when the study starts.",
    )


def _environment(spec: WorkerSpec, per_worker: PerWorker) -> dict[str, str | None]:
    """The environment variables of a worker, in addition to those of its node."""
    prepare = spec.prepare
    environment: dict[str, str | None] = {
        **worker_environment(prepare.backend, prepare.hardware, workers=1, cpu_count=1)
    }
    if prepare.hardware == "cpu":
        return environment | thread_limits(per_worker.cpu)
    # Ray sets it to the CPUs that are reserved, which are few beside a GPU.
    return environment | {"OMP_NUM_THREADS": None}
