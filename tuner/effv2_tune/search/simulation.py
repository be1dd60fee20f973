"""Simulates a search on recorded or computed learning curves, with a simulated clock."""

from __future__ import annotations

import heapq
import itertools
import math
from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from effv2_tune.errors import TuneError
from effv2_tune.pareto import place_rungs, project_seconds
from effv2_tune.pareto.hypervolume import log_seconds
from effv2_tune.search.clock import SimulatedClock
from effv2_tune.search.engines.action_costs import Costs
from effv2_tune.search.events import RungDecided, TrialEnded, TrialStarted
from effv2_tune.search.workload import BucketTime, TrialPlan
from effv2_tune.study.bucket import BucketKey, DataFacts
from effv2_tune.study.plan import HalvingSpec, SearchSpec, StudyPlan
from effv2_tune.study.trial import Environment, Epoch, Scores, Times
from effv2_tune.workers.messages import EpochEnded, Finished, Paused, Ready, RungReached, Stopped

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from effv2_tune.search.engines.base import Engine
    from effv2_tune.search.events import Event
    from effv2_tune.search.rung_decision import RungPolicy
    from effv2_tune.search.storage.in_memory import MemoryStorage
    from effv2_tune.study.plan import Direction
    from effv2_tune.study.recipe import Recipe
    from effv2_tune.study.space import Config, Space
    from effv2_tune.study.trial import RungAnswer, Trial, TrialState
    from effv2_tune.workers.messages import FromWorker
    from effv2_tune.workers.pool import Job, WorkerExited

_NO_HALVING = HalvingSpec(enabled=False)
#: Halving alone, as in Syne Tune's MO-ASHA, without the guard of an optimistic outcome.
_PLAIN_HALVING = HalvingSpec(guard_after=10**9)
STRATEGIES: Mapping[str, SearchSpec] = {
    "default": SearchSpec(),
    "tpe": SearchSpec(engine="tpe", halving=_NO_HALVING),
    "random": SearchSpec(engine="random", halving=_NO_HALVING),
    "nsga2": SearchSpec(engine="nsga2", halving=_NO_HALVING),
    "qmc": SearchSpec(engine="qmc", halving=_NO_HALVING),
    "random+halving": SearchSpec(engine="random", halving=_PLAIN_HALVING),
    "tpe+halving": SearchSpec(engine="tpe", halving=_PLAIN_HALVING),
}

_READY = Ready(
    environment=Environment(
        device_kind="simulated",
        device_count=1,
        backend="tensorflow",
        precision="float32",
        threads=1,
        host="simulated",
        versions={},
    ),
    # The curves are exact, as on very many images.
    data=DataFacts(
        classes=1, image_shape=(1, 1, 1), train=1, validation=10**12, test=1, digest="simulated"
    ),
)


@dataclass(frozen=True)
class SimulatedTrial:
    """The outcome of a config in a simulation.

    Attributes:
        number: From 0, in the order asked for.
        config: Of the trial.
        state: ``complete``, ``pruned``, ``diverged``; ``running`` when the budget ended it.
        start: When a worker began it, in simulated seconds.
        stop: When it ended.
        last_epoch: The last epoch that was trained, as the curve counts; None if none was.
        values: Quality and training seconds of the whole training; None unless complete.
        notes: Remarks of the search, such as ``duplicate of trial 3``.
        rungs: The decisions at its rungs.
    """

    number: int
    config: dict[str, Any]
    state: TrialState
    start: float
    stop: float
    last_epoch: int | None = None
    values: tuple[float, float] | None = None
    notes: tuple[str, ...] = ()
    rungs: tuple[RungDecided, ...] = ()


def simulate(
    space: Space,
    curve: Callable[[Config], Iterable[tuple[int, float, float]]],
    budget_seconds: float,
    *,
    strategy: str = "default",
    workers: int = 1,
    seed: int = 0,
    directions: tuple[Direction, Direction] = ("maximize", "minimize"),
    rungs: Sequence[float] | None = None,
) -> list[SimulatedTrial]:
    """Search ``space`` with the code that a real study runs, on a simulated clock.

    Args:
        space: The search space; parameters may have any names.
        curve: The learning curve of a config: (epoch, quality, cumulative seconds) for each
            epoch, up to the full number of epochs. A NaN quality diverges.
        budget_seconds: Simulated seconds after which the search stops.
        strategy: One of :data:`STRATEGIES`.
        workers: How many train at once.
        seed: Of the search.
        directions: Of quality and of seconds; the latter are always minimized.
        rungs: As fractions of a trial's epochs, below 1; those of the strategy if left out.

    Returns:
        All trials by number.

    Raises:
        TuneError: The strategy or an argument is not valid.
    """
    if strategy not in STRATEGIES:
        raise TuneError(
            f"Unknown strategy {strategy!r}.", hint=f"Use one of: {', '.join(STRATEGIES)}."
        )
    if directions[1] != "minimize":
        raise TuneError("Seconds are always minimized: directions end with 'minimize'.")
    search = STRATEGIES[strategy].model_copy(update={"seed": seed})
    if rungs is not None:
        halving = HalvingSpec(**(search.halving.model_dump() | {"rungs": tuple(rungs)}))
        search = search.model_copy(update={"halving": halving})
    plan = StudyPlan(
        name="simulation",
        search_space=space,
        quality="accuracy" if directions[0] == "maximize" else "loss",
        hours=budget_seconds / 3600,
        workers=workers,
        search=search,
    )
    # The baselines are Optuna's samplers on untransformed values.
    time_scale = log_seconds if strategy == "default" else float
    return run_simulation(plan, curve, time_scale=time_scale)


