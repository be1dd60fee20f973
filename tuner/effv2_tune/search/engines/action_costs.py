"""Computes what actions take: the training of a config, compiling its bucket, restoring a trial."""

from __future__ import annotations

import functools
import math
import operator
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from effv2_tune import catalog
from effv2_tune.errors import TuneError
from effv2_tune.pareto import training_seconds
from effv2_tune.search.storage.records import without_replicates
from effv2_tune.search.workload import bucket_of
from effv2_tune.study.batches import planned_steps
from effv2_tune.workers.messages import Ready

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from effv2_tune.search.storage.base import Storage
    from effv2_tune.search.workload import BucketTime
    from effv2_tune.study.bucket import BucketKey, DataFacts
    from effv2_tune.study.plan import StudyPlan
    from effv2_tune.study.space import Config
    from effv2_tune.study.trial import Environment, Trial

#: Of a config that is no recipe: no front has room for it.
_NEVER = 1e12


def _no_seconds(configs: Sequence[Config]) -> Sequence[float]:
    return [0.0 for _ in configs]


class Costs(NamedTuple):
    """What actions take at one moment of a study, all in training seconds.

    Attributes:
        seconds: Of the whole trainings of configs.
        begin_seconds: Beyond training, of new trials of configs: compiling their buckets.
        continue_seconds: Beyond training, of a paused trial: reading its checkpoint.
        is_absolute: Whether these are seconds; before the first step time they are only in
            proportion to each other.
        ignores_reals: Whether they are equal for configs that differ in real numbers alone, except
            in whether one is 0 or 1.
    """

    seconds: Callable[[Sequence[Config]], Sequence[float]]
    begin_seconds: Callable[[Sequence[Config]], Sequence[float]] = _no_seconds
    continue_seconds: Callable[[Trial], float] = lambda _: 0.0
    is_absolute: bool = True
    ignores_reals: bool = False


class StudyCosts:
    """What actions of a study take, from its step times and records.

    * *Training*: planned steps times the step time of the bucket, or the mean over the stages. A
      bucket without one has one in proportion to the multiplications of a step, as those with step
      times do on average.
    * *Compiling*: of each bucket that no trial was trained in yet, the median that trials have
      needed to build, compile and time theirs; 0 before the first one.
    * *Restoring*: the median that a trial has needed for a checkpoint.

    The latter two are wall time. They are divided by how many times more devices the target has
    than a worker, and are 0 under a recorded clock, whose studies are reproducible.

    Args:
        plan: The study.
        storage: With the step times.
    """

    def __init__(self, plan: StudyPlan, storage: Storage) -> None:
        self._plan = plan
        self._storage = storage
        self._data: DataFacts | None = None
        self._works: dict[str, _Work | None] = {}
        #: Of each trial its record, and its buckets by their digests.
        self._read: dict[int, tuple[Trial, dict[str, BucketKey]]] = {}

    def given(self, known: Sequence[Trial]) -> Costs:
        """The costs that follow from all trials of the study; it reads the step times once."""
        self._data = self._data or self._storage.data_facts()
        place = _first_place(known)
        if place is None or self._data is None:
            return Costs(lambda configs: [1.0 for _ in configs], is_absolute=False)
        ready = Ready(environment=place.environment, data=self._data)
        times = self._storage.bucket_times()
        trained = self._trained(known)
        rate = _seconds_per_operation(trained, times)
        each = _Overhead.given(known, place.ratio) if self._plan.clock == "measured" else _FREE

        def seconds(configs: Sequence[Config]) -> Sequence[float]:
            works = [self._work(config, ready) for config in configs]
            return [_NEVER if one is None else one.seconds(times, rate) for one in works]

        def begin_seconds(configs: Sequence[Config]) -> Sequence[float]:
            works = [self._work(config, ready) for config in configs]
            new = [() if one is None else one.digests - trained.keys() for one in works]
            return [each.compile * len(digests) for digests in new]

        return Costs(
            seconds,
            begin_seconds,
            lambda _: each.restore,
            is_absolute=rate is not None,
            ignores_reals=True,
        )

    def _trained(self, known: Sequence[Trial]) -> dict[str, BucketKey]:
        """The buckets that trials were trained in, by their digests."""
        trained: dict[str, BucketKey] = {}
        for trial in known:
            before = self._read.get(trial.number)
            if before is None or before[0] is not trial:
                before = (trial, {bucket.digest: bucket for bucket in trial.buckets})
                self._read[trial.number] = before
            trained |= before[1]
        return trained

    def _work(self, config: Config, ready: Ready) -> _Work | None:
        """What a config trains; None where it is no recipe."""
        # A real hyperparameter is an input of the compiled step; at 0 or 1 it may be switched off.
        key = repr(
            [
                (name, "real" if isinstance(value, float) and value not in (0.0, 1.0) else value)
                for name, value in config.items()
            ]
        )
        if key not in self._works:
            self._works[key] = self._new_work(config, ready)
        return self._works[key]

    def _new_work(self, config: Config, ready: Ready) -> _Work | None:
        devices = self._plan.target_devices or ready.environment.device_count
        try:
            recipe = self._plan.recipe_for(config)
            steps = planned_steps(recipe, ready.data, devices)
        except (ValueError, TuneError):
            return None
        buckets = [bucket_of(one, ready, devices) for one in recipe.stage_recipes()]
        stages = [
            _Stage(bucket.digest, epochs, _operations(bucket))
            for bucket, epochs in zip(buckets, recipe.stage_epochs, strict=True)
        ]
        return _Work(tuple(stages), steps)


