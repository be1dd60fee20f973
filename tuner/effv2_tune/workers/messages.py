"""What supervisor and worker say to each other."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from effv2_tune.study.base import Value
from effv2_tune.study.bucket import BucketKey, DataFacts
from effv2_tune.study.recipe import DataSpec, Quality, Recipe
from effv2_tune.study.trial import Environment, Epoch, Scores, Times


class Prepare(Value):
    """To a new worker: take your device and load the images.

    Attributes:
        data: Which images.
        base: Folder that relative paths start from.
        backend: The Keras backend, already set in the worker's environment.
        hardware: The kind of device that the worker must find; it never takes another silently.
        precision: As the study says.
        storage_size: Side in pixels at which images of mixed sizes are stored where the data
            section says nothing.
        quality: What the study compares, for hints about the data.
        checkpoint_seconds: Of training between checkpoints; as the trainer likes if left out.
        workers: How many share this machine, or its devices.
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


class Ready(Value):
    """From a worker: these are my device and my images.

    Attributes:
        environment: What it trains on.
        data: What it trains with.
        summary: The images in sentences, with hints and notes.
    """

    environment: Environment
    data: DataFacts
    summary: tuple[str, ...] = ()


class Train(Value):
    """To a worker: train this trial.

    Attributes:
        trial: Its number.
        recipe: What to train.
        rungs: Epochs at whose end the worker waits for a decision, ascending.
        step_seconds: The bucket's step time; measured first where it is unknown.
        checkpoint: Folder for checkpoints; one found there is continued.
    """

    trial: int
    recipe: Recipe
    rungs: tuple[int, ...]
    step_seconds: float | None
    checkpoint: Path


class Measure(Value):
    """To a worker: build and compile the bucket of a recipe, time a few steps, train nothing.

    Attributes:
        recipe: Any of the bucket. Its pretrained weights are not loaded: they change no time.
    """

    recipe: Recipe


class Measured(Value):
    """From a worker: what a bucket takes here.

    Attributes:
        bucket: The bucket.
        step_seconds: Median time of one optimizer step, steady state; of a frozen network, one that
            runs its backbone. None where it does not fit.
        build_seconds: Building network and optimizer.
        compile_seconds: Tracing and compilation.
        memory_bytes: The most that was in use at any moment.
        memory_of: ``device`` where the backend tells of its device's memory; else ``process``, the
            worker's resident memory with the framework and the images in it.
        flops: Floating-point operations of one image's training step as XLA counts them in what
            it is given to compile; None where nothing counts them.
        reason: A sentence where it does not fit.
    """

    bucket: BucketKey
    step_seconds: float | None
    build_seconds: float = 0.0
    compile_seconds: float = 0.0
    memory_bytes: int = 0
    memory_of: Literal["device", "process"] = "process"
    flops: float | None = None
    reason: str = ""


class Compiled(Value):
    """From a worker: the bucket is ready to train, and this is its step time.

    Attributes:
        trial: The trial that it was compiled for.
        bucket: The bucket.
        step_seconds: Median time of one optimizer step, steady state.
        fresh: Whether it was compiled and measured just now.
        extraction_seconds: One pass of a frozen backbone over the images; 0 for any other.
        notes: Sentences about what was done for it.
    """

    trial: int
    bucket: BucketKey
    step_seconds: float
    fresh: bool
    extraction_seconds: float = 0.0
    notes: tuple[str, ...] = ()


class Noted(Value):
    """From a trainer: what else is worth saying.

    Attributes:
        notes: Sentences.
    """

    notes: tuple[str, ...]


class EpochEnded(Value):
    """From a worker: one more epoch is trained."""

    trial: int
    epoch: Epoch
    times: Times


class RungReached(Value):
    """From a worker, which waits: shall this trial go on?"""

    trial: int
    rung: int
    epoch: int
    quality: float


class Decision(Value):
    """To a worker that waits at a rung."""

    trial: int
    go_on: bool


class Finished(Value):
    """From a worker: the trial is over.

    Attributes:
        trial: Its number.
        outcome: ``complete``; ``pruned`` after a decision; ``diverged`` when the loss was no
            number; ``infeasible`` when it did not fit; ``failed`` otherwise.
        scores: Of the selected weights; present once complete.
        selected_epoch: Their epoch.
        curve: One entry for each epoch trained, over all attempts.
        times: Where the time went, over all attempts.
        memory_bytes: The worker's resident memory.
        reason: A sentence unless complete.
        traces: How often the worker has traced a training step, over the buckets that it keeps.
    """

    trial: int
    outcome: Literal["complete", "pruned", "diverged", "infeasible", "failed"]
    scores: Scores | None
    selected_epoch: int | None
    curve: tuple[Epoch, ...]
    times: Times
    memory_bytes: int
    reason: str = ""
    traces: int = 0


class Refused(Value):
    """From a worker that cannot work at all: a mistake for a person to mend.

    Attributes:
        message: What is wrong.
        hint: What to do.
        exit_code: As of :class:`effv2_tune.errors.TuneError`.
    """

    message: str
    hint: str | None
    exit_code: int


CheckName = Literal["dispatch", "devices", "precision", "evaluation", "step time", "resume"]


class Check(Value):
    """From the process of a self-test: what one check came to.

    Attributes:
        name: What was looked at.
        passed: Whether it is as promised.
        figure: What was found, for people.
    """

    name: CheckName
    passed: bool
    figure: str


ToWorker = Prepare | Train | Measure | Decision
FromWorker = Ready | Compiled | EpochEnded | RungReached | Finished | Measured | Refused
