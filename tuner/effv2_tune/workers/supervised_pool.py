"""Supervises workers: their trials, readiness and checkpoints, and the replacement of exited ones.

How a worker is started, reached and ended is left to a :class:`Launcher`.
"""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, Self

from effv2_tune.errors import EXIT_FAILED, TuneError
from effv2_tune.files.checkpoint import CheckpointFolder
from effv2_tune.workers.messages import (
    Decision,
    Heartbeat,
    Measure,
    RangeTest,
    Ready,
    Refused,
    Remeasure,
    Stop,
    Train,
)
from effv2_tune.workers.pool import WorkerExited, checkpoint_folder
from effv2_tune.workers.silence import SilenceWatch

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from pathlib import Path

    from effv2_tune.study.recipe import Recipe
    from effv2_tune.study.trial import RungAnswer
    from effv2_tune.workers.exits import ExitKind
    from effv2_tune.workers.messages import FromWorker, Prepare, ToWorker
    from effv2_tune.workers.pool import Job
    from effv2_tune.workers.silence import SilenceLimits

#: Workers that exit in a row before they are ready, after which the study ends.
MAX_STARTUP_FAILURES = 3
#: Likewise of workers that somebody kills, which may be chance.
MAX_STARTUP_KILLS = 10
_SHUTDOWN_GRACE_SECONDS = 5.0
#: Of workers that were asked to stop before, and had their time.
_STOPPED_GRACE_SECONDS = 0.5
#: The longest time between two looks at the silence of the workers.
_LOOK_SECONDS = 10.0
#: Between two looks at the room for workers, where their number follows it.
ROOM_SECONDS = 2.0


@dataclass(frozen=True)
class ProcessExit:
    """The end of a worker process.

    Attributes:
        cause: Exit status or signal, in words.
        log: Where its log is.
        log_tail: The last lines of it.
        kind: Whether it crashed, was killed, or the host memory ran out.
    """

    cause: str
    log: str
    log_tail: str
    kind: ExitKind = "crash"


class Launcher(Protocol):
    """Starts worker processes by number, carries their messages and ends them."""

    def start(self, worker: int) -> None:
        """Start a worker process, which waits for its first message."""

    def send(self, worker: int, message: ToWorker) -> None:
        """Send a message; one to an exited worker is dropped, and :meth:`receive` reports it."""

    def receive(
        self, timeout_seconds: float
    ) -> Sequence[tuple[int, FromWorker | Heartbeat | None]]:
        """The next messages, as soon as there is one; None from each worker that has exited."""

    def is_waiting(self, worker: int) -> bool:
        """Whether a worker waits for room, so that it has no process yet."""

    def kill(self, worker: int) -> None:
        """Kill a worker without warning, as a machine that runs out of memory does."""

    def end(self, worker: int, *, grace_seconds: float) -> ProcessExit:
        """End a worker; kill it if it has not exited after the grace."""

    def close(self, *, grace_seconds: float) -> None:
        """End all workers; kill those that have not exited after the grace."""


@dataclass
class _Worker:
    is_replacement: bool
    is_ready: bool = False
    trial: int | None = None