class _Stage(NamedTuple):
    """A stage of a training: its bucket, its epochs, and the multiplications in a step."""

    digest: str
    epochs: int
    operations: float


@dataclass(frozen=True)
class _Work:
    """What a config trains: its stages, and how many steps."""

    stages: tuple[_Stage, ...]
    steps: int

    @property
    def digests(self) -> set[str]:
        """Of its buckets."""
        return {one.digest for one in self.stages}

    def seconds(self, times: Mapping[str, BucketTime], rate: float | None) -> float:
        """Training seconds: with the step times of the buckets, or else ``rate`` per operation."""
        guess = 1.0 if rate is None else rate
        known = [times.get(one.digest) for one in self.stages]
        each = [
            guess * stage.operations if time is None else time.step_seconds
            for stage, time in zip(self.stages, known, strict=True)
        ]
        epochs = [one.epochs for one in self.stages]
        extraction = sum(time.extraction_seconds for time in known if time is not None)
        step_seconds = math.fsum(map(operator.mul, epochs, each)) / sum(epochs)
        return training_seconds(self.steps, step_seconds, extraction_seconds=extraction)


class _Overhead(NamedTuple):
    """Training seconds that compiling a bucket and restoring a trial are worth."""

    compile: float
    restore: float

    @classmethod
    def given(cls, known: Sequence[Trial], ratio: float) -> _Overhead:
        """As recorded so far, where the target has ``ratio`` times the devices of a worker."""
        times = [trial.times for trial in known]
        compiled = [t.build + t.compile + t.measure for t in times if t.compile > 0]
        # A trial has read one at the beginning of each attempt but the first, and written one at
        # each rung and the end. In a long epoch it writes further ones: so this is an upper bound.
        restored = [
            trial.times.checkpoint / (len(trial.rungs) + trial.attempts)
            for trial in known
            if trial.times.checkpoint > 0
        ]
        return cls(_estimate(compiled, ratio), _estimate(restored, ratio))


_FREE = _Overhead(0.0, 0.0)


def _estimate(seconds: Sequence[float], ratio: float) -> float:
    """The median, divided by ``ratio``; 0 of none.

    Rounded to one digit: it is rough, and where it stays as it is, the decision at a rung and that
    about the free worker right after it are one.
    """
    return float(f"{statistics.median(seconds) / ratio:.1g}") if seconds else 0.0


class _Place(NamedTuple):
    """Where the trials of a study are trained, and how many times more devices the target has."""

    environment: Environment
    ratio: float


def _first_place(known: Sequence[Trial]) -> _Place | None:
    """That of the first trial; None before it has begun."""
    for trial in without_replicates(known):
        if trial.bucket is not None and trial.environment is not None:
            where = {"device_kind": trial.bucket.device_kind}
            return _Place(trial.environment.model_copy(update=where), trial.device_ratio)
    return None


@functools.cache
def _operations(bucket: BucketKey) -> float:
    """Multiplications of a forward pass over a batch."""
    variant = catalog.find_variant(bucket.variant)
    return float(bucket.batch * catalog.count_macs(variant, bucket.resolution, bucket.classes))


def _seconds_per_operation(
    trained: Mapping[str, BucketKey], times: Mapping[str, BucketTime]
) -> float | None:
    """The geometric mean over the buckets with a step time; None where none has one."""
    logs = [
        math.log(times[digest].step_seconds / _operations(bucket))
        for digest, bucket in sorted(trained.items())
        if digest in times and times[digest].step_seconds > 0
    ]
    return math.exp(sum(logs) / len(logs)) if logs else None
