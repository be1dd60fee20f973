"""What happens in a study, in the words of whoever watches it."""

from __future__ import annotations

from typing import Any, Literal

from effv2_tune.study.base import Value
from effv2_tune.study.bucket import BucketKey, DataFacts
from effv2_tune.study.trial import Environment, Epoch, Trial

#: ``trials``, ``hours`` or ``accelerator_hours`` were spent; ``stagnation``: the hypervolume
#: stopped growing; ``exhausted``: the engine asks for nothing new; ``failing``: trial after trial
#: failed.
EndKind = Literal["trials", "hours", "accelerator_hours", "stagnation", "exhausted", "failing"]


class StudyStarted(Value):
    """The study is open.

    Attributes:
        study: Its name.
        known: Trials that were told in earlier runs.
        unfinished: Trials of earlier runs that will be continued.
    """

    study: str
    known: int
    unfinished: int


class PlanChanged(Value):
    """The study file was edited since the study was last run.

    Attributes:
        lines: Each change, as ``key: old -> new``.
        inside: Trials that lie in the edited search space; absent where the space is the same.
        outside: Trials that do not, and no longer count.
    """

    lines: tuple[str, ...]
    inside: int | None
    outside: int


class WorkerReady(Value):
    """A worker has its device and its images.

    Attributes:
        worker: Which.
        environment: What it trains on.
        data: What it trains with.
        summary: The images in sentences, with hints and notes.
    """

    worker: int
    environment: Environment
    data: DataFacts
    summary: tuple[str, ...] = ()


class TrialStarted(Value):
    """A worker begins or continues a trial.

    Attributes:
        trial: Its number.
        worker: Who trains it.
        config: What is tried.
        epochs: Of the whole trial.
        attempt: From 1.
        resumed_after: Epochs that earlier attempts recorded.
    """

    trial: int
    worker: int
    config: dict[str, Any]
    epochs: int
    attempt: int
    resumed_after: int


class BucketCompiled(Value):
    """A worker can train recipes of this bucket.

    Attributes:
        trial: The trial that it was compiled for.
        label: The bucket's short name.
        step_seconds: The step time that counts for every trial of the bucket.
        fresh: Whether it was compiled just now.
        bucket: The bucket.
        notes: Sentences about what was done for it.
    """

    trial: int
    label: str
    step_seconds: float
    fresh: bool
    bucket: BucketKey | None = None
    notes: tuple[str, ...] = ()


class EpochTrained(Value):
    """One more epoch of a trial is trained, out of ``epochs``."""

    trial: int
    epoch: Epoch
    epochs: int


class RungDecided(Value):
    """A trial was compared with the others at a rung.

    Attributes:
        trial: Its number.
        rung: Index of the rung.
        epoch: At whose end it lies.
        quality: At that epoch.
        projected_seconds: Training time that the whole trial would have.
        go_on: Whether it goes on.
        better: How many trials rank better at this rung.
        seen: How many have been compared, this one included.
        guarded: Whether only its optimistic outlook kept it.
        optimistic_quality: The final quality that it may still come to; absent while too few
            curves are full.
    """

    trial: int
    rung: int
    epoch: int
    quality: float
    projected_seconds: float
    go_on: bool
    better: int
    seen: int
    guarded: bool
    optimistic_quality: float | None


class TrialEnded(Value):
    """A trial was told; its record says what became of it."""

    trial: Trial


class WorkerDied(Value):
    """A worker process ended by itself.

    Attributes:
        worker: Which.
        trial: What it was training; it is continued by another worker.
        cause: Exit status or signal, in words.
        log_tail: The last lines that it wrote.
    """

    worker: int
    trial: int | None
    cause: str
    log_tail: str


class WorkerReplaced(Value):
    """A worker that has grown too large is ended after its trial, and another takes its place.

    Attributes:
        worker: Which.
        memory_bytes: The resident memory that it had.
    """

    worker: int
    memory_bytes: int


class CheckpointsSetAside(Value):
    """What lay in a trial's folder is not what the trial can go on from.

    Attributes:
        trial: Its number.
        kept_as: The folder that it was moved to.
    """

    trial: int
    kept_as: str


class LeaseLost(Value):
    """Another supervisor has taken a trial over, because this one was silent for too long."""

    trial: int


class StudyEnded(Value):
    """The search is over.

    Attributes:
        kind: For programs.
        reason: For people, a sentence.
    """

    kind: EndKind
    reason: str


Event = (
    StudyStarted
    | PlanChanged
    | WorkerReady
    | TrialStarted
    | BucketCompiled
    | EpochTrained
    | RungDecided
    | TrialEnded
    | WorkerDied
    | WorkerReplaced
    | CheckpointsSetAside
    | LeaseLost
    | StudyEnded
)