@dataclass(frozen=True)
class Overhead:
    """What simulated workers take beyond training.

    Attributes:
        restore_seconds: Of continuing a trial in a worker that has not just trained it.
        compile_seconds: Of the first trial of each bucket, in whichever worker.
        bucket: The bucket of a config, by a name.
        seconds: Of the whole trainings of configs, which freeze-thaw asks for many at once; from
            their curves if left out.
    """

    restore_seconds: float = 0.0
    compile_seconds: float = 0.0
    bucket: Callable[[Config], str] = lambda _: ""
    seconds: Callable[[Sequence[Config]], Sequence[float]] | None = None

    def costs(self, curves: Curves, known: Sequence[Trial]) -> Costs:
        """The costs of actions, which are known exactly."""
        compiled = {self.bucket(trial.config) for trial in known if trial.attempts}

        def begin_seconds(configs: Sequence[Config]) -> list[float]:
            is_new = [self.bucket(config) not in compiled for config in configs]
            return [self.compile_seconds if new else 0.0 for new in is_new]

        def seconds(configs: Sequence[Config]) -> Sequence[float]:
            return [curves.of(config)[-1][2] for config in configs]

        return Costs(
            seconds=self.seconds or seconds,
            begin_seconds=begin_seconds,
            continue_seconds=lambda _: self.restore_seconds,
        )


NO_OVERHEAD = Overhead()


def run_simulation(
    plan: StudyPlan,
    curve: Callable[[Config], Iterable[tuple[int, float, float]]],
    *,
    time_scale: Callable[[float], float] = log_seconds,
    overhead: Overhead = NO_OVERHEAD,
) -> list[SimulatedTrial]:
    """Simulate a study with any plan; see :func:`simulate`."""
    from effv2_tune.search.loop import run_study
    from effv2_tune.search.storage.in_memory import MemoryStorage

    clock = SimulatedClock()
    curves = Curves(curve)
    storage = MemoryStorage(plan.name, plan.directions)
    engine, policy = _engine(plan, storage, curves, time_scale, overhead)
    stream = run_study(
        plan,
        engine=engine,
        policy=policy,
        pool=SimulatedPool(curves, plan.worker_count, clock, overhead),
        storage=storage,
        clock=clock,
        workload=CurveWorkload(curves, plan.search.halving),
    )
    return _follow(stream, clock, curves)


def _engine(
    plan: StudyPlan,
    storage: MemoryStorage,
    curves: Curves,
    time_scale: Callable[[float], float],
    overhead: Overhead,
) -> tuple[Engine, RungPolicy | None]:
    """The engine of a plan, and its policy at rungs if that is not halving."""
    from effv2_tune.search.engines.freeze_thaw import FreezeThawEngine
    from effv2_tune.search.engines.optuna import OptunaEngine

    if plan.engine == "freeze_thaw":
        both = FreezeThawEngine(
            storage,
            plan,
            costs=lambda known: overhead.costs(curves, known),
            epochs=lambda trial: len(curves.of(trial.config)),
            enqueue=plan.enqueue,
        )
        return both, both
    sampler = OptunaEngine(
        storage,
        plan.search_space,
        sampler=plan.engine,
        seed=plan.search.seed,
        enqueue=plan.enqueue,
        time_scale=time_scale,
    )
    return sampler, None


class Curves:
    """Learning curves by config, each computed once.

    Args:
        curve: Computes one.
    """

    def __init__(self, curve: Callable[[Config], Iterable[tuple[int, float, float]]]) -> None:
        self._curve = curve
        self._known: dict[str, list[tuple[int, float, float]]] = {}

    def of(self, config: Config) -> list[tuple[int, float, float]]:
        """(epoch, quality, cumulative seconds) of each epoch.

        Raises:
            TuneError: It is empty, or its seconds decrease or stay 0.
        """
        key = repr(sorted(config.items()))
        if key not in self._known:
            points = [(int(e), float(q), float(s)) for e, q, s in self._curve(config)]
            seconds = [0.0, *(point[2] for point in points)]
            if not points or any(a > b for a, b in itertools.pairwise(seconds)):
                raise TuneError(
                    f"The curve of {config} is not valid: it needs at least one epoch, and "
                    "cumulative seconds that never decrease."
                )
            if seconds[-1] <= 0:
                raise TuneError(f"The curve of {config} takes 0 seconds, which no budget limits.")
            self._known[key] = points
        return self._known[key]


