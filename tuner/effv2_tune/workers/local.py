"""Worker processes: started, spoken to over pipes, replaced when they die."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Protocol, Self

from effv2_tune.errors import EXIT_FAILED, TuneError
from effv2_tune.files.checkpoint import newest_step
from effv2_tune.host import THREADS_VARIABLE, threads_each
from effv2_tune.study.recipe import Recipe
from effv2_tune.workers.messages import (
    Decision,
    FromWorker,
    Measure,
    Prepare,
    Ready,
    Refused,
    Train,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from effv2_tune.study.trial import Trial
    from effv2_tune.workers.messages import ToWorker

WORKER_COMMAND = (sys.executable, "-m", "effv2_tune.training.worker")
#: Workers that die so often in a row before they are ready: it is not the trials' fault.
MAX_STARTUP_FAILURES = 3
_LOG_TAIL_BYTES = 4000
_SHUTDOWN_GRACE_SECONDS = 5.0


@dataclass(frozen=True)
class Job:
    """A trial for a worker.

    Attributes:
        trial: Its record so far.
        epochs: Of the whole trial.
        rungs: Epochs at whose end the worker waits for a decision, ascending.
        step_seconds: The bucket's step time, if it is known.
    """

    trial: Trial
    epochs: int
    rungs: tuple[int, ...]
    step_seconds: float | None


@dataclass(frozen=True)
class WorkerExited:
    """A worker ended by itself.

    Attributes:
        cause: Exit status or signal, in words; or why it refused to work.
        log_tail: The last lines that it wrote.
        step: Of the newest checkpoint of the trial that it was given last; 0 where it has none.
    """

    cause: str
    log_tail: str
    step: int = 0


class WorkerPool(Protocol):
    """Trains what it is given."""

    def start(self) -> None:
        """Let the workers take their places; each says that it is ready."""

    def assign(self, worker: int, job: Job) -> None:
        """Give a trial to a worker that has nothing to do."""

    def decide(self, worker: int, trial: int, *, go_on: bool) -> None:
        """Answer a worker that waits at a rung."""

    def restart(self, worker: int) -> None:
        """End what a worker does; another one takes its place and says that it is ready."""

    def wait(self, timeout_seconds: float) -> Sequence[tuple[int, FromWorker | WorkerExited]]:
        """What workers have said, as soon as there is something, or nothing after the timeout."""


@dataclass
class _Worker:
    process: subprocess.Popen[bytes]
    connection: Connection
    log: Path
    is_replacement: bool
    is_ready: bool = False
    trial: int | None = None


class ProcessPool:
    """Real worker processes on this machine; a context manager that ends them.

    Args:
        prepare: What a new worker is told first.
        count: How many workers.
        out: The study's folder, for logs and checkpoints.
        environment: Of the workers, added to this process's own.
        command: What a worker runs; ``--fd N`` is added.
        device_of: What a worker finds in its environment beside that, by its number.
    """

    def __init__(
        self,
        prepare: Prepare,
        *,
        count: int,
        out: Path,
        environment: Mapping[str, str],
        command: Sequence[str] = WORKER_COMMAND,
        device_of: Callable[[int], Mapping[str, str]] = lambda _: {},
    ) -> None:
        self._prepare = prepare
        self._count = count
        self._out = out
        self._environment = dict(environment)
        self._command = tuple(command)
        self._device_of = device_of
        self._workers: dict[int, _Worker] = {}
        self._false_starts = 0

    def __enter__(self) -> Self:
        """Nothing is started yet."""
        return self

    def __exit__(self, *_: object) -> None:
        """End all workers."""
        self.close()

    def start(self) -> None:
        """Start the workers; each says that it is ready."""
        for worker in range(self._count):
            self._spawn(worker, is_replacement=False)

    def assign(self, worker: int, job: Job) -> None:
        """Give a trial to a worker that has nothing to do."""
        recipe = job.trial.recipe
        if recipe is None:
            raise ValueError(f"trial {job.trial.number} has no recipe")
        self._workers[worker].trial = job.trial.number
        self._send(
            worker,
            Train(
                trial=job.trial.number,
                recipe=Recipe.model_validate(recipe.model_dump()),
                rungs=job.rungs,
                step_seconds=job.step_seconds,
                checkpoint=self.checkpoint(job.trial.number),
            ),
        )

    def measure(self, worker: int, recipe: Recipe) -> None:
        """Have a worker that has nothing to do measure what the bucket of a recipe takes."""
        self._send(worker, Measure(recipe=recipe))

    def decide(self, worker: int, trial: int, *, go_on: bool) -> None:
        """Answer a worker that waits at a rung."""
        self._send(worker, Decision(trial=trial, go_on=go_on))

    def restart(self, worker: int) -> None:
        """Kill a worker and start another one in its place."""
        one = self._workers.pop(worker)
        self._end(one, patience_seconds=0.0)
        self._spawn(worker, is_replacement=one.is_ready or one.is_replacement)

    def kill(self, worker: int) -> None:
        """Kill a worker as a machine that runs out of memory does; :meth:`wait` tells of it."""
        self._workers[worker].process.kill()

    def wait(self, timeout_seconds: float) -> Sequence[tuple[int, FromWorker | WorkerExited]]:
        """What workers have said; a dead one is replaced before its death is reported.

        One that refuses to take the place of one that worked is a dead one.

        Raises:
            TuneError: Worker after worker died, or refused to work, before it was ready.
        """
        by_connection = {one.connection: worker for worker, one in self._workers.items()}
        heard: list[tuple[int, FromWorker | WorkerExited]] = []
        for connection in wait(list(by_connection), timeout_seconds):
            if not isinstance(connection, Connection):
                continue
            worker = by_connection[connection]
            try:
                message = connection.recv()
            except (EOFError, OSError):
                heard.append((worker, self._handle_death(worker)))
                continue
            if isinstance(message, Refused) and self._workers[worker].is_replacement:
                # What it needs was there a moment ago, and may be there again.
                heard.append((worker, self._handle_death(worker, message)))
                continue
            if isinstance(message, Ready):
                self._workers[worker].is_ready = True
                self._false_starts = 0
            heard.append((worker, message))
        return heard

    def checkpoint(self, trial: int) -> Path:
        """Folder of a trial's checkpoints."""
        return self._out / "checkpoints" / f"trial-{trial:05d}"

    def set_aside(self, trial: int) -> Path | None:
        """Rename the folder of a trial's checkpoints, so that the trial begins at its beginning.

        Returns:
            Where its files lie now; None where there were none.
        """
        folder = self.checkpoint(trial)
        if not folder.is_dir() or not any(folder.iterdir()):
            return None
        names = (folder.with_name(f"{folder.name}.before-{n}") for n in itertools.count(1))
        return folder.rename(next(name for name in names if not name.exists()))

    def close(self) -> None:
        """End all workers: at first by closing their pipes, which they notice."""
        workers = list(self._workers.values())
        self._workers.clear()
        for one in workers:
            one.connection.close()
        deadline = time.monotonic() + _SHUTDOWN_GRACE_SECONDS
        for one in workers:
            self._end(one, patience_seconds=max(deadline - time.monotonic(), 0.0))

    def _spawn(self, worker: int, *, is_replacement: bool) -> None:
        mine, theirs = socket.socketpair()
        log = self._out / "logs" / f"worker-{worker}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with theirs, log.open("ab") as stream:
            process = subprocess.Popen(
                [*self._command, "--fd", str(theirs.fileno())],
                env={**os.environ, **self._environment, **self._device_of(worker)},
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                # Ctrl-C is for the supervisor, which ends its workers in an orderly way.
                start_new_session=True,
            )
        self._workers[worker] = _Worker(process, Connection(mine.detach()), log, is_replacement)
        self._send(worker, self._prepare)

    def _send(self, worker: int, message: ToWorker) -> None:
        try:
            self._workers[worker].connection.send(message)
        except OSError:
            # It has just died: the next wait says so.
            return

    def _handle_death(self, worker: int, refusal: Refused | None = None) -> WorkerExited:
        """Learn how a worker ended, and start another one."""
        one = self._workers.pop(worker)
        one.connection.close()
        self._end(one, patience_seconds=_SHUTDOWN_GRACE_SECONDS)
        cause = describe_exit(one.process.returncode)
        if refusal is not None:
            cause = f"it refused to work: {refusal.message}"
        step = 0 if one.trial is None else newest_step(self.checkpoint(one.trial))
        died = WorkerExited(cause, _tail(one.log), step)
        if not one.is_ready:
            self._false_starts += 1
            if self._false_starts >= MAX_STARTUP_FAILURES:
                raise _never_ready(one.log, died, refusal)
        self._spawn(worker, is_replacement=one.is_ready or one.is_replacement)
        return died

    def _end(self, one: _Worker, *, patience_seconds: float) -> None:
        one.connection.close()
        try:
            one.process.wait(patience_seconds)
        except subprocess.TimeoutExpired:
            one.process.kill()
            one.process.wait()


