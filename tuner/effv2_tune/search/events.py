"""Defines the events of a study, which are also logged in events.jsonl."""

from __future__ import annotations

from typing import Any, Literal

from effv2_tune.study.base import Value
from effv2_tune.study.bucket import BucketKey, DataFacts
from effv2_tune.study.trial import Environment, Epoch, Pause, RungAnswer, Trial

#: ``trials``, ``hours`` or ``accelerator_hours`` are used up; ``stagnation``: the hypervolume
#: stopped growing; ``exhausted``: the engine has no new config; ``failing``: several trials
#: in a row failed; ``clear``: every pick is confirmed; ``unclear``: no further replicate would
#: confirm one.
EndKind = Literal[
    "trials",
    "hours",
    "accelerator_hours",
    "stagnation",
    "exhausted",
    "failing",
    "clear",
    "unclear",
]


class StudyStarted(Value):
    """A run of the study has started.

    Attributes:
        study: Its name.
        known: Trials that ended in earlier runs.
        unfinished: Running trials of earlier runs, which will be resumed.
        retries: Failed trials, which will be tried again.
        paused: Paused trials of earlier runs, which can be continued.
    """

    study: str
    known: int
    unfinished: int
    retries: int = 0
    paused: int = 0


class ConfirmStarted(Value):
    """Replicates are trained from now on, to confirm the picks.

    Attributes:
        study: Its name.
        candidates: Complete trials that are compared.
        known: Replicates that ended in earlier runs.
        unfinished: Running replicates of earlier runs, which will be resumed.
        limit: The largest number of replicates; None for no limit.
    """

    study: str
    candidates: int
    known: int
    unfinished: int
    limit: int | None


class ReplicateChosen(Value):
    """A complete trial is trained again with another seed.

    Attributes:
        trial: The number of the replicate.
        replicate_of: The trial.
        count: Its how many-th replicate this is, from 1.
        rival: The trial that it is compared with; None for the first replicate of a pick.
        probability: That the order of the two is not the estimated one.
        reason: Why, as the end of a sentence.
    """

    trial: int
    replicate_of: int
    count: int
    rival: int | None = None
    probability: float | None = None
    reason: str


class PlanChanged(Value):
    """The study file was edited since the last run.

    Attributes:
        lines: Each change, as ``key: old -> new``.
        inside: Trials inside the edited search space; None where the space is the same.
        outside: Trials outside of it, which no longer count.
    """

    lines: tuple[str, ...]
    inside: int | None
    outside: int


class RatesTestStarted(Value):
    """A learning-rate range test has started.

    Attributes:
        label: The short name of the bucket.
        number: Of the test, from 1.
        tests: How many there are, those of earlier runs included.
    """

    label: str
    number: int
    tests: int


class RatesTested(Value):
    """All range tests are complete, and their bounds replace those in the search space.

    Attributes:
        sentence: The bounds in words.
    """

    sentence: str


class Downloading(Value):
    """A file is downloaded before the first trial: weights or images.

    Attributes:
        file: Its name.
        received: Bytes so far.
        total: Bytes of the whole file; None if unknown.
    """

    file: str
    received: int
    total: int | None


class WorkerReady(Value):
    """A worker has opened its device and loaded its images.

    Attributes:
        worker: Its number.
        environment: What it trains on.
        data: What it trains with.
        summary: A description of the images, with hints and notes.
    """

    worker: int
    environment: Environment
    data: DataFacts
    summary: tuple[str, ...] = ()


class TrialStarted(Value):
    """A worker begins or resumes a trial.

    Attributes:
        trial: Its number.
        worker: That trains it.
        config: Of the trial.
        epochs: Of the whole trial.
        attempt: From 1.
        resumed_after: The whole epochs in the checkpoint that it resumes from; 0 without one.
        starts_over: Why it does not resume from a checkpoint of an earlier attempt; empty where it
            does, and at its first attempt.
        retry_of: The failed trial that it retries.
        replicate_of: The complete trial that it trains again with another seed.
    """

    trial: int
    worker: int
    config: dict[str, Any]
    epochs: int
    attempt: int
    resumed_after: int
    starts_over: str = ""
    retry_of: int | None = None
    replicate_of: int | None = None