class CurveWorkload:
    """Plans the training of configs from their curves.

    Args:
        curves: The curves.
        halving: With the rungs.
    """

    def __init__(self, curves: Curves, halving: HalvingSpec) -> None:
        self._curves = curves
        self._fractions = halving.rungs if halving.enabled else ()

    def plan_trial(self, config: Config) -> TrialPlan:
        """Epochs and rungs of the config."""
        epochs = len(self._curves.of(config))
        return TrialPlan(None, epochs, place_rungs(epochs, self._fractions))

    def bucket(self, plan: TrialPlan, ready: Ready) -> BucketKey | None:  # noqa: ARG002 - a protocol
        """Nothing is compiled."""
        return None

    def seconds(
        self,
        trial: Trial,
        plan: TrialPlan,
        ready: Ready,  # noqa: ARG002 - a protocol
        cost: BucketTime | None,  # noqa: ARG002 - a protocol
    ) -> float:
        """Projected from the seconds so far, without the rest of the curve."""
        return project_seconds(trial.times.train, epoch=len(trial.curve), epochs=plan.epochs)


@dataclass
class _Training:
    trial: int
    points: list[tuple[int, float, float]]
    rungs: tuple[int, ...]
    done: int
    epochs: list[Epoch] = field(default_factory=list)
    #: Before the next epoch.
    overhead_seconds: float = 0.0