def _never_ready(log: Path, died: WorkerExited, refusal: Refused | None) -> TuneError:
    """What is said when worker after worker did not get ready: in its own words, if it had any."""
    if refusal is not None:
        return TuneError(refusal.message, hint=refusal.hint, exit_code=refusal.exit_code)
    return TuneError(
        f"{MAX_STARTUP_FAILURES} workers in a row died before they were ready ({died.cause}).",
        hint=f"Their log is {log}; it ends:\n{died.log_tail}",
        exit_code=EXIT_FAILED,
    )


def worker_environment(
    backend: str, hardware: str, *, workers: int, cpu_count: int
) -> dict[str, str]:
    """What a worker finds in its environment, beside what is there already.

    Args:
        backend: The Keras backend.
        hardware: ``cpu``, ``gpu`` or ``tpu``; on a CPU, every accelerator is hidden.
        workers: How many share the machine.
        cpu_count: Processors that they share.
    """
    threads = str(threads_each(cpu_count, workers))
    environment = {
        "KERAS_BACKEND": backend,
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "PYTHONUNBUFFERED": "1",
    }
    if workers > 1:
        environment |= {
            "OMP_NUM_THREADS": threads,
            **dict.fromkeys(THREADS_VARIABLE.values(), threads),
            "TF_NUM_INTEROP_THREADS": "1",
        }
    if hardware == "cpu":
        environment |= {"CUDA_VISIBLE_DEVICES": "-1", "JAX_PLATFORMS": "cpu"}
    return environment


def device_of_worker(worker: int, *, hardware: str, workers: int) -> dict[str, str]:
    """Where several share a machine with GPUs, the one that this worker sees; nothing otherwise.

    Args:
        worker: From 0.
        hardware: ``cpu``, ``gpu`` or ``tpu``.
        workers: How many share the machine.
    """
    if hardware != "gpu" or workers == 1:
        return {}
    listed = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    names = listed.split(",") if listed else [str(number) for number in range(workers)]
    return {"CUDA_VISIBLE_DEVICES": names[worker % len(names)]}


def describe_exit(status: int) -> str:
    """The end of a process, in words.

    Args:
        status: Its exit status, or a signal's number below zero.
    """
    if status >= 0:
        return f"exit status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    if name == "SIGKILL":
        return "killed (SIGKILL), as the system does when memory runs out"
    return f"ended by {name}"


def _tail(log: Path) -> str:
    """The end of a log, from the start of a line."""
    try:
        with log.open("rb") as stream:
            stream.seek(0, os.SEEK_END)
            stream.seek(max(stream.tell() - _LOG_TAIL_BYTES, 0))
            text = stream.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-30:])


if TYPE_CHECKING:

    def _is_a_pool(pool: ProcessPool) -> WorkerPool:
        return pool