class BucketCompiled(Value):
    """A worker has compiled and timed a bucket.

    Attributes:
        trial: The trial that it was compiled for.
        label: The bucket's short name.
        step_seconds: The step time that counts for every trial of the bucket.
        fresh: Whether it was compiled for this trial.
        bucket: The bucket.
        notes: Remarks on its preparation.
    """

    trial: int
    label: str
    step_seconds: float
    fresh: bool
    bucket: BucketKey | None = None
    notes: tuple[str, ...] = ()


class BucketTimeRestated(Value):
    """The step time of a bucket was corrected: it was measured again, or by a trial's own steps.

    Attributes:
        label: The bucket's short name.
        old_seconds: One step, before.
        new_seconds: One step, from now on.
        trials: The complete trials whose training seconds follow from it.
        front_changed: Whether other trials are on the Pareto front now, or in another order.
        bucket: The bucket.
        by_trial: Whose own steps have corrected it; None where it was measured again.
    """

    label: str
    old_seconds: float
    new_seconds: float
    trials: tuple[int, ...]
    front_changed: bool
    bucket: BucketKey
    by_trial: int | None = None


class EpochTrained(Value):
    """An epoch of a trial has ended, out of ``epochs``, on a fold of the images, from 0."""

    trial: int
    epoch: Epoch
    epochs: int
    fold: int = 0


class RungDecided(Value):
    """A trial was promoted past a rung, or paused or pruned there.

    Attributes:
        trial: Its number.
        rung: Index of the rung.
        epoch: The epoch at whose end it is.
        quality: At that epoch.
        projected_seconds: Training seconds projected for the whole trial.
        answer: What happened to it.
        better: How many trials rank better at this rung; None where an engine decides otherwise.
        seen: How many trials have reached it, this one included; likewise.
        guarded: Whether it was promoted only because of its optimistic outcome.
        optimistic_quality: Optimistic extrapolation of its final quality; None while too few curves
            are complete.
        strictness: Of the rung, from 0 to 1, by how well it has predicted the ends of trials; None
            where it need not be earned, or too few curves are complete.
    """

    trial: int
    rung: int
    epoch: int
    quality: float
    projected_seconds: float
    answer: RungAnswer
    better: int | None = None
    seen: int | None = None
    guarded: bool = False
    optimistic_quality: float | None = None
    strictness: float | None = None


class TrialPaused(Value):
    """A trial is paused at a rung: its checkpoint is kept, and its worker trains another one.

    Attributes:
        trial: Its number.
        pause: Where and when.
        quality: At that rung.
    """

    trial: int
    pause: Pause
    quality: float


class TrialPromoted(Value):
    """A paused trial is continued, as soon as a worker is idle.

    Attributes:
        trial: Its number.
        pause: Where and when it was paused.
    """

    trial: int
    pause: Pause


class TrialEnded(Value):
    """A trial has ended; its record has the outcome."""

    trial: Trial


class WorkerDied(Value):
    """A worker process has exited unexpectedly.

    Attributes:
        worker: Its number.
        trial: That it was training; another worker resumes it.
        cause: Exit status or signal, in words.
        log_tail: The last lines of its log.
    """

    worker: int
    trial: int | None
    cause: str
    log_tail: str


class WorkerWaits(Value):
    """A worker has waited for another process for long, and goes on waiting.

    Attributes:
        worker: Its number.
        note: What for.
    """

    worker: int
    note: str


class WorkerReplaced(Value):
    """A worker that used too much memory was replaced after its trial.

    Attributes:
        worker: Its number.
        memory_bytes: Its resident memory.
    """

    worker: int
    memory_bytes: int


class CheckpointsSetAside(Value):
    """The checkpoints in the folder of a trial cannot be resumed and were moved.

    Attributes:
        trial: Its number.
        kept_as: The folder that they were moved to.
    """

    trial: int
    kept_as: str


class LeaseLost(Value):
    """Another supervisor has taken over a trial, as this one did not renew its lease in time."""

    trial: int


class BackupFailed(Value):
    """The backup of the database could not be written; the study continues without it.

    Attributes:
        reason: Of the operating system or of SQLite.
    """

    reason: str


class VersionDamaged(Value):
    """A version of a fact of the study is damaged; the newest intact one counts.

    Attributes:
        note: Which, as a sentence.
    """

    note: str


