"""Trains on the target placement what other workers cannot: times buckets, and large trials."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from effv2_tune.errors import TuneError
from effv2_tune.search import events
from effv2_tune.search.storage.base import LeaseLostError
from effv2_tune.search.trial_updates import with_state
from effv2_tune.search.workload import BucketTime, TrialPlan
from effv2_tune.workers.accelerators import recognise
from effv2_tune.workers.messages import RungReached, Stopped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from effv2_tune.interruption import StopRequest
    from effv2_tune.search.budget import Budget
    from effv2_tune.search.clock import Clock
    from effv2_tune.search.confirmation.decisions import Confirmation
    from effv2_tune.search.events import Event
    from effv2_tune.search.pausing.paused_trials import PausedTrials
    from effv2_tune.search.placement.target_work import TargetWork
    from effv2_tune.search.running_trial import RunningTrial
    from effv2_tune.search.storage.base import Storage
    from effv2_tune.search.workload import Workload
    from effv2_tune.study.bucket import BucketKey
    from effv2_tune.study.plan import StudyPlan
    from effv2_tune.study.recipe import Recipe
    from effv2_tune.study.trial import Environment, Trial
    from effv2_tune.workers.messages import Finished, FromWorker, Paused, Ready, Remeasured
    from effv2_tune.workers.pool import WorkerExited, WorkerPool

#: The longest time in which workers write checkpoints before others take their devices.
SUSPEND_SECONDS = 600.0


class PlacedLoop(Protocol):
    """The event loop, as far as the change of placements needs it.

    Attributes:
        plan: The study.
        pool: Trains trials.
        storage: Of the study.
        clock: Real or simulated.
        workload: Plans the training of a config.
        budget: Of the search, or of the confirmation.
        stop: Ends the run.
        stop_seconds: The longest time that a worker has taken to stop so far.
        end: Why no further trial begins; None while one may.
        idle: Workers without work.
        running: The trials that this supervisor runs, by number.
        waiting: Numbers of those that wait for an idle worker.
        retries: Failed trials that are tried again.
        measuring: The bucket that a worker measures.
        environments: Of each worker that was ready.
        paused: The paused trials.
        ready: What the workers have reported last.
    """

    plan: StudyPlan
    pool: WorkerPool
    storage: Storage
    clock: Clock
    workload: Workload
    budget: Budget | Confirmation
    stop: StopRequest
    stop_seconds: float
    end: events.StudyEnded | None
    idle: list[int]
    running: dict[int, RunningTrial]
    waiting: list[int]
    retries: list[Trial]
    measuring: dict[int, BucketKey]
    environments: dict[int, Environment]
    paused: PausedTrials
    ready: Ready | None

    def of_phase(self) -> set[int]:
        """Numbers of the trials of the search, or of the confirmation, whichever is running."""

    def assign(self, running: RunningTrial) -> Iterator[Event]:
        """Train a trial in an idle worker."""

    def handle(self, worker: int, message: FromWorker | WorkerExited) -> Iterator[Event]:
        """Handle a message of a worker."""

    def finish(self, running: RunningTrial, trial: Trial) -> Iterator[Event]:
        """Record the outcome of a trial and of its duplicates."""

    def free(
        self, worker: int, message: Finished | Paused, trial: Trial | None = None
    ) -> Iterator[Event]:
        """Reuse a worker for the next trial, or replace it."""

    def drop(self, number: int) -> Iterator[Event]:
        """Stop tracking a trial that another supervisor has taken over."""

    def tick(self) -> Iterator[Event]:
        """Renew the leases from time to time."""


class TargetPlacement:
    """Changes between the workers of the study and the one on the target.

    Args:
        loop: Of the study.
        work: What waits for the target.
        expected: A recipe of each bucket that a new study times on the target before any trial
            begins; None where trials are trained on the target.
    """

    def __init__(
        self,
        loop: PlacedLoop,
        work: TargetWork,
        expected: Callable[[Ready], Iterable[Recipe]] | None,
    ) -> None:
        self._loop = loop
        self._work = work
        self._expected = expected

    @property
    def alternates(self) -> bool:
        """Whether workers on the target and others take turns; on a cluster they run together."""
        return self._loop.plan.cluster is None or self._loop.plan.target is None

    @property
    def waiting_note(self) -> str:
        """What a worker waits for before one on the target was there."""
        return f"waits for a node with {self._device}, on which step times are measured ('target:')"

    @property
    def _device(self) -> str | None:
        target = self._loop.plan.target
        return None if target is None else target.device

    def is_timed(self, environment: Environment) -> bool:
        """Whether step times are measured on the device of a worker."""
        if self.alternates:
            return True
        chip = recognise(environment.device_kind)
        return chip is not None and chip.name == self._device

    def check_precision(self, environment: Environment) -> None:
        """Check that a worker computes in the precision of the others, whatever their devices.

        Raises:
            TuneError: It does not.
        """
        for other in () if self.alternates else self._loop.environments.values():
            if other.precision != environment.precision:
                raise TuneError(
                    f"target: {other.device_kind} computes in {other.precision} and "
                    f"{environment.device_kind} in {environment.precision}: their qualities are "
                    "not comparable.",
                    hint="Write 'precision: float32' into the study's recipe.",
                )

    def may_fit_target(self, trial: Trial) -> bool:
        """Whether a trial that does not fit its worker may fit the target."""
        return trial.device_ratio > 1 or not (self.alternates or trial.is_on_target)

    def start(self, *, is_new: bool) -> None:
        """Start the workers; in a new study first the one that times the buckets."""
        self._work.is_open = self._expected is not None and is_new and self.alternates
        self._loop.pool.start(on_target=self._work.is_open)

    def expect_buckets(self, ready: Ready) -> None:
        """Time the buckets that a new study will probably train, before any trial begins."""
        if self._expected is None or (self.alternates and not self._work.is_open):
            return
        for recipe in self._expected(ready):
            self._expect(recipe)
        self._expected = None

    def first_to_wait_for(self, buckets: Iterable[BucketKey], worker: int) -> BucketKey | None:
        """The first bucket of a trial that cannot be trained on the devices of a worker yet.

        Args:
            buckets: Of its stages.
            worker: An idle one.
        """
        known, here = self._loop.storage.bucket_time, self._loop.environments[worker]
        for bucket in buckets:
            place = (bucket.device_kind, bucket.device_count)
            if place == (here.device_kind, here.device_count):
                continue
            if bucket.digest in self._work.too_large or known(bucket) is None:
                return bucket
        return None

    def defer(self, running: RunningTrial, bucket: BucketKey) -> Iterator[Event]:
        """Let a trial wait for the target; it is infeasible if its bucket does not fit there."""
        loop = self._loop
        recipe, reason = running.plan.recipe, self._work.failure(bucket)
        if reason:
            trial = running.trial.model_copy(update={"bucket": bucket, "recipe": recipe})
            yield from loop.finish(running, with_state(trial, "infeasible", reason))
            return
        try:
            # So that another trial of the same config is its duplicate.
            loop.storage.save(running.trial)
        except LeaseLostError:
            yield from loop.drop(running.number)
            return
        for stage in () if recipe is None else recipe.stage_recipes():
            self._expect(stage)
        self._work.defer(running.number, bucket, loop.clock.now())
        is_large = bucket.digest in self._work.too_large
        yield events.TrialDeferred(trial=running.number, label=bucket.label, is_large=is_large)

    def _expect(self, recipe: Recipe) -> None:
        """Time the bucket of one stage on the target, if it is not timed yet."""
        loop = self._loop
        if loop.ready is None or loop.plan.clock != "measured":
            return
        bucket = loop.workload.bucket(TrialPlan(recipe, recipe.epochs, {}), loop.ready)
        if bucket is not None and loop.storage.bucket_time(bucket) is None:
            self._work.expect(bucket, recipe)

    def leave_to_target(
        self, running: RunningTrial, worker: int, message: Finished
    ) -> Iterator[Event]:
        """Let the target train a trial that does not fit the devices of a worker."""
        bucket = running.trial.bucket
        if bucket is None:
            raise AssertionError("only a trial with a bucket is left to the target")
        self._work.too_large.add(bucket.digest)
        running.stop_attempt(self._loop.clock.now())
        yield from self.defer(running, bucket)
        yield from self._loop.free(worker, message)

    def is_due(self) -> bool:
        """Whether so many trials wait for the target, or for so long, that it is opened."""
        if not self.alternates:
            return self._work.trials >= len(self._loop.environments)
        return self._work.is_due(self._loop.clock.now())

    def work_beside(self) -> Iterator[Event]:
        """On a cluster: let idle workers of the target's kind do what the others cannot.

        They time buckets, so that their trials can be trained anywhere, and train what does not fit
        elsewhere.
        """
        loop, work = self._loop, self._work
        if self.alternates or not (work.trials or work.buckets):
            return
        times = loop.storage.bucket_times()
        loop.waiting += work.take_timed(times)
        for worker in [one for one in loop.idle if self.is_timed(loop.environments[one])]:
            if loop.budget.time_spent() is not None:
                return
            measured = {bucket.digest for bucket in loop.measuring.values()}
            untimed = work.next_untimed(lambda one: one.digest in times, besides=measured)
            if untimed is not None:
                loop.idle.remove(worker)
                self._time(worker, *untimed)
            elif (number := work.take_large()) is not None:
                yield from loop.assign(loop.running[number])

    def work_on_target(self) -> Iterator[Event]:
        """Time buckets, then train trials that fit nowhere else, and return to the others."""
        loop, target = self._loop, self._work
        while loop.idle and loop.budget.time_spent() is None:
            untimed = target.next_untimed(lambda one: loop.storage.bucket_time(one) is not None)
            if untimed is not None:
                self._time(loop.idle.pop(0), *untimed)
                return
            number = target.take_large()
            if number is not None:
                yield from loop.assign(loop.running[number])
                continue
            loop.end = loop.end or loop.budget.spent()
            if self._has_other_work():
                yield from self.change(on_target=False)
            return

    def _time(self, worker: int, bucket: BucketKey, recipe: Recipe) -> None:
        """Time a bucket in a worker on the target."""
        self._loop.measuring[worker] = bucket
        scale = self._loop.storage.reference_seconds()
        self._loop.pool.measure_again(worker, recipe, reference_seconds=scale)

    def time_bucket(self, message: Remeasured) -> Iterator[Event]:
        """Keep the first step time of a bucket, measured on the target."""
        if message.time is None:
            self._work.count_failure(message.bucket, message.reason)
            return
        if message.time.is_quiet:
            self._loop.storage.keep_reference_seconds(message.time.reference_seconds)
        kept = self._loop.storage.keep_bucket_time(message.bucket, BucketTime.of(message))
        yield events.BucketTimed(
            label=kept.label, step_seconds=kept.step_seconds, bucket=message.bucket
        )

    def change(self, *, on_target: bool) -> Iterator[Event]:
        """End all workers, and start the one on the target, or those of the study again."""
        loop, target = self._loop, self._work
        yield from self._suspend_workers()
        if loop.stop.is_due(loop.stop_seconds):
            return
        for worker in range(loop.plan.worker_count + 1):
            loop.budget.hold(worker, 0)
        loop.idle.clear()
        yield events.PlacementChanged(
            on_target=on_target, buckets=target.buckets, trials=target.trials
        )
        if not on_target:
            loop.waiting += target.take_all()
        target.is_open = on_target
        loop.pool.start(on_target=on_target)

    def _has_other_work(self) -> bool:
        """Whether there is work for other workers than that of the target."""
        loop = self._loop
        is_left = loop.running or loop.retries or loop.storage.has_unowned(loop.of_phase())
        return loop.end is None or bool(is_left) or loop.paused.has_promotion()

    def _suspend_workers(self) -> Iterator[Event]:
        """Let the workers write checkpoints of their trials, which wait for another worker."""
        loop = self._loop
        loop.pool.stop()
        deadline = loop.clock.now() + SUSPEND_SECONDS
        while (busy := self._busy()) and loop.clock.now() < deadline:
            if loop.stop.is_due(loop.stop_seconds):
                return
            for worker, message in loop.pool.wait(loop.storage.tick_seconds):
                if isinstance(message, Stopped):
                    self._suspend([one for one in busy if one.worker == worker])
                elif not isinstance(message, RungReached):
                    yield from loop.handle(worker, message)
            yield from loop.tick()
        self._suspend(self._busy())

    def _busy(self) -> list[RunningTrial]:
        return [running for running in self._loop.running.values() if running.worker is not None]

    def _suspend(self, trials: Iterable[RunningTrial]) -> None:
        """Take trials off their workers."""
        for running in trials:
            running.stop_attempt(self._loop.clock.now())
            self._loop.waiting.append(running.number)
