"""Defines worker pools: what a search loop asks of the workers that train its trials."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from effv2_tune.errors import EXIT_FAILED, TuneError
from effv2_tune.workers.messages import Refused, Unavailable, Waiting

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

    from effv2_tune.study.recipe import Recipe
    from effv2_tune.study.trial import RungAnswer, Trial
    from effv2_tune.workers.exits import ExitKind
    from effv2_tune.workers.messages import FromWorker

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """A trial to be trained.

    Attributes:
        trial: Its record so far.
        epochs: Of the whole trial.
        rungs: Epochs at whose end the worker waits for a decision, ascending.
        step_seconds: The bucket's step time, if it is known.
        reference_seconds: Time of the reference kernel in the study, if it is known.
        stage_seconds: The step time of each stage before the last one, if it is known.
    """

    trial: Trial
    epochs: int
    rungs: tuple[int, ...]
    step_seconds: float | None
    reference_seconds: float | None = None
    stage_seconds: tuple[float | None, ...] = ()


@dataclass(frozen=True)
class WorkerExited:
    """A worker ended unexpectedly.

    Attributes:
        cause: Exit status or signal, in words; or the reason of a refusal.
        log_tail: The last lines of its log.
        step: Of the newest checkpoint of its last trial; 0 where there is none.
        kind: Whether it crashed, was killed, or the host memory ran out.
    """

    cause: str
    log_tail: str
    step: int = 0
    kind: ExitKind = "crash"


class WorkerPool(Protocol):
    """Trains trials in workers, numbered from 0."""

    def start(self, *, on_target: bool = False) -> None:
        """Start the workers; each reports that it is ready. Those that run end first.

        Args:
            on_target: Start the one on the target placement in their place; its number is the one
                after theirs.
        """

    def assign(self, worker: int, job: Job) -> None:
        """Train a trial in an idle worker."""

    def measure_again(
        self, worker: int, recipe: Recipe, *, reference_seconds: float | None
    ) -> None:
        """Measure the step time of a recipe's bucket again, in an idle worker."""

    def decide(self, worker: int, trial: int, answer: RungAnswer) -> None:
        """Promote, pause or stop the trial of a worker that waits at a rung."""

    def restart(self, worker: int) -> None:
        """End a worker and start its replacement, which reports that it is ready."""

    def stop(self, workers: Collection[int] | None = None) -> None:
        """Ask workers to write a checkpoint and to stop; each confirms it.

        Args:
            workers: Which ones, and they can be restarted; all if left out, and none is replaced.
        """

    def wait(self, timeout_seconds: float) -> Sequence[tuple[int, FromWorker | WorkerExited]]:
        """The messages of all workers, as soon as there is one; none after the timeout."""


def messages(
    pool: WorkerPool, *, timeout_seconds: float = math.inf
) -> Iterator[FromWorker | WorkerExited]:
    """Yield the messages of a pool of one worker, endlessly.

    Args:
        pool: It has been started.
        timeout_seconds: The longest time between two messages.

    Raises:
        TuneError: The worker refuses to work, its machine has failed, or it sends nothing before
            the timeout.
    """
    while received := pool.wait(timeout_seconds):
        for _, message in received:
            if isinstance(message, Refused | Unavailable):
                raise message.error()
            if isinstance(message, Waiting):
                _log.warning(message.note)
            else:
                yield message
    raise TuneError(
        f"The worker sent nothing for {timeout_seconds:.0f} seconds.", exit_code=EXIT_FAILED
    )


def checkpoint_folder(study_folder: Path, trial: int) -> Path:
    """The folder of a trial's checkpoints."""
    return study_folder / "checkpoints" / f"trial-{trial:05d}"