class StudyInterrupted(Value):
    """The run of the study is to stop: its running trials are asked for checkpoints.

    Attributes:
        reason: A signal, or the end of the session, as the beginning of a sentence.
        grace_seconds: Time for the checkpoints.
    """

    reason: str
    grace_seconds: float


class TrialInterrupted(Value):
    """A running trial was stopped, to be resumed by the next run.

    Attributes:
        trial: Its number.
        step: Of the checkpoint that was written for it; None where the time was too short, and the
            trial resumes from an earlier one.
    """

    trial: int
    step: int | None


class StudyRestored(Value):
    """The study was restored from a mirror, as its folder had none.

    Attributes:
        source: Address of the mirror.
        time: When the mirror was written, in ISO format.
        host: The machine that wrote it.
        ended: Trials that had ended.
        damaged: Files that were damaged in the mirror, and were restored from an older version or
            not at all.
    """

    source: str
    time: str
    host: str
    ended: int
    damaged: tuple[str, ...] = ()


class MirrorFailed(Value):
    """The mirror cannot be written; the study continues, and the mirror is retried.

    Attributes:
        reason: Of the file system.
    """

    reason: str


class MirrorRecovered(Value):
    """The mirror is complete again.

    Attributes:
        seconds: How long it was not.
    """

    seconds: float


class MirrorStopped(Value):
    """The mirror is written no more in this run, as it belongs to another one; the study continues.

    Attributes:
        reason: Why, and the way out.
    """

    reason: str


class DatabaseUnavailable(Value):
    """The database cannot be used; training continues, and the operation is retried.

    Attributes:
        database: Without its password.
        reason: Of the driver.
    """

    database: str
    reason: str


class DatabaseAvailable(Value):
    """The database can be used again.

    Attributes:
        database: Without its password.
        seconds: How long it was unavailable.
    """

    database: str
    seconds: float


class WaitingForOthers(Value):
    """This supervisor has no trial left, and waits for those of other supervisors.

    Attributes:
        trials: Their numbers; this supervisor resumes them if the others exit.
    """

    trials: tuple[int, ...]


class WorkersChosen(Value):
    """The number of workers was chosen, before the study is opened.

    Attributes:
        choice: The workers and their devices, and what others would have trained.
    """

    choice: str


class TrialDeferred(Value):
    """A trial waits for the target placement.

    Attributes:
        trial: Its number.
        label: The short name of its bucket.
        is_large: Whether it does not fit the devices of a worker; else its bucket is to be timed.
    """

    trial: int
    label: str
    is_large: bool


class BucketTimed(Value):
    """A bucket was timed on the target placement, before its trials begin.

    Attributes:
        label: Its short name.
        step_seconds: Time of one optimizer step.
        bucket: The bucket on the target.
    """

    label: str
    step_seconds: float
    bucket: BucketKey


class PlacementChanged(Value):
    """The workers have ended, so that one on the target can start; or the other way round.

    Attributes:
        on_target: Whether the one on the target starts.
        buckets: That are to be timed there.
        trials: That wait for it.
    """

    on_target: bool
    buckets: int
    trials: int


class StudyEnded(Value):
    """The search has ended.

    Attributes:
        kind: The reason, for programs.
        reason: The reason, as a sentence.
    """

    kind: EndKind
    reason: str


Event = (
    StudyStarted
    | ConfirmStarted
    | ReplicateChosen
    | PlanChanged
    | RatesTestStarted
    | RatesTested
    | Downloading
    | WorkerReady
    | TrialStarted
    | BucketCompiled
    | BucketTimeRestated
    | EpochTrained
    | RungDecided
    | TrialPaused
    | TrialPromoted
    | TrialEnded
    | WorkerDied
    | WorkerWaits
    | WorkerReplaced
    | CheckpointsSetAside
    | LeaseLost
    | BackupFailed
    | VersionDamaged
    | StudyInterrupted
    | TrialInterrupted
    | StudyRestored
    | MirrorFailed
    | MirrorRecovered
    | MirrorStopped
    | DatabaseUnavailable
    | DatabaseAvailable
    | WaitingForOthers
    | WorkersChosen
    | TrialDeferred
    | BucketTimed
    | PlacementChanged
    | StudyEnded
)
