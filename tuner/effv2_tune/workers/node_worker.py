"""Runs a worker process on a node of a cluster, for a supervisor on another node.

It carries the messages of the worker both ways, and its checkpoints into the study's folder. What
it carries is numbered, so that a call that is repeated after a lost connection loses and doubles
nothing.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from effv2_tune.files.cache import cache_folder
from effv2_tune.files.cached_features import copy_features, finished_features, read_feature
from effv2_tune.host import installed_versions
from effv2_tune.workers.exits import OomCounter, describe_exit, exit_kind
from effv2_tune.workers.folder_copies import FolderChanges, FolderCopy, write_copy
from effv2_tune.workers.local import LocalProcess, log_tail
from effv2_tune.workers.messages import (
    Finished,
    Heartbeat,
    Paused,
    Ready,
    Refused,
    Stopped,
    Train,
    Unavailable,
)
from effv2_tune.workers.supervised_pool import ProcessExit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from effv2_tune.workers.messages import FromWorker, ToWorker

    Item = FromWorker | Heartbeat | FolderCopy | ProcessExit

#: The least time between two looks for a new checkpoint while a trial is trained.
COPY_SECONDS = 2.0
_GRACE_SECONDS = 5.0
#: In which a process that was killed is gone.
_KILL_SECONDS = 40.0


class FeatureSource(Protocol):
    """A worker of another node, which has features."""

    def features(self) -> dict[str, int]:
        """See :meth:`NodeWorker.features`."""

    def read_feature(self, path: str, offset: int) -> bytes:
        """See :meth:`NodeWorker.read_feature`."""


@dataclass(frozen=True)
class NodeStart:
    """The start of a worker on a node.

    Attributes:
        name: Of the study, and the worker's number: that of its folder and log on the node.
        command: The program; ``--fd N`` is added.
        python: The interpreter on the supervisor's side; in the command, that of the node takes its
            place.
        environment: In addition to that of the node; None removes a variable.
        agent: The environment variable of the node that has the process ID of its agent; the worker
            ends with it. Empty where there is none.
        version: Of effv2-tune on the supervisor's side, which the node must have too.
    """

    name: str
    command: Sequence[str]
    python: str
    environment: Mapping[str, str | None]
    version: str
    agent: str = ""


@dataclass(frozen=True)
class Delivery:
    """What a worker has sent.

    Attributes:
        first: Number of the first item, from 0.
        items: Those that the supervisor has not confirmed yet.
        received: How many messages of the supervisor have arrived.
        node: Name of the node.
        store: Of the cached features of this node; its workers share it.
    """

    first: int
    items: tuple[Item, ...]
    received: int
    node: str
    store: str = ""


class NodeWorker:
    """A worker process of this node, which ends when this process does.

    Its methods are called from several threads.

    Args:
        start: What to run.
        here: The version of effv2-tune on this node; the installed one if left out.
        copy_seconds: The least time between two looks for a new checkpoint of a running trial.
    """

    def __init__(
        self, start: NodeStart, here: str | None = None, copy_seconds: float = COPY_SECONDS
    ) -> None:
        here = own_version() if here is None else here
        self._items: list[Item] = []
        self._first = 0
        self._posted = threading.Condition()
        self._sending = threading.Lock()
        self._received = 0
        self._early: dict[int, tuple[ToWorker, FolderCopy | None]] = {}
        self._changes: FolderChanges | None = None
        self._copy_seconds, self._copied_at = copy_seconds, 0.0
        self._grace_seconds = _GRACE_SECONDS
        self._oom_counter = OomCounter()
        self._oom_kills = self._oom_counter.read()
        self._folder, self._log = _own_folder(start.name)
        self._process: LocalProcess | None = None
        self._exit: ProcessExit | None = None
        self._data_digest: str | None = None
        self._agent = os.environ.get(start.agent, "")
        self._has_begun, self._has_ended = threading.Event(), threading.Event()
        if here != start.version:
            self._refuse(start.version, here)
            return
        # The thread that starts the process waits for it: the kernel ends the process with it.
        threading.Thread(target=self._run, args=(start,), name="worker", daemon=True).start()
        self._has_begun.wait()

    # Called by the supervisor.

    def send(self, number: int, message: ToWorker, copy: FolderCopy | None = None) -> None:
        """Pass a message to the worker, once, in the order of their numbers.

        Args:
            number: Of the message, from 1.
            message: What the worker receives.
            copy: Of a trial that is to be trained: its checkpoints so far.
        """
        with self._sending:
            if number > self._received:
                self._early[number] = (message, copy)
            while self._received + 1 in self._early:
                self._pass_on(*self._early.pop(self._received + 1))
                self._received += 1

    def receive(self, confirmed: int, timeout_seconds: float) -> Delivery:
        """What the worker has sent, as soon as there is something; nothing after the timeout.

        Args:
            confirmed: How many items the supervisor has received.
            timeout_seconds: How long to wait.
        """
        with self._posted:
            del self._items[: confirmed - self._first]
            self._first = max(self._first, confirmed)
            self._posted.wait_for(lambda: bool(self._items), timeout_seconds)
            node, store = socket.gethostname(), cache_folder("features").absolute()
            items = tuple(self._items)
            return Delivery(self._first, items, self._received, node, f"{node}:{store}")

    def features(self) -> dict[str, int]:
        """Bytes of the files of the finished feature sets of this node, by their paths."""
        found = finished_features(self._data_digest)
        return {path: file.stat().st_size for path, file in found.items()}

    def read_feature(self, path: str, offset: int) -> bytes:
        """A part of such a file; see :func:`~effv2_tune.files.cached_features.read_feature`."""
        return read_feature(path, offset)

    def copy_features(self, source: FeatureSource) -> None:
        """Copy the feature sets that another node has, and this one lacks.

        Raises:
            OSError: The disk is full, or a file is gone.
        """
        copy_features(source.features(), source.read_feature)

    def kill(self) -> None:
        """Kill the process; :meth:`receive` reports it."""
        if self._process is not None:
            self._process.kill()

    def end(self, grace_seconds: float) -> ProcessExit | None:
        """End the process by closing its pipe; kill it after the grace.

        Returns:
            How it ended; None where it has not, though it was killed.
        """
        self._grace_seconds = grace_seconds
        if self._process is not None:
            self._process.disconnect()
        self._has_ended.wait(grace_seconds + _KILL_SECONDS)
        return self._exit

    # The rest runs in the thread of the process, but for the messages to it.

    def _run(self, start: NodeStart) -> None:
        try:
            self._process = LocalProcess(
                [sys.executable if word == start.python else word for word in start.command],
                environment=start.environment,
                log=self._log,
                dies_with_starter=True,
            )
        except OSError as error:
            self._post_exit(f"could not be started: {error}", None)
            return
        finally:
            self._has_begun.set()
        self._post(Heartbeat(waits=False))
        self._carry(self._process)
        status = self._process.end(grace_seconds=self._grace_seconds)
        with suppress(OSError):  # the disk of the node may be what has failed
            self._copy_checkpoints()
        self._post_exit("", status)

    def _carry(self, process: LocalProcess) -> None:
        """Carry messages and checkpoints until the process closes its pipe.

        Where the agent of the node is gone, nobody else may end the process: Ray does so only once
        the agent is no zombie any more.
        """
        while not self._agent or _is_running(self._agent):
            try:
                message = None
                if process.connection.poll(self._copy_seconds):
                    message = process.connection.recv()
            except (EOFError, OSError):
                return
            is_over = isinstance(message, Finished | Paused | Stopped | Unavailable)
            if is_over or time.monotonic() - self._copied_at >= self._copy_seconds:
                self._copy_checkpoints()
            if is_over:
                self._changes = None
                shutil.rmtree(self._folder, ignore_errors=True)
            if isinstance(message, Ready):
                self._data_digest = message.data.digest
            if message is not None:
                self._post(message)
        process.kill()

    def _copy_checkpoints(self) -> None:
        """Post the checkpoints that are new since the last look."""
        changes = self._changes
        if changes is not None:
            self._copied_at = time.monotonic()
            copy = changes.read()
            if copy is not None:
                self._post(copy)

    def _pass_on(self, message: ToWorker, copy: FolderCopy | None) -> None:
        if self._process is None:
            return
        if isinstance(message, Train):
            message = self._with_own_folder(message, copy)
            self._oom_kills = self._oom_counter.read()
        with suppress(OSError):  # it has exited, which is reported
            self._process.connection.send(message)

    def _with_own_folder(self, message: Train, copy: FolderCopy | None) -> Train:
        """The same trial, with its checkpoints in a folder of this node."""
        folder = self._folder / message.checkpoint.name
        shutil.rmtree(folder, ignore_errors=True)
        if copy is not None:
            write_copy(self._folder, copy)
        changes = FolderChanges(folder)
        changes.skip()
        self._copied_at = time.monotonic()
        self._changes = changes
        return message.model_copy(update={"checkpoint": folder})

    def _post(self, item: Item) -> None:
        with self._posted:
            self._items.append(item)
            self._posted.notify_all()

    def _post_exit(self, cause: str, status: int | None) -> None:
        memory_ran_out = self._oom_counter.read() > self._oom_kills
        self._exit = ProcessExit(
            cause or describe_exit(status, memory_ran_out=memory_ran_out),
            f"{self._log} on {socket.gethostname()}",
            log_tail(self._log),
            "crash" if cause else exit_kind(status, memory_ran_out=memory_ran_out),
        )
        shutil.rmtree(self._folder, ignore_errors=True)
        self._post(self._exit)
        self._has_ended.set()

    def _refuse(self, wanted: str, here: str) -> None:
        """Refuse to work beside a supervisor of another version."""
        node = socket.gethostname()
        self._post(
            Refused(
                message=f"Node {node} has effv2-tune {here}, and the supervisor has {wanted}.",
                hint="Install the same version on all nodes of the cluster.",
                exit_code=1,
            )
        )
        self._post_exit(f"node {node} has effv2-tune {here}, not {wanted}", None)


def own_version() -> str:
    """The version of effv2-tune that is installed here."""
    return installed_versions(["effv2-tune"]).get("effv2-tune", "unknown")


def _own_folder(name: str) -> tuple[Path, Path]:
    """A folder for checkpoints, and the file of the log; removes what ended processes left."""
    root = cache_folder("cluster") / socket.gethostname()
    for path in root.glob("*@*"):
        if not _is_running(path.name.rpartition("@")[2]):
            shutil.rmtree(path, ignore_errors=True)
    folder = root / f"{name}@{os.getpid()}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder, root / "logs" / f"{name}.log"


def _is_running(pid: str) -> bool:
    """Whether there is such a process, and it is no zombie."""
    try:
        status = Path("/proc", pid, "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    # The name, in parentheses, may contain anything.
    return status.rpartition(")")[2].split()[0] not in "ZX"