class SimulatedPool:
    """Workers that follow learning curves on a simulated clock.

    Args:
        curves: The curves.
        workers: How many train at once.
        clock: Is moved to the next event.
        overhead: What workers take beyond training.
    """

    def __init__(
        self,
        curves: Curves,
        workers: int,
        clock: SimulatedClock,
        overhead: Overhead = NO_OVERHEAD,
    ) -> None:
        self._curves = curves
        self._workers = workers
        self._clock = clock
        self._overhead = overhead
        self._compiled: set[str] = set()
        self._training: dict[int, _Training] = {}
        self._due: list[tuple[float, int, int]] = []
        self._sequence = 0
        self._messages: deque[tuple[int, FromWorker | WorkerExited]] = deque()

    def start(self, *, on_target: bool = False) -> None:  # noqa: ARG002 - a protocol
        """All workers are ready at once."""
        self._messages.extend((worker, _READY) for worker in range(self._workers))

    def assign(self, worker: int, job: Job) -> None:
        """Begin a trial, or resume it after the last epoch of its record."""
        self._training[worker] = _Training(
            job.trial.number,
            self._curves.of(job.trial.config),
            job.rungs,
            len(job.trial.curve),
            list(job.trial.curve),
            self._overhead_seconds(job.trial),
        )
        # Stopped at a rung, perhaps before the decision, it waits again, as a real worker does.
        self._end_epoch(worker)

    def _overhead_seconds(self, trial: Trial) -> float:
        """Of compiling the bucket of a trial, if it is new, and reading its checkpoint."""
        bucket = self._overhead.bucket(trial.config)
        seconds = 0.0 if bucket in self._compiled else self._overhead.compile_seconds
        self._compiled.add(bucket)
        return seconds + (self._overhead.restore_seconds if trial.curve else 0.0)

    def measure_again(
        self, worker: int, recipe: Recipe, *, reference_seconds: float | None
    ) -> None:
        """Curves have no buckets, whose step time could be measured."""
        raise AssertionError(f"no bucket to measure: {worker}, {recipe}, {reference_seconds}")

    def decide(self, worker: int, trial: int, answer: RungAnswer) -> None:
        """Promote, pause or stop the trial of a worker that waits at a rung."""
        if answer == "promote":
            self._go_on(worker)
        elif answer == "stop":
            self._finish(worker, "pruned")
        else:
            training = self._training.pop(worker)
            seconds = training.points[training.done - 1][2]
            times = Times.model_construct(train=seconds)
            paused = Paused(trial=trial, step=training.done, times=times, memory_bytes=0)
            self._messages.append((worker, paused))

    def restart(self, worker: int) -> None:
        """End the trial of a worker."""
        self._training.pop(worker, None)
        self._messages.append((worker, _READY))

    def stop(self, workers: Collection[int] | None = None) -> None:
        """End the trials of workers at once, after their last epoch."""
        asked = list(self._training) if workers is None else workers
        for worker in asked:
            training = self._training.pop(worker, None)
            if training is None:
                continue  # it has just ended, and its message is on the way
            stopped = Stopped(trial=training.trial, step=training.done)
            self._messages.append((worker, stopped))

    def wait(self, timeout_seconds: float) -> Sequence[tuple[int, FromWorker | WorkerExited]]:
        """The next messages; the clock moves to their time."""
        if not self._messages:
            limit = self._clock.seconds + timeout_seconds
            if not self._due or self._due[0][0] > limit:
                if math.isinf(limit):
                    raise AssertionError("no event is due")
                self._clock.seconds = limit
                return ()
            moment, _, worker = heapq.heappop(self._due)
            self._clock.seconds = moment
            self._train_epoch(worker)
        messages = tuple(self._messages)
        self._messages.clear()
        return messages

    def _go_on(self, worker: int) -> None:
        training = self._training[worker]
        before = training.points[training.done - 1][2] if training.done else 0.0
        takes = training.points[training.done][2] - before + training.overhead_seconds
        training.overhead_seconds = 0.0
        self._sequence += 1
        heapq.heappush(self._due, (self._clock.seconds + takes, self._sequence, worker))

    def _train_epoch(self, worker: int) -> None:
        training = self._training.get(worker)
        if training is None:
            return
        _, quality, seconds = training.points[training.done]
        training.done += 1
        if math.isnan(quality):
            self._finish(worker, "diverged")
            return
        epoch = Epoch.model_construct(
            epoch=training.done,
            learning_rate=0.0,
            train_loss=0.0,
            train_accuracy=0.0,
            validation=_scores(quality),
            seconds=0.0,
        )
        training.epochs.append(epoch)
        times = Times.model_construct(train=seconds)
        self._messages.append(
            (worker, EpochEnded.model_construct(trial=training.trial, epoch=epoch, times=times))
        )
        self._end_epoch(worker)

    def _end_epoch(self, worker: int) -> None:
        """End the trial, let it wait at a rung, or train its next epoch."""
        training = self._training[worker]
        if training.done == len(training.points):
            self._finish(worker, "complete")
        elif training.done in training.rungs:
            message = RungReached(
                trial=training.trial,
                rung=training.rungs.index(training.done),
                epoch=training.done,
                quality=training.points[training.done - 1][1],
            )
            self._messages.append((worker, message))
        else:
            self._go_on(worker)

    def _finish(self, worker: int, outcome: Literal["complete", "pruned", "diverged"]) -> None:
        training = self._training.pop(worker)
        _, quality, seconds = training.points[training.done - 1]
        message = Finished.model_construct(
            trial=training.trial,
            outcome=outcome,
            scores=_scores(quality) if outcome == "complete" else None,
            selected_epoch=training.done if outcome == "complete" else None,
            curve=tuple(training.epochs),
            times=Times.model_construct(train=seconds),
            memory_bytes=0,
            reason="the quality became NaN" if outcome == "diverged" else "",
        )
        self._messages.append((worker, message))


def _scores(quality: float) -> Scores:
    return Scores.model_construct(
        accuracy=quality, balanced_accuracy=quality, macro_f1=quality, top5=quality, loss=quality
    )


def _follow(stream: Iterator[Event], clock: SimulatedClock, curves: Curves) -> list[SimulatedTrial]:
    """Record when the trials of a study begin and end."""
    trials: dict[int, SimulatedTrial] = {}
    for event in stream:
        if isinstance(event, TrialStarted):
            trials.setdefault(
                event.trial,
                SimulatedTrial(
                    number=event.trial,
                    config=event.config,
                    state="running",
                    start=clock.seconds,
                    stop=clock.seconds,
                ),
            )
        elif isinstance(event, RungDecided):
            before = trials[event.trial]
            trials[event.trial] = replace(before, rungs=(*before.rungs, event))
        elif isinstance(event, TrialEnded):
            begun = trials.get(event.trial.number)
            trials[event.trial.number] = _simulated(event.trial, begun, clock, curves)
    return [
        replace(trial, stop=clock.seconds) if trial.state == "running" else trial
        for _, trial in sorted(trials.items())
    ]


def _simulated(
    trial: Trial, begun: SimulatedTrial | None, clock: SimulatedClock, curves: Curves
) -> SimulatedTrial:
    measured = trial.measurement
    labels = [point[0] for point in curves.of(trial.config)]
    return SimulatedTrial(
        number=trial.number,
        config=trial.config,
        state=trial.state,
        start=clock.seconds if begun is None else begun.start,
        stop=clock.seconds,
        last_epoch=labels[len(trial.curve) - 1] if trial.curve else None,
        values=None if measured is None else (measured.quality, measured.train_seconds),
        notes=trial.notes,
        rungs=() if begun is None else begun.rungs,
    )
