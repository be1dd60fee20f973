"""Defines the messages between supervisor and worker."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AllowInfNan

from effv2_tune.errors import RESUME_HINT, TuneError, UnavailableError
from effv2_tune.study.base import Value
from effv2_tune.study.bucket import BucketKey, DataFacts
from effv2_tune.study.recipe import DataSpec, Quality, Recipe
from effv2_tune.study.step_time import StepTime
from effv2_tune.study.trial import Environment, Epoch, RungAnswer, Scores, Times


class Prepare(Value):
    """To a new worker: open the device and load the images.

    Attributes:
        data: Which images.
        base: Folder that relative paths start from.
        backend: The Keras backend, already set in the worker's environment.
        hardware: The kind of device that the worker must find; it never uses another silently.
        precision: As in the study file.
        storage_size: Side in pixels at which images of mixed sizes are stored unless the data
            section sets it.
        quality: What the study compares, for hints about the data.
        checkpoint_seconds: Of training between checkpoints; the default of the trainer if left out.
        workers: How many share this machine or its devices.
        target_devices: Devices that batches per device are meant for; the worker's own if left out.
    """

    data: DataSpec
    base: Path
    backend: Literal["tensorflow", "jax"]
    hardware: Literal["cpu", "gpu", "tpu"]
    precision: Literal["auto", "float32", "mixed_bfloat16"]
    storage_size: int | None = None
    quality: Quality = "accuracy"
    checkpoint_seconds: float | None = None
    workers: int = 1
    target_devices: int | None = None


class Ready(Value):
    """From a worker: its device is open and its images are loaded.

    Attributes:
        environment: What it trains on.
        data: What it trains with.
        summary: A description of the images, with hints and notes.
    """

    environment: Environment
    data: DataFacts
    summary: tuple[str, ...] = ()


class Train(Value):
    """To a worker: train a trial.

    Attributes:
        trial: Its number.
        recipe: What to train.
        rungs: Epochs at whose end the worker waits for a decision, ascending.
        step_seconds: The bucket's step time; measured first where it is unknown.
        checkpoint: Folder for checkpoints; training resumes from the newest one there.
        all_folds: Whether it is trained on every fold of the images, if they have folds; else on
            the first.
        reference_seconds: Time of the reference kernel in the study, once measured quietly.
        stage_seconds: Likewise of the bucket of each stage before the last one; none known if left
            out.
    """

    trial: int
    recipe: Recipe
    rungs: tuple[int, ...]
    step_seconds: float | None
    checkpoint: Path
    all_folds: bool = False
    reference_seconds: float | None = None
    stage_seconds: tuple[float | None, ...] = ()


class Measure(Value):
    """To a worker: profile the bucket of a recipe.

    Attributes:
        recipe: Any of the bucket. Its pretrained weights are not loaded; they do not affect timing.
    """

    recipe: Recipe


class Measured(Value):
    """From a worker: step time and memory of a bucket on its device.

    Attributes:
        bucket: The bucket.
        step_seconds: Time of one optimizer step, steady state; of a frozen network, one that
            runs its backbone. None where it does not fit.
        build_seconds: Building network and optimizer.
        compile_seconds: Tracing and compilation.
        memory_bytes: Peak memory.
        memory_of: ``device`` where the backend reports the memory of its device; else ``process``,
            the resident memory of the worker, framework and images included.
        flops: Floating-point operations of one image's training step, as XLA counts them before
            compilation; None where they are not counted.
        reason: Why it does not fit; empty where it does.
    """

    bucket: BucketKey
    step_seconds: float | None
    build_seconds: float = 0.0
    compile_seconds: float = 0.0
    memory_bytes: int = 0
    memory_of: Literal["device", "process"] = "process"
    flops: float | None = None
    reason: str = ""


class Remeasure(Value):
    """To an idle worker: measure the step time of a bucket again.

    Attributes:
        recipe: Any of the bucket.
        reference_seconds: As of :class:`Train`.
    """

    recipe: Recipe
    reference_seconds: float | None = None


class Remeasured(Value):
    """From a worker: the step time of a bucket was measured again.

    Attributes:
        bucket: The bucket.
        time: Of one step; None where the bucket does not fit beside others.
        extraction_seconds: One pass of a frozen backbone over the images; 0 for any other.
        reason: Why it does not fit.
    """

    bucket: BucketKey
    time: StepTime | None
    extraction_seconds: float = 0.0
    reason: str = ""


class RangeTest(Value):
    """To an idle worker: train a few hundred steps of a recipe at rising learning rates.

    Attributes:
        recipe: Any of the bucket.
        rates: The learning rate of each step.
    """

    recipe: Recipe
    rates: tuple[float, ...]


class RangeTested(Value):
    """From a worker: the losses of a range test.

    Attributes:
        bucket: The bucket.
        losses: Of the steps, as far as the loss did not diverge; the last one may be NaN.
        seconds: What it took, compilation included.
        reason: Why the bucket does not fit, or cannot be trained; empty where it can.
    """

    bucket: BucketKey
    losses: tuple[Annotated[float, AllowInfNan(True)], ...] = ()
    seconds: float = 0.0
    reason: str = ""


class Heartbeat(Value):
    """From a worker: its work advances.

    Attributes:
        waits: Whether it waits for another process from now on.
    """

    waits: bool


class Waiting(Value):
    """From a worker: it has waited for another process for long.

    Attributes:
        note: What for.
    """

    note: str


class Compiled(Value):
    """From a worker: a bucket of a trial is compiled and timed.

    Attributes:
        trial: The trial that it was compiled for.
        bucket: The bucket.
        step_seconds: Time of one optimizer step, steady state.
        fresh: Whether it was compiled and timed for this trial.
        extraction_seconds: One pass of a frozen backbone over the images; 0 for any other.
        notes: Remarks on its preparation.
        time: The measurement of the step time; None where it was not measured in this process.
    """

    trial: int
    bucket: BucketKey
    step_seconds: float
    fresh: bool
    extraction_seconds: float = 0.0
    notes: tuple[str, ...] = ()
    time: StepTime | None = None


class Noted(Value):
    """From a trainer: remarks.

    Attributes:
        notes: One sentence each.
    """

    notes: tuple[str, ...]


class EpochEnded(Value):
    """From a worker: an epoch has ended.

    Attributes:
        trial: Its number.
        epoch: The epoch.
        times: Where the time went, over all attempts.
        stop_seconds: The longest time that the worker has taken so far from one moment at which it
            can stop to the next, and then to write a checkpoint.
        fold: Of the training, from 0; the trial's own curve is that of the first.
    """

    trial: int
    epoch: Epoch
    times: Times
    stop_seconds: float = 0.0
    fold: int = 0


class RungReached(Value):
    """From a worker that waits for a decision: its trial has reached a rung.

    Attributes:
        trial: Its number.
        rung: Index of the rung.
        epoch: The epoch at whose end it is.
        quality: At that epoch.
        curve: One entry for each epoch trained, over all attempts: the supervisor may have been
            killed before it recorded the last ones.
    """

    trial: int
    rung: int
    epoch: int
    quality: float
    curve: tuple[Epoch, ...] = ()


class Decision(Value):
    """To a worker that waits at a rung: promote the trial, pause it or stop it."""

    trial: int
    answer: RungAnswer


class Stop(Value):
    """To a worker: write a checkpoint of the running trial, confirm it, and train no more."""


class Stopped(Value):
    """From a worker that was asked to stop, whether or not it was training.

    Attributes:
        trial: Whose checkpoint it has written; None where there was nothing to write.
        step: Of that checkpoint.
    """

    trial: int | None = None
    step: int = 0


class Paused(Value):
    """From a worker whose trial was paused at a rung: its checkpoint is written.

    Attributes:
        trial: Its number.
        step: Of that checkpoint.
        times: Where the time went, over all attempts.
        memory_bytes: The worker's resident memory.
    """

    trial: int
    step: int
    times: Times
    memory_bytes: int


class Finished(Value):
    """From a worker: the trial is over.

    Attributes:
        trial: Its number.
        outcome: ``complete``; ``pruned`` after a decision; ``diverged`` when the loss became NaN;
            ``infeasible`` when it did not fit; ``failed`` otherwise.
        scores: Of the selected weights; present once complete.
        standard_errors: Of these scores.
        selected_epoch: Their epoch.
        curve: One entry for each epoch trained, over all attempts.
        times: Where the time went, over all attempts.
        memory_bytes: The worker's resident memory.
        reason: Why it is not complete; empty where it is.
        traces: How often the worker has traced a training step, over the buckets in its cache.
    """

    trial: int
    outcome: Literal["complete", "pruned", "diverged", "infeasible", "failed"]
    scores: Scores | None
    standard_errors: Scores | None = None
    selected_epoch: int | None
    curve: tuple[Epoch, ...]
    times: Times
    memory_bytes: int
    reason: str = ""
    traces: int = 0


class Unavailable(Value):
    """From a worker: its trial cannot go on, as the machine has failed: a disk, file or network.

    Attributes:
        trial: Its number; it is not over, and can be resumed.
        message: What failed.
        hint: What to do about it.
    """

    trial: int
    message: str
    hint: str | None

    @classmethod
    def of(cls, trial: int, error: UnavailableError) -> Self:
        """The message about an error."""
        return cls(trial=trial, message=error.message, hint=error.hint)

    def error(self) -> TuneError:
        """The error that ends the study until the cause is fixed."""
        hint = self.hint or RESUME_HINT
        return UnavailableError(
            f"Trial {self.trial} was interrupted: {self.message}",
            hint=hint if RESUME_HINT in hint else f"{hint}\n{RESUME_HINT}",
        )


class Refused(Value):
    """From a worker that cannot work at all: the attributes of a :class:`TuneError`."""

    message: str
    hint: str | None
    exit_code: int

    @classmethod
    def of(cls, error: TuneError) -> Self:
        """The message about an error."""
        return cls(message=error.message, hint=error.hint, exit_code=error.exit_code)

    def error(self) -> TuneError:
        """The error that the worker ran into."""
        return TuneError(self.message, hint=self.hint, exit_code=self.exit_code)


CheckName = Literal["dispatch", "devices", "precision", "evaluation", "step time", "resume"]


class Check(Value):
    """From the process of a self-test: the result of one check.

    Attributes:
        name: The property that was checked.
        passed: Whether the device has it.
        figure: The measured value, as text.
    """

    name: CheckName
    passed: bool
    figure: str


ToWorker = Prepare | Train | Measure | Remeasure | RangeTest | Decision | Stop
FromWorker = (
    Ready
    | Waiting
    | Compiled
    | EpochEnded
    | RungReached
    | Paused
    | Finished
    | Stopped
    | Measured
    | Remeasured
    | RangeTested
    | Unavailable
    | Refused
)
