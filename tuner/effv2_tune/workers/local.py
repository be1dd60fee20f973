"""Starts workers as processes of this machine, each reached through a pipe."""

from __future__ import annotations

import math
import os
import socket
import subprocess
import sys
import time
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any

from effv2_tune.workers import bound_process
from effv2_tune.workers.exits import OomCounter, describe_exit, exit_kind
from effv2_tune.workers.messages import Train
from effv2_tune.workers.supervised_pool import ProcessExit, SupervisedPool

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from effv2_tune.workers.launch import WorkerSpec
    from effv2_tune.workers.messages import FromWorker, Heartbeat, ToWorker
    from effv2_tune.workers.silence import SilenceLimits

_LOG_TAIL_BYTES = 4000
_KILL_SECONDS = 30.0


class LocalProcess:
    """A process of this machine and a pipe to it.

    Args:
        command: The program; ``--fd N`` with the file descriptor of its end of the pipe is added.
        environment: In addition to that of this process; None removes a variable.
        log: File that its output is appended to.
        dies_with_starter: Whether the kernel kills the process when the thread that starts it ends,
            so also when this process is killed, even where the process does not read its pipe.

    Attributes:
        connection: This end of the pipe.
        log: As given.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str | None],
        log: Path,
        dies_with_starter: bool = False,
    ) -> None:
        variables = {**os.environ, **environment}
        starter = _bound_to(os.getpid()) if dies_with_starter else ()
        mine, theirs = socket.socketpair()
        log.parent.mkdir(parents=True, exist_ok=True)
        with mine, theirs, log.open("ab") as stream:
            self._process = subprocess.Popen(
                [*starter, *command, "--fd", str(theirs.fileno())],
                env={name: value for name, value in variables.items() if value is not None},
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                # Ctrl-C is for the supervisor, which ends its workers in an orderly way.
                start_new_session=True,
            )
            self.connection: Connection[Any, Any] = Connection(mine.detach())
        self.log = log

    def messages(self, *, timeout_seconds: float) -> Iterator[object]:
        """Yield what arrives until the process closes the pipe or is silent for the timeout."""
        while self.connection.poll(timeout_seconds):
            try:
                yield self.connection.recv()
            except (EOFError, OSError):
                return

    def disconnect(self) -> None:
        """Close both ends of the pipe, while another thread may wait for messages."""
        with suppress(OSError), socket.socket(fileno=os.dup(self.connection.fileno())) as pipe:
            pipe.shutdown(socket.SHUT_RDWR)

    def kill(self) -> None:
        """Kill the process."""
        self._process.kill()

    def end(self, *, grace_seconds: float) -> int | None:
        """Close the pipe and wait for the process to exit; kill it after the grace.

        Returns:
            Its exit status, negative for a signal; None where it had to be killed.
        """
        self.connection.close()
        try:
            return self._process.wait(grace_seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            # A process that waits for a hung driver does not even end when it is killed.
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_KILL_SECONDS)
            return None


class LocalLauncher:
    """Starts the workers of a pool as processes of this machine.

    Args:
        spec: The start of each worker.
        logs: Folder of their logs.
        oom_counter: The kernel's count of processes that it killed for lack of memory.
    """

    def __init__(self, spec: WorkerSpec, *, logs: Path, oom_counter: OomCounter) -> None:
        self._spec = spec
        self._logs = logs
        self._processes: dict[int, LocalProcess] = {}
        self._oom_counter = oom_counter
        self._oom_kills: dict[int, int] = {}

    def start(self, worker: int) -> None:
        """Start a worker process, which waits for its first message."""
        self._oom_kills[worker] = self._oom_counter.read()
        self._processes[worker] = LocalProcess(
            self._spec.command,
            environment=self._spec.environment(worker),
            log=self._logs / f"worker-{worker}.log",
        )

    def send(self, worker: int, message: ToWorker) -> None:
        """Send a message; one to an exited worker is dropped, and :meth:`receive` reports it."""
        if isinstance(message, Train):
            # Only what is killed during the attempt can be this worker.
            self._oom_kills[worker] = self._oom_counter.read()
        try:
            self._processes[worker].connection.send(message)
        except OSError:
            return

    def receive(
        self, timeout_seconds: float
    ) -> Sequence[tuple[int, FromWorker | Heartbeat | None]]:
        """The next messages, as soon as there is one; None from each worker that has exited."""
        workers = {process.connection: worker for worker, process in self._processes.items()}
        timeout = None if math.isinf(timeout_seconds) else timeout_seconds
        return [
            (workers[connection], _next_message(connection))
            for connection in wait(list(workers), timeout)
            if isinstance(connection, Connection)
        ]

    def is_waiting(self, worker: int) -> bool:  # noqa: ARG002 - a protocol
        """A process of this machine is started at once."""
        return False

    def kill(self, worker: int) -> None:
        """Kill a worker without warning, as a machine that runs out of memory does."""
        self._processes[worker].kill()

    def end(self, worker: int, *, grace_seconds: float) -> ProcessExit:
        """End a worker; kill it if it has not exited after the grace."""
        process = self._processes.pop(worker)
        status = process.end(grace_seconds=grace_seconds)
        memory_ran_out = self._oom_counter.read() > self._oom_kills.pop(worker)
        return ProcessExit(
            describe_exit(status, memory_ran_out=memory_ran_out),
            str(process.log),
            log_tail(process.log),
            exit_kind(status, memory_ran_out=memory_ran_out),
        )

    def close(self, *, grace_seconds: float) -> None:
        """End all workers: first by closing their pipes, on which a worker exits."""
        processes = list(self._processes.values())
        self._processes.clear()
        for process in processes:
            process.connection.close()
        deadline = time.monotonic() + grace_seconds
        for process in processes:
            process.end(grace_seconds=max(deadline - time.monotonic(), 0.0))


def local_pool(
    spec: WorkerSpec,
    *,
    count: int,
    out: Path,
    oom_counter: OomCounter | None = None,
    limits: SilenceLimits | None = None,
) -> SupervisedPool:
    """A pool of processes of this machine.

    Args:
        spec: The start of each worker.
        count: How many workers.
        out: The study's folder, for logs and checkpoints.
        oom_counter: The kernel's count of processes that it killed for lack of memory; that of this
            machine if left out.
        limits: How long a worker may send nothing before it counts as hung.
    """
    launcher = LocalLauncher(spec, logs=out / "logs", oom_counter=oom_counter or OomCounter())
    return SupervisedPool(launcher, spec.prepare, count=count, out=out, limits=limits)


def _bound_to(starter: int) -> tuple[str, ...]:
    """What a command begins with whose process the kernel is to kill when its starter ends."""
    return (sys.executable, "-I", "-S", bound_process.__file__, str(starter))


def _next_message(connection: Connection[Any, Any]) -> FromWorker | Heartbeat | None:
    try:
        message: FromWorker | Heartbeat = connection.recv()
    except (EOFError, OSError):
        return None
    return message


def log_tail(log: Path) -> str:
    """The last 30 lines of a log, at most 4,000 bytes; empty where it cannot be read."""
    try:
        with log.open("rb") as stream:
            stream.seek(0, os.SEEK_END)
            stream.seek(max(stream.tell() - _LOG_TAIL_BYTES, 0))
            text = stream.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-30:])
