"""The event loop: asks, assigns, compares, tells, until the budget is spent."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from effv2_tune.errors import TuneError
from effv2_tune.search import events
from effv2_tune.search.budget import Budget
from effv2_tune.search.duplicates import Duplicates
from effv2_tune.search.engines.base import Exhausted
from effv2_tune.search.rung_decision import decide_at_rung
from effv2_tune.search.storage.database import BudgetSpentError
from effv2_tune.search.storage.leases import LeaseLostError
from effv2_tune.search.storage.recorded_times import no_time_of
from effv2_tune.search.storage.records import duplicate_note
from effv2_tune.search.trial_updates import answered, ended, measured, timed
from effv2_tune.search.workload import BucketTime, TrialPlan
from effv2_tune.study.trial import RungResult, Trial
from effv2_tune.workers import MAX_WORKER_DEATHS
from effv2_tune.workers.local import Job, WorkerExited
from effv2_tune.workers.messages import (
    Compiled,
    EpochEnded,
    Finished,
    Measured,
    Ready,
    Refused,
    RungReached,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from pathlib import Path

    from effv2_tune.search.clock import Clock
    from effv2_tune.search.engines.base import Engine
    from effv2_tune.search.events import Event
    from effv2_tune.search.storage.database import Storage
    from effv2_tune.search.workload import Workload
    from effv2_tune.study.plan import StudyPlan
    from effv2_tune.workers.local import WorkerPool
    from effv2_tune.workers.messages import FromWorker

#: A worker that is above its limit from its first trial on is replaced only once it has this much
#: more memory than after that trial: another one would be as large.
_GROWTH = 1.2
#: Configs asked for in a row that were all known: there is nothing new to find.
MAX_DUPLICATES = 100
#: A running trial's record is written at most so often, apart from rungs.
SAVE_SECONDS = 5.0


def run_study(
    plan: StudyPlan,
    *,
    engine: Engine,
    pool: WorkerPool,
    storage: Storage,
    clock: Clock,
    workload: Workload,
    memory_limit: int | None = None,
    set_aside: Callable[[int], Path | None] = lambda _: None,
) -> Generator[Event]:
    """Yield what happens, in order, until the budget of ``plan`` is spent.

    However the iteration ends, running trials stay running in the storage with their leases given
    back, so that the next call continues them. The pool is started when there is work for it, and
    left to the caller to close.

    Args:
        plan: The study.
        engine: Finds the next config.
        pool: Trains.
        storage: Holds what has come of it.
        clock: Tells the time.
        workload: Knows what training a config takes.
        memory_limit: Bytes of resident memory above which a worker is replaced after its trial;
            None for any number.
        set_aside: Moves what lies in the folder of a trial's checkpoints out of the way, and
            returns where it is then; None where nothing lies there.

    Raises:
        TuneError: A worker refuses to work, or works on another device or other images than before.
    """
    loop = _Loop(plan, engine, pool, storage, clock, workload, memory_limit, set_aside)
    try:
        yield from loop.run()
    finally:
        loop.leave()


#: Of a trial whose recipe has not been made yet.
NOT_BEGUN = TrialPlan(None, 0, {})


@dataclass
class _Running:
    """A trial in hand."""

    trial: Trial
    outline: TrialPlan
    worker: int | None = None
    cost: BucketTime | None = None
    assigned_at: float = 0.0
    wall_before: float = 0.0
    saved_at: float = -math.inf
    stopping: RungResult | None = None


@dataclass
class _Loop:
    plan: StudyPlan
    engine: Engine
    pool: WorkerPool
    storage: Storage
    clock: Clock
    workload: Workload
    memory_limit: int | None
    set_aside: Callable[[int], Path | None]
    ready: Ready | None = None
    first_bytes: dict[int, int] = field(default_factory=dict)
    idle: list[int] = field(default_factory=list)
    running: dict[int, _Running] = field(default_factory=dict)
    waiting: list[int] = field(default_factory=list)
    twins: Duplicates = field(default_factory=Duplicates)
    duplicates: int = 0
    end: events.StudyEnded | None = None
    ticked_at: float = -math.inf

    def __post_init__(self) -> None:
        self.budget = Budget(self.plan, self.storage, self.clock)

    def run(self) -> Iterator[Event]:
        """The loop itself."""
        known = self.storage.trials()
        unfinished = sum(trial.state == "running" for trial in known)
        yield events.StudyStarted(
            study=self.plan.name, known=len(known) - unfinished, unfinished=unfinished
        )
        self.end = self.budget.spent()
        if self._goes_on():
            self.storage.keep_end(None)
            self.pool.start()
            while self._goes_on():
                for worker, message in self.pool.wait(self._patience()):
                    yield from self._handle(worker, message)
                yield from self._tick()
                yield from self._fill()
        if self.end is None:
            raise AssertionError("the loop ended without a reason")
        self.storage.keep_end(self.end)
        yield self.end

    def leave(self) -> None:
        """Give back what is in hand."""
        self.budget.keep()
        for held in self.running.values():
            with contextlib.suppress(LeaseLostError):
                self.storage.save(self._with_wall_time(held))
        self.storage.release_all()

    # What to do next.

    def _goes_on(self) -> bool:
        """Whether there is something to train, or to wait for."""
        # All other limits are looked at before a trial is begun.
        self.end = self.budget.time_spent() or self.end
        if self.end is None:
            return True
        if self.end.kind in ("hours", "accelerator_hours"):
            return False
        return bool(self.running) or self.storage.has_left_behind()

    def _patience(self) -> float:
        return min(self.storage.tick_seconds, self.budget.seconds_left())

    def _fill(self) -> Iterator[Event]:
        """Give idle workers something to do."""
        while self.idle and self.budget.time_spent() is None:
            if not self.waiting:
                yield from self._claim()
            if self.waiting:
                held = self.running[self.waiting.pop(0)]
                if held.trial.attempts:
                    yield from self._assign(held)
                else:
                    yield from self._begin(held)
                continue
            self.end = self.end or self.budget.spent()
            if self.end is not None:
                break
            yield from self._ask()

    def _claim(self) -> Iterator[Event]:
        """Take over a trial that nobody works on."""
        number = self.storage.claim()
        if number is None:
            return
        trial = {one.number: one for one in self.storage.trials()}.get(number)
        if trial is None or not trial.config:
            trial = self._new_trial(number, self.engine.resume(number))
        if trial.state != "running":
            # The supervisor before was killed between the record and Optuna's state.
            self.storage.finish(trial)
            yield events.TrialEnded(trial=trial)
            return
        self._queue(trial)

    def _queue(self, trial: Trial) -> None:
        """Let a trial wait for an idle worker."""
        begun = trial.attempts > 0
        outline = self.workload.outline(trial.config) if begun else NOT_BEGUN
        self.running[trial.number] = _Running(trial, outline)
        self.waiting.append(trial.number)

    def _ask(self) -> Iterator[Event]:
        """Ask for one more config."""
        try:
            asked = self.engine.ask()
        except BudgetSpentError:
            self.end = self.budget.trials_spent()
            return
        except Exhausted:
            self.end = events.StudyEnded(kind="exhausted", reason="Every config has been tried.")
            return
        held = _Running(self._new_trial(asked.number, asked.config), NOT_BEGUN)
        self.running[asked.number] = held
        yield from self._begin(held)

    def _begin(self, held: _Running) -> Iterator[Event]:
        """Train a new trial, unless the record of another one answers it."""
        trial = held.trial
        twin = self.twins.find(trial, self.storage.trials(), self.running)
        if twin is not None:
            yield from self._duplicate(trial, twin)
            return
        self.duplicates = 0
        held.trial = trial.model_copy(update={"notes": ()})
        try:
            held.outline = self.workload.outline(trial.config)
        except (ValueError, TuneError) as error:
            yield from self._tell(held, ended(trial, "infeasible", _one_line(error)))
            return
        reason = self._lacks_a_recorded_time(held)
        if reason:
            yield from self._tell(held, ended(trial, "infeasible", reason))
            return
        # A trial that was never trained has no checkpoints: these are of another study, whose
        # database is gone.
        kept_as = self.set_aside(trial.number)
        if kept_as is not None:
            yield events.CheckpointsSetAside(trial=trial.number, kept_as=str(kept_as))
        yield from self._assign(held)

    def _lacks_a_recorded_time(self, held: _Running) -> str:
        """Why the training time of a trial cannot be told; empty where it can."""
        if self.plan.clock == "measured" or self.ready is None:
            return ""
        bucket = self.workload.bucket(held.outline, self.ready)
        if bucket is None or self.storage.bucket_time(bucket) is not None:
            return ""
        return no_time_of(bucket, self.plan.clock)

    def _duplicate(self, trial: Trial, twin: Trial) -> Iterator[Event]:
        """Answer a trial from the record of its twin, or let it wait for that."""
        del self.running[trial.number]
        trial = trial.model_copy(update={"notes": (duplicate_note(twin.number),)})
        self.duplicates += 1
        if self.duplicates >= MAX_DUPLICATES:
            self.end = events.StudyEnded(
                kind="exhausted",
                reason=f"The engine asked for {MAX_DUPLICATES} known configs in a row.",
            )
        if twin.state != "running":
            yield from self._answer(trial, twin)
            return
        try:
            self.storage.save(trial)
        except LeaseLostError:
            yield events.LeaseLost(trial=trial.number)
            return
        self.twins.park(trial, twin)

    def _answer(self, trial: Trial, twin: Trial) -> Iterator[Event]:
        """Tell a duplicate what its twin came to."""
        told = answered(trial, twin, self.clock.utc())
        try:
            self.storage.finish(told)
        except LeaseLostError:
            yield events.LeaseLost(trial=trial.number)
            return
        self.engine.tell(told)
        yield events.TrialEnded(trial=told)

    def _assign(self, held: _Running) -> Iterator[Event]:
        """Hand a trial to an idle worker."""
        if self.ready is None:
            raise AssertionError("an idle worker has said what it works on")
        worker = self.idle.pop(0)
        trial = held.trial
        bucket = self.workload.bucket(held.outline, self.ready)
        held.worker, held.assigned_at = worker, self.clock.now()
        held.wall_before = trial.times.wall
        held.stopping = None
        held.cost = None if bucket is None else self.storage.bucket_time(bucket)
        held.trial = trial.model_copy(
            update={
                "attempts": trial.attempts + 1,
                "recipe": held.outline.recipe,
                "bucket": bucket,
                "environment": self.ready.environment,
            }
        )
        try:
            self.storage.save(held.trial)
        except LeaseLostError:
            self.idle.append(worker)
            yield from self._lose(trial.number)
            return
        step_seconds = None if held.cost is None else held.cost.step_seconds
        epochs = held.outline.epochs
        rungs = tuple(held.outline.rungs.values())
        self.pool.assign(worker, Job(held.trial, epochs, rungs, step_seconds))
        yield events.TrialStarted(
            trial=trial.number,
            worker=worker,
            config=trial.config,
            epochs=epochs,
            attempt=held.trial.attempts,
            resumed_after=len(trial.curve),
        )

    # What workers say.

    def _handle(self, worker: int, message: FromWorker | WorkerExited) -> Iterator[Event]:
        if isinstance(message, Ready):
            self.storage.bind(message)
            self.ready = message
            self.budget.hold(worker, message.environment.device_count)
            self.first_bytes.pop(worker, None)
            self.idle.append(worker)
            yield events.WorkerReady(
                worker=worker,
                environment=message.environment,
                data=message.data,
                summary=message.summary,
            )
            return
        if isinstance(message, Refused):
            raise TuneError(message.message, hint=message.hint, exit_code=message.exit_code)
        if isinstance(message, Measured):
            raise TypeError("a study has its workers train, not measure")
        if isinstance(message, WorkerExited):
            yield from self._handle_death(worker, message)
            return
        held = self.running.get(message.trial)
        if held is None or held.worker != worker:
            # A trial that was lost to another supervisor: its worker learns of it at the next rung.
            if isinstance(message, RungReached):
                self.pool.decide(worker, message.trial, go_on=False)
            elif isinstance(message, Finished):
                yield from self._free(worker, message)
            return
        try:
            yield from self._hear(held, worker, message)
        except LeaseLostError:
            yield from self._lose(message.trial)
            if isinstance(message, Finished):
                yield from self._free(worker, message)
            else:
                self.pool.restart(worker)

    def _hear(
        self,
        held: _Running,
        worker: int,
        message: Compiled | EpochEnded | RungReached | Finished,
    ) -> Iterator[Event]:
        if isinstance(message, Compiled):
            yield self._compiled(held, message)
        elif isinstance(message, EpochEnded):
            yield self._advance(held, message)
        elif isinstance(message, RungReached):
            yield self._compare(held, worker, message)
        else:
            yield from self._finish(held, worker, message)

    def _compiled(self, held: _Running, message: Compiled) -> Event:
        measured = BucketTime(
            label=message.bucket.label,
            step_seconds=message.step_seconds,
            extraction_seconds=message.extraction_seconds,
        )
        if held.trial.bucket is not None:
            held.cost = self.storage.keep_bucket_time(held.trial.bucket, measured)
        held.trial = held.trial.model_copy(update={"bucket": message.bucket})
        return events.BucketCompiled(
            trial=message.trial,
            label=measured.label,
            step_seconds=measured.step_seconds if held.cost is None else held.cost.step_seconds,
            fresh=message.fresh,
            bucket=message.bucket,
            notes=message.notes,
        )

    def _advance(self, held: _Running, message: EpochEnded) -> Event:
        # A continued trial may repeat epochs that came after its last checkpoint.
        before = tuple(e for e in held.trial.curve if e.epoch < message.epoch.epoch)
        held.trial = held.trial.model_copy(
            update={"curve": (*before, message.epoch), "times": message.times}
        )
        if self.clock.now() - held.saved_at >= SAVE_SECONDS:
            self.storage.save(self._with_wall_time(held))
            held.saved_at = self.clock.now()
        return events.EpochTrained(
            trial=message.trial, epoch=message.epoch, epochs=held.outline.epochs
        )

    def _compare(self, held: _Running, worker: int, message: RungReached) -> Event:
        """Decide at a rung."""
        by_epoch = {epoch: rung for rung, epoch in held.outline.rungs.items()}
        mine = RungResult(
            rung=by_epoch[message.epoch],
            epoch=message.epoch,
            quality=message.quality,
            projected_seconds=self._seconds(held),
        )
        decision = decide_at_rung(
            held.trial,
            mine,
            self.storage.trials(),
            spec=self.plan.search.halving,
            quality_direction=self.plan.directions[0],
        )
        if decision.go_on:
            earlier = tuple(r for r in held.trial.rungs if r.rung < mine.rung)
            held.trial = held.trial.model_copy(update={"rungs": (*earlier, mine)})
            self.storage.save(self._with_wall_time(held))
            held.saved_at = self.clock.now()
        else:
            held.stopping = mine
        self.pool.decide(worker, message.trial, go_on=decision.go_on)
        outlook = decision.optimistic
        return events.RungDecided(
            trial=message.trial,
            rung=mine.rung,
            epoch=mine.epoch,
            quality=mine.quality,
            projected_seconds=mine.projected_seconds,
            go_on=decision.go_on,
            better=decision.better,
            seen=decision.seen,
            guarded=decision.guarded,
            optimistic_quality=None if outlook is None else outlook.quality,
        )

    def _finish(self, held: _Running, worker: int, message: Finished) -> Iterator[Event]:
        if message.outcome == "complete" and self._lacks_a_time(held):
            yield from self._train_anew(held, worker)
            return
        heard = {"curve": message.curve, "times": message.times}
        held.trial = trial = timed(held.trial.model_copy(update=heard), held.cost)
        reason = message.reason
        if message.outcome == "complete":
            if message.scores is None:
                raise AssertionError("a complete trial has scores")
            trial = measured(
                trial,
                message.scores,
                message.selected_epoch,
                quality=self.plan.quality,
                seconds=self._seconds(held),
            )
        elif message.outcome == "pruned" and held.stopping is not None:
            rung = held.stopping
            trial = trial.model_copy(update={"rungs": (*trial.rungs, rung)})
            reason = f"stopped after epoch {rung.epoch}: too many trials ranked better there"
        yield from self._tell(held, ended(trial, message.outcome, reason))
        yield from self._free(worker, message)

    def _free(self, worker: int, message: Finished) -> Iterator[Event]:
        """A worker has nothing to do: it waits for the next trial, or has grown too large."""
        size = message.memory_bytes
        first = self.first_bytes.setdefault(worker, size)
        if self.memory_limit is None or size <= max(self.memory_limit, _GROWTH * first):
            self.idle.append(worker)
            return
        self.pool.restart(worker)
        yield events.WorkerReplaced(worker=worker, memory_bytes=size)

    def _lacks_a_time(self, held: _Running) -> bool:
        """Whether a trial was complete before this database knew what its bucket costs."""
        return held.trial.bucket is not None and held.cost is None

    def _train_anew(self, held: _Running, worker: int) -> Iterator[Event]:
        """Let a trial wait for its next attempt, which finds no checkpoint.

        An older copy of the database was put in its place: what its folder holds came later.
        """
        number = held.trial.number
        kept_as = self.set_aside(number)
        if kept_as is None:
            raise AssertionError("a worker that trains says first what the bucket costs")
        held.trial = self._with_wall_time(held)
        held.worker = None
        self.idle.append(worker)
        self.waiting.append(number)
        yield events.CheckpointsSetAside(trial=number, kept_as=str(kept_as))

    def _tell(self, held: _Running, trial: Trial) -> Iterator[Event]:
        """Tell what became of a trial, and answer those that waited for it."""
        held.trial = trial
        trial = self._with_wall_time(held).model_copy(update={"ended": self.clock.utc()})
        try:
            self.storage.finish(trial)
        except LeaseLostError:
            yield from self._lose(trial.number)
            return
        del self.running[trial.number]
        self.engine.tell(trial)
        yield events.TrialEnded(trial=trial)
        for twin in self.twins.free(trial.number):
            if trial.state == "failed":
                self._queue(twin)
            else:
                yield from self._answer(twin, trial)

    # When something goes wrong.

    def _handle_death(self, worker: int, message: WorkerExited) -> Iterator[Event]:
        """A worker is dead: another one continues its trial, unless it has killed too many."""
        held = next((one for one in self.running.values() if one.worker == worker), None)
        if worker in self.idle:
            self.idle.remove(worker)
        # Written down at once: what kills a worker may end this process, or the machine, next.
        is_ours = held is None or self._count_death(held, message.step)
        yield events.WorkerDied(
            worker=worker,
            trial=None if held is None else held.trial.number,
            cause=message.cause,
            log_tail=message.log_tail,
        )
        if held is None:
            return
        trial = held.trial
        if not is_ours:
            yield from self._lose(trial.number)
        elif trial.deaths < MAX_WORKER_DEATHS:
            self.waiting.append(trial.number)
        else:
            reason = (
                f"killed {trial.deaths} workers in a row, without a checkpoint after step "
                f"{trial.death_step}: {message.cause}"
            )
            yield from self._tell(held, ended(trial, "infeasible", reason))

    def _count_death(self, held: _Running, step: int) -> bool:
        """Add a death to the record of a trial, whose newest checkpoint is of ``step``.

        Returns:
            Whether the trial is still this supervisor's.
        """
        trial = self._with_wall_time(held)
        deaths = 1 if step > trial.death_step else trial.deaths + 1
        changes = {"deaths": deaths, "death_step": max(step, trial.death_step)}
        held.trial = trial.model_copy(update=changes)
        held.worker = None
        try:
            self.storage.save(held.trial)
        except LeaseLostError:
            return False
        return True

    def _lose(self, number: int) -> Iterator[Event]:
        """Another supervisor has this trial now."""
        self.running.pop(number, None)
        if number in self.waiting:
            self.waiting.remove(number)
        # Whoever waited for it finds it in the storage, or trains it.
        for twin in self.twins.free(number):
            self._queue(twin)
        yield events.LeaseLost(trial=number)

    def _tick(self) -> Iterator[Event]:
        """Show that this supervisor lives, now and then."""
        now = self.clock.now()
        if now - self.ticked_at < self.storage.tick_seconds:
            return
        self.ticked_at = now
        self.budget.keep()
        for number in self.storage.renew([*self.running, *self.twins.parked()]):
            held = self.running.get(number)
            yield from self._lose(number)
            if held is not None and held.worker is not None:
                self.pool.restart(held.worker)

    # Small facts.

    def _new_trial(self, number: int, config: dict[str, object]) -> Trial:
        return Trial(number=number, state="running", config=config, started=self.clock.utc())

    def _seconds(self, held: _Running) -> float:
        if self.ready is None:
            raise AssertionError("a trial runs on a worker that is ready")
        return self.workload.seconds(held.trial, held.outline, self.ready, held.cost)

    def _with_wall_time(self, held: _Running) -> Trial:
        """The record with the wall time of this attempt added to that of those before."""
        if held.worker is None:
            return held.trial
        wall = held.wall_before + self.clock.now() - held.assigned_at
        times = held.trial.times.model_copy(update={"wall": wall})
        return held.trial.model_copy(update={"times": times})


def _one_line(error: Exception) -> str:
    """What is wrong with a config, as a sentence."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines)[:500]
