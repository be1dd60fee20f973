"""The record of a trial: what was trained, what came of it, and what it took."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from effv2_tune.study.base import Value
from effv2_tune.study.bucket import BucketKey
from effv2_tune.study.recipe import Recipe

#: ``running`` until told; ``pruned`` was stopped at a rung; ``infeasible`` does not fit the
#: device; ``diverged`` lost its numbers; ``failed`` broke for a reason outside the recipe.
TrialState = Literal["running", "complete", "pruned", "infeasible", "diverged", "failed"]


#: A trial's own step time may differ from its bucket's by this share without a remark.
STEP_TIME_TOLERANCE = 0.1


class Measurement(Value):
    """The two numbers that a study trades against each other.

    Attributes:
        quality: What the study compares, on the validation split (accuracy from 0 to 1 unless it
            says otherwise), for the weights that the recipe selects.
        train_seconds: Seconds of training that the standard run of the recipe takes on this
            device kind: planned steps times the bucket's step time, plus one extraction of
            features where the backbone is frozen; without compilation, evaluation, checkpoints
            and queueing.
    """

    quality: float
    train_seconds: Annotated[float, Field(ge=0)]


class Scores(Value):
    """Everything measured on one split; all from 0 to 1 save the loss (mean cross-entropy)."""

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
        validation: Scores after the epoch.
        seconds: Time of this epoch's training steps.
    """

    epoch: Annotated[int, Field(ge=1)]
    learning_rate: float
    train_loss: float
    train_accuracy: float
    validation: Scores
    seconds: float


class RungResult(Value):
    """What halving compares.

    Attributes:
        rung: Index from 0.
        epoch: The epoch at whose end it lies.
        quality: On the validation split, at that epoch.
        projected_seconds: ``train_seconds`` that the whole run will have.
    """

    rung: Annotated[int, Field(ge=0)]
    epoch: Annotated[int, Field(ge=1)]
    quality: float
    projected_seconds: float


class Times(Value):
    """Where a trial's wall time went, in seconds.

    Attributes:
        build: Building network and optimizer; 0 where the bucket was already compiled.
        compile: Tracing and compilation; 0 likewise.
        extract: Having a frozen backbone's features, from the backbone or from disk; 0 where the
            worker had them.
        measure: Measuring the bucket's step time; 0 where it was known.
        train: Training steps.
        evaluate: Validation passes.
        checkpoint: Writing and reading checkpoints.
        wall: From assignment to end, over all attempts.
        step_median: Median of the trial's own step times.
        step_bucket: The bucket's step time, from which ``train_seconds`` is computed.
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
    step_bucket: float = 0.0

    @property
    def step_excess(self) -> float:
        """By which share the trial's own steps took longer than its bucket's; 0 where unknown."""
        if self.step_bucket <= 0 or self.step_median <= 0:
            return 0.0
        return self.step_median / self.step_bucket - 1

    @property
    def is_timing_outlier(self) -> bool:
        """Whether its steps took so much longer or shorter that it is said."""
        return abs(self.step_excess) > STEP_TIME_TOLERANCE


class Environment(Value):
    """What a trial ran on and with.

    Attributes:
        device_kind: The accelerator's name as the backend reports it, or the CPU's.
        device_count: Devices used.
        backend: The Keras backend.
        precision: Of the computation.
        threads: CPU threads that the backend computes with; on a CPU they change the last bits,
            and the time of a step.
        host: The machine's name.
        versions: Of Python and the packages that numbers depend on.
        hardware: The kind of device; None in records from before it was written down.
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
        number: From 0, in the order asked for.
        state: What became of it.
        config: One value for each searched parameter.
        recipe: The config with every default.
        bucket: What it shared a compilation with.
        measurement: Present once complete.
        scores: On the validation split, of the selected weights; present once complete.
        selected_epoch: The epoch of those weights.
        rungs: Where it was compared with others.
        curve: One entry for each epoch trained.
        times: Where the time went.
        environment: What it ran on.
        attempts: How often it was handed to a worker.
        deaths: Workers that it has killed since a checkpoint of it was last newer than all before.
        death_step: Step of the newest checkpoint that any of its dead workers left.
        reason: A sentence for every state but ``running`` and ``complete``.
        started: When it was asked for, UTC.
        ended: When it was told, UTC.
        notes: Remarks of the search: duplicate of another trial, time that strays, and the like.
    """

    number: Annotated[int, Field(ge=0)]
    state: TrialState
    config: dict[str, Any]
    recipe: Recipe | None = None
    bucket: BucketKey | None = None
    measurement: Measurement | None = None
    scores: Scores | None = None
    selected_epoch: int | None = None
    rungs: tuple[RungResult, ...] = ()
    curve: tuple[Epoch, ...] = ()
    times: Times = Times()
    environment: Environment | None = None
    attempts: int = 0
    deaths: int = 0
    death_step: int = 0
    reason: str = ""
    started: datetime | None = None
    ended: datetime | None = None
    notes: tuple[str, ...] = ()
