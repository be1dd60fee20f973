"""Defines the record of a trial: config, measurement, learning curve and times."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from effv2_tune.study.base import Value
from effv2_tune.study.bucket import BucketKey
from effv2_tune.study.recipe import Recipe

#: ``running`` until it ends; ``paused`` at a rung, with a checkpoint, until it is promoted or
#: pruned; ``pruned`` at a rung; ``infeasible``: does not fit the memory; ``diverged``: its loss
#: became NaN; ``failed`` for a reason outside the recipe. Results show a running trial that no
#: supervisor holds as ``interrupted``; no record has that state.
TrialState = Literal[
    "running", "paused", "complete", "pruned", "infeasible", "diverged", "failed", "interrupted"
]
#: What happens to a trial at a rung: it is promoted past it; paused there, so that any worker can
#: continue it later; or stopped for good.
RungAnswer = Literal["promote", "pause", "stop"]


#: Relative deviation of a trial's step time from its bucket's above which it is an outlier.
STEP_TIME_TOLERANCE = 0.1
#: Step times do not matter where the steps take less than this share of the training time.
LEAST_STEP_SHARE = 0.1
#: The note of a trial that the search space no longer contains.
OUTSIDE_NOTE = "outside the search space since it was edited"


class Measurement(Value):
    """The two objectives of a study.

    Attributes:
        quality: The study's metric on the validation split (by default accuracy, from 0 to 1), for
            the weights that the recipe selects.
        train_seconds: Seconds that the final training of the recipe takes on this device kind:
            planned steps times the bucket's step time, plus one extraction of
            features where the backbone is frozen, at first or throughout; without compilation,
            evaluation, checkpoints and waiting.
        seconds_low: Lower end of the 90 % interval of these seconds, from that of the step time;
            None where the step time has none. It is set when a study is read.
        seconds_high: Upper end.
    """

    quality: float
    train_seconds: Annotated[float, Field(ge=0)]
    seconds_low: float | None = None
    seconds_high: float | None = None


class Scores(Value):
    """Everything measured on one split; all from 0 to 1 except the loss (mean cross-entropy)."""

    accuracy: float
    balanced_accuracy: float
    macro_f1: float
    top5: float
    loss: float

    def value_of(self, quality: str) -> float:
        """The score of this name."""
        return float(getattr(self, quality))


class Epoch(Value):
    """One line of a learning curve.

    Attributes:
        epoch: From 1.
        learning_rate: At the epoch's last step.
        train_loss: Mean over the epoch, while the weights were changing.
        train_accuracy: Likewise.
        validation: Scores after the epoch; None in a final training that trains on the validation
            images.
        standard_errors: Of these scores; None likewise, and in records of earlier versions.
        seconds: Time of this epoch's training steps.
    """

    epoch: Annotated[int, Field(ge=1)]
    learning_rate: float
    train_loss: float
    train_accuracy: float
    validation: Scores | None
    standard_errors: Scores | None = None
    seconds: float

    @property
    def scores(self) -> Scores:
        """The validation scores of an epoch that has them, as each one of a trial does."""
        if self.validation is None:
            raise ValueError(f"epoch {self.epoch} was not validated")
        return self.validation


class RungResult(Value):
    """The values that are compared at a rung.

    Attributes:
        rung: Index from 0.
        epoch: The epoch at whose end it is.
        quality: On the validation split, at that epoch.
        projected_seconds: The ``train_seconds`` of the whole trial.
    """

    rung: Annotated[int, Field(ge=0)]
    epoch: Annotated[int, Field(ge=1)]
    quality: float
    projected_seconds: float


class Pause(Value):
    """Where and when a trial was paused.

    Attributes:
        rung: Index of the rung that paused it, from 0.
        epoch: The epoch at whose end that rung is.
        step: Of the checkpoint that it continues from.
        since: When it was paused, UTC.
    """

    rung: Annotated[int, Field(ge=0)]
    epoch: Annotated[int, Field(ge=1)]
    step: Annotated[int, Field(ge=0)]
    since: datetime


class Times(Value):
    """How a trial's wall time was spent, in seconds.

    Attributes:
        build: Building network and optimizer; 0 where the bucket was already compiled.
        compile: Tracing and compilation; 0 likewise.
        extract: Computing a frozen backbone's features or reading them from disk; 0 where the
            worker had them.
        measure: Measuring the bucket's step time; 0 where it was known.
        train: Training steps.
        evaluate: Validation passes.
        checkpoint: Writing and reading checkpoints.
        wall: From assignment to end, over all attempts.
        step_median: Median of the trial's own step times; 0 where it was trained on other devices
            than its bucket was timed on, and with several stages.
        step_least: The least of them, which a busy machine bends least; 0 likewise, and where not
            recorded.
        step_work: Median processor time of its steps, over all processors; 0 where they are not the
            device, and as of ``step_median``.
        step_undisturbed: Median of its step times in windows that nothing disturbed; 0 if something
            always did, and where ``step_work`` is 0.
        undisturbed: How many such windows were kept, up to 64.
        step_bucket: The bucket's step time, from which ``train_seconds`` is computed; with several
            stages, the mean over all epochs.
        speed: Of the machine during the trial, relative to the one for which ``step_bucket`` is
            stated, by the reference kernel; 1 where it is not known.
    """

    build: float = 0.0
    compile: float = 0.0
    extract: float = 0.0
    measure: float = 0.0
    train: float = 0.0
    evaluate: float = 0.0
    checkpoint: float = 0.0
    wall: float = 0.0
    step_median: float = 0.0
    step_least: float = 0.0
    step_work: float = 0.0
    step_undisturbed: float = 0.0
    undisturbed: int = 0
    step_bucket: float = 0.0
    speed: float = 1.0

    def without_own_steps(self) -> Times:
        """The same without the trial's own step times, where no bucket's can be compared."""
        own = ("step_median", "step_least", "step_work", "step_undisturbed", "undisturbed")
        return self.model_copy(update=dict.fromkeys(own, 0))

    @property
    def step_excess(self) -> float:
        """Relative deviation of the trial's step time from its bucket's; 0 where unknown."""
        if self.step_bucket <= 0 or self.step_median <= 0:
            return 0.0
        return self.step_median * self.speed / self.step_bucket - 1

    @property
    def is_timing_outlier(self) -> bool:
        """Whether that deviation is large enough to be reported."""
        return abs(self.step_excess) > STEP_TIME_TOLERANCE


class Environment(Value):
    """The hardware and software of a trial.

    Attributes:
        device_kind: The accelerator's name as the backend reports it, or the CPU's.
        device_count: Devices used.
        backend: The Keras backend.
        precision: Of the computation.
        threads: CPU threads of the backend; on a CPU they change the last bits and the step time.
        host: The machine's name.
        versions: Of Python and the packages that results depend on.
        hardware: The kind of device; None in records of earlier versions.
    """

    device_kind: str
    device_count: int
    backend: Literal["tensorflow", "jax"]
    precision: Literal["float32", "mixed_bfloat16"]
    threads: int
    host: str
    versions: dict[str, str]
    hardware: Literal["cpu", "gpu", "tpu"] | None = None


class Trial(Value):
    """One config, trained or in training.

    Attributes:
        number: From 0, in sampling order.
        state: Its state.
        config: One value for each searched parameter.
        recipe: The config with every default.
        bucket: Its compilation group, at the placement where it is timed; with several stages, of
            the last one.
        stage_buckets: Likewise of the stages before.
        measurement: Present once complete.
        scores: On the validation split, of the selected weights; present once complete.
        standard_errors: Of each of these scores, as an estimate for all images; None in records of
            earlier versions.
        selected_epoch: The epoch of those weights.
        rungs: The rungs at which it was compared with others.
        rung_times: When it reached each of them, UTC; empty in records of earlier versions.
        pause: Present while it is paused, and if it was pruned while paused.
        curve: One entry for each epoch trained.
        times: How the time was spent.
        environment: Its hardware and software.
        attempts: How often it was assigned to a worker.
        deaths: Workers that exited during it since it last wrote a newer checkpoint.
        crashes: Those of them that crashed.
        memory_kills: Those that the kernel killed as the host memory ran out.
        death_step: Step of the newest checkpoint that any of these workers wrote.
        retry_of: The failed trial of the same config that it retries.
        replicate_of: The trial whose config it trains again with another seed.
        reason: A message for every state except ``running``, ``paused`` and ``complete``.
        started: When it was sampled, UTC.
        ended: When it ended, UTC.
        notes: Remarks of the search, such as a duplicate or a step-time outlier.
    """

    number: Annotated[int, Field(ge=0)]
    state: TrialState
    config: dict[str, Any]
    recipe: Recipe | None = None
    bucket: BucketKey | None = None
    stage_buckets: tuple[BucketKey, ...] = ()
    measurement: Measurement | None = None
    scores: Scores | None = None
    standard_errors: Scores | None = None
    selected_epoch: int | None = None
    rungs: tuple[RungResult, ...] = ()
    rung_times: tuple[datetime, ...] = ()
    pause: Pause | None = None
    curve: tuple[Epoch, ...] = ()
    times: Times = Times()
    environment: Environment | None = None
    attempts: int = 0
    deaths: int = 0
    crashes: int = 0
    memory_kills: int = 0
    death_step: int = 0
    retry_of: int | None = None
    replicate_of: int | None = None
    reason: str = ""
    started: datetime | None = None
    ended: datetime | None = None
    notes: tuple[str, ...] = ()

    @property
    def buckets(self) -> tuple[BucketKey, ...]:
        """Those of all stages, the last one's last; none where it was not assigned."""
        return () if self.bucket is None else (*self.stage_buckets, self.bucket)

    @property
    def has_ended(self) -> bool:
        """Whether its outcome is final."""
        return self.state not in ("running", "paused", "interrupted")

    @property
    def is_outside(self) -> bool:
        """Whether it is outside of the search space since the space was edited."""
        return any(note.startswith(OUTSIDE_NOTE) for note in self.notes)

    @property
    def is_on_target(self) -> bool:
        """Whether it is trained where its bucket is timed, and not on other devices."""
        if self.bucket is None or self.environment is None:
            return True
        is_same_kind = self.bucket.device_kind == self.environment.device_kind
        return is_same_kind and self.device_ratio == 1

    @property
    def device_ratio(self) -> float:
        """Devices that its bucket is timed on, relative to those that it is trained on."""
        if self.bucket is None or self.environment is None:
            return 1.0
        return self.bucket.device_count / self.environment.device_count