class SupervisedPool:
    """Workers of one launcher; a context manager that ends them.

    Args:
        launcher: Starts the workers.
        prepare: The first message to each.
        count: How many workers.
        out: The study's folder, for checkpoints.
        limits: How long a worker may send nothing before it counts as hung.
        room: For how many workers there is room now, ``count`` of which are started first: their
            number follows it. They stay as many if left out.
    """

    def __init__(
        self,
        launcher: Launcher,
        prepare: Prepare,
        *,
        count: int,
        out: Path,
        limits: SilenceLimits | None = None,
        room: Callable[[], int] | None = None,
    ) -> None:
        self._launcher = launcher
        self._prepare = prepare
        self._count = count
        self._room, self._room_seen_at = room, time.monotonic()
        self._out = out
        self._workers: dict[int, _Worker] = {}
        self._startup_failures = 0
        self._is_stopping = False
        self._startup_kills = 0
        self._silence = SilenceWatch(limits)

    @property
    def count(self) -> int:
        """How many workers there are now, those that wait for room included."""
        return len(self._workers) or self._count

    def __enter__(self) -> Self:
        """Nothing is started yet."""
        return self

    def __exit__(self, *_: object) -> None:
        """End all workers."""
        self.close()

    def start(self, *, on_target: bool = False) -> None:
        """Start the workers, or the one on the target, once those that run have ended."""
        if self._workers or self._is_stopping:
            self._workers.clear()
            self._silence.forget()
            self._launcher.close(grace_seconds=_SHUTDOWN_GRACE_SECONDS)
            self._is_stopping = False
        for worker in [self._count] if on_target else range(self._count):
            self._start(worker, is_replacement=False)

    def assign(self, worker: int, job: Job) -> None:
        """Train a trial in an idle worker."""
        trial = job.trial
        if trial.recipe is None:
            raise ValueError(f"trial {trial.number} has no recipe")
        self._workers[worker].trial = trial.number
        request = Train(
            trial=trial.number,
            recipe=trial.recipe,
            rungs=job.rungs,
            step_seconds=job.step_seconds,
            checkpoint=self.checkpoint(trial.number),
            all_folds=True,
            reference_seconds=job.reference_seconds,
            stage_seconds=job.stage_seconds,
        )
        self._silence.begin(worker)
        self._launcher.send(worker, request)

    def measure(self, worker: int, recipe: Recipe) -> None:
        """Profile the bucket of a recipe in an idle worker."""
        self._silence.begin(worker)
        self._launcher.send(worker, Measure(recipe=recipe))

    def range_test(self, worker: int, recipe: Recipe, rates: Sequence[float]) -> None:
        """Train a few steps of a recipe at these learning rates, in an idle worker."""
        self._silence.begin(worker)
        self._launcher.send(worker, RangeTest(recipe=recipe, rates=tuple(rates)))

    def measure_again(
        self, worker: int, recipe: Recipe, *, reference_seconds: float | None
    ) -> None:
        """Measure the step time of a recipe's bucket again, in an idle worker."""
        self._workers[worker].trial = None
        self._silence.begin(worker)
        self._launcher.send(worker, Remeasure(recipe=recipe, reference_seconds=reference_seconds))

    def decide(self, worker: int, trial: int, answer: RungAnswer) -> None:
        """Promote, pause or stop the trial of a worker that waits at a rung."""
        self._silence.resume(worker)
        self._launcher.send(worker, Decision(trial=trial, answer=answer))

    def restart(self, worker: int) -> None:
        """Kill a worker and start its replacement."""
        ended = self._workers.pop(worker)
        self._launcher.end(worker, grace_seconds=0.0)
        self._start(worker, is_replacement=ended.is_ready or ended.is_replacement)

    def kill(self, worker: int) -> None:
        """Kill a worker as a machine that runs out of memory does; :meth:`wait` reports it."""
        self._launcher.kill(worker)

    def stop(self, workers: Collection[int] | None = None) -> None:
        """Ask workers to write a checkpoint and to stop; each confirms it.

        Args:
            workers: Which ones, and they can be restarted; all if left out, and none is replaced.
        """
        self._is_stopping |= workers is None
        for worker in self._workers if workers is None else workers:
            self._launcher.send(worker, Stop())

    def wait(self, timeout_seconds: float) -> Sequence[tuple[int, FromWorker | WorkerExited]]:
        """The messages of all workers; an exited worker is replaced before its exit is reported.

        A replacement that refuses to work counts as exited: the resource that it lacks was there
        before and may come back. A hung worker is killed, and counts as exited.

        Raises:
            TuneError: Several workers in a row exited, or refused to work, before they were ready.
        """
        left = timeout_seconds
        longest = _LOOK_SECONDS if self._room is None else ROOM_SECONDS
        while True:
            self._follow_room()
            look, before = min(left, longest), time.monotonic()
            received = self._launcher.receive(look)
            messages = [
                pair for worker, message in received for pair in self._read(worker, message)
            ]
            messages += self._replace_hung()
            # Heartbeats alone do not end the wait.
            left -= time.monotonic() - before if received else look
            if messages or left <= 0:
                return messages

    def _read(
        self, worker: int, message: FromWorker | Heartbeat | None
    ) -> list[tuple[int, FromWorker | WorkerExited]]:
        """What the message of a worker means to the search."""
        if message is None:
            return [(worker, self._replace(worker))]
        self._silence.receive(worker, message)
        if isinstance(message, Heartbeat):
            return []
        if isinstance(message, Refused) and self._workers[worker].is_replacement:
            return [(worker, self._replace(worker, message))]
        if isinstance(message, Ready):
            self._workers[worker].is_ready = True
            self._startup_failures = self._startup_kills = 0
        return [(worker, message)]

    def _follow_room(self) -> None:
        """Start workers where there is new room; end those that wait for room that is gone."""
        now = time.monotonic()
        is_due = now - self._room_seen_at >= ROOM_SECONDS
        if self._room is None or self._is_stopping or not is_due:
            return
        self._room_seen_at = now
        room = self._room()
        waiting = [one for one in sorted(self._workers) if self._launcher.is_waiting(one)]
        for worker in waiting[::-1][: max(0, len(self._workers) - room)]:
            del self._workers[worker]
            self._silence.end(worker)
            self._launcher.end(worker, grace_seconds=0.0)
        unused = (number for number in itertools.count() if number not in self._workers)
        while len(self._workers) < room:
            self._start(next(unused), is_replacement=True)

    def _replace_hung(self) -> list[tuple[int, FromWorker | WorkerExited]]:
        """Kill and replace the workers that have been silent for too long."""
        exited: list[tuple[int, FromWorker | WorkerExited]] = []
        for worker, seconds in self._silence.overdue().items():
            self._launcher.kill(worker)
            cause = f"it hung: it sent nothing for {seconds:.0f} s and was killed"
            exited.append((worker, self._replace(worker, cause=cause)))
        return exited

    def checkpoint(self, trial: int) -> Path:
        """Folder of a trial's checkpoints."""
        return checkpoint_folder(self._out, trial)

    def set_aside(self, trial: int) -> Path | None:
        """Rename the folder of a trial's checkpoints, so that the trial starts from the beginning.

        Returns:
            The new name of the folder; None where it held no files.
        """
        folder = self.checkpoint(trial)
        if not folder.is_dir() or not any(folder.iterdir()):
            return None
        names = (folder.with_name(f"{folder.name}.before-{n}") for n in itertools.count(1))
        return folder.rename(next(name for name in names if not name.exists()))

    def close(self) -> None:
        """End all workers."""
        self._workers.clear()
        grace = _STOPPED_GRACE_SECONDS if self._is_stopping else _SHUTDOWN_GRACE_SECONDS
        self._launcher.close(grace_seconds=grace)

    def _start(self, worker: int, *, is_replacement: bool) -> None:
        self._launcher.start(worker)
        self._workers[worker] = _Worker(is_replacement)
        self._silence.begin(worker)
        prepare = self._prepare
        if worker == self._count and self._room is None:  # on the target, where it is alone
            prepare = prepare.model_copy(update={"workers": 1})
        self._launcher.send(worker, prepare)

    def _replace(
        self, worker: int, refusal: Refused | None = None, *, cause: str | None = None
    ) -> WorkerExited:
        """Start another worker in place of one that has exited or refuses to work.

        Args:
            worker: Its number.
            refusal: Its last message, where it refuses.
            cause: Of its end, where it was not its own.
        """
        ended = self._workers.pop(worker)
        process = self._launcher.end(worker, grace_seconds=_SHUTDOWN_GRACE_SECONDS)
        process = process if cause is None else replace(process, cause=cause, kind="crash")
        if not ended.is_ready:
            self._count_startup(process, refusal)
        if not self._is_stopping:
            self._start(worker, is_replacement=ended.is_ready or ended.is_replacement)
        step = 0
        if ended.trial is not None:
            step = CheckpointFolder(self.checkpoint(ended.trial)).newest_step()
        cause = process.cause if refusal is None else f"it refused to work: {refusal.message}"
        return WorkerExited(cause, process.log_tail, step, process.kind)

    def _count_startup(self, process: ProcessExit, refusal: Refused | None) -> None:
        """Count a worker that was never ready.

        Raises:
            TuneError: It is one of too many in a row.
        """
        if refusal is None and process.kind == "kill":
            self._startup_kills += 1
            if self._startup_kills >= MAX_STARTUP_KILLS:
                raise _startup_error(MAX_STARTUP_KILLS, process)
            return
        self._startup_failures += 1
        if self._startup_failures >= MAX_STARTUP_FAILURES:
            if refusal is not None:
                raise refusal.error()
            raise _startup_error(MAX_STARTUP_FAILURES, process)


def _startup_error(count: int, last: ProcessExit) -> TuneError:
    return TuneError(
        f"{count} workers in a row exited before they were ready ({last.cause}).",
        hint=f"The log {last.log} ends:\n{last.log_tail}",
        exit_code=EXIT_FAILED,
    )
