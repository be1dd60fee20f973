"""Runs the event loop of a study: samples, assigns, prunes and records trials."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from effv2_tune.errors import TuneError
from effv2_tune.interruption import GRACE_SECONDS, StopRequest, signals_stop
from effv2_tune.pareto import Objective, front_of
from effv2_tune.search import events
from effv2_tune.search.budget import Budget, trials_spent
from effv2_tune.search.confirmation.candidates import contenders
from effv2_tune.search.confirmation.decisions import Confirmation, NoReplicateError
from effv2_tune.search.confirmation.replicates import replicate_notes, replicate_plan
from effv2_tune.search.duplicates import Duplicates
from effv2_tune.search.engines.base import Exhausted
from effv2_tune.search.pausing.paused_trials import PausedTrials
from effv2_tune.search.placement.target_placement import TargetPlacement
from effv2_tune.search.placement.target_work import TargetWork
from effv2_tune.search.restatement import is_doubtful, next_version, with_trials
from effv2_tune.search.retries import (
    AlreadyRetriedError,
    begin_retry,
    retry_notes,
    with_failures,
)
from effv2_tune.search.rung_decision import HalvingPolicy, RungPolicy, rung_decided
from effv2_tune.search.running_trial import RunningTrial
from effv2_tune.search.storage.base import BudgetSpentError, LeaseLostError
from effv2_tune.search.storage.recorded_times import missing_time
from effv2_tune.search.storage.records import (
    duplicate_note,
    is_replicate,
    unretried,
    without_replicates,
)
from effv2_tune.search.trial_updates import as_duplicate, with_state
from effv2_tune.search.worker_deaths import MAX_KILLS, infeasible_reason, repeated_kills
from effv2_tune.search.workload import BucketTime, TrialPlan, earlier_buckets
from effv2_tune.study.trial import RungResult, Trial
from effv2_tune.workers.messages import (
    Compiled,
    EpochEnded,
    Finished,
    Measured,
    Paused,
    RangeTested,
    Ready,
    Refused,
    Remeasured,
    RungReached,
    Stopped,
    Unavailable,
    Waiting,
)
from effv2_tune.workers.pool import Job, WorkerExited

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator
    from pathlib import Path
    from threading import Thread

    from effv2_tune.search.clock import Clock
    from effv2_tune.search.engines.base import Engine
    from effv2_tune.search.events import Event
    from effv2_tune.search.storage.base import Storage
    from effv2_tune.search.workload import Workload
    from effv2_tune.study.bucket import BucketKey
    from effv2_tune.study.plan import ConfirmSpec, StudyPlan
    from effv2_tune.study.recipe import Recipe
    from effv2_tune.study.trial import Environment
    from effv2_tune.workers.messages import FromWorker
    from effv2_tune.workers.pool import WorkerPool

#: Growth over the memory after its first trial before a worker above the limit is replaced: a
#: replacement would start above the limit too.
_GROWTH = 1.2
#: Duplicates in a row after which the engine counts as exhausted.
MAX_DUPLICATES = 100
#: The least time between two saves of a running trial, rungs excluded.
SAVE_SECONDS = 5.0
#: The longest time in which a checkpoint is fetched; then its trial starts over.
FETCH_SECONDS = 600.0


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
    before_workers: Callable[[], Iterable[Event]] = tuple,
    stop: StopRequest | None = None,
    retry_failed: bool = False,
    resume_epoch: Callable[[Trial], int | None] = lambda trial: len(trial.curve),
    fetch: Callable[[int], Thread] | None = None,
    confirm: ConfirmSpec | None = None,
    expected: Callable[[Ready], Iterable[Recipe]] | None = None,
    policy: RungPolicy | None = None,
    missing_bytes: Callable[[], int] = lambda: 0,
) -> Generator[Event]:
    """Yield what happens, in order, until the budget of ``plan`` is spent.

    Then the picks are confirmed, if the plan says so.

    However the iteration ends, running trials stay running in the storage without a lease, so that
    the next call resumes them. The pool is started when there is work for it; the caller closes it.

    Args:
        plan: The study.
        engine: Samples configs.
        pool: Trains trials.
        storage: Of the study.
        clock: Real or simulated.
        workload: Plans the training of a config.
        memory_limit: Resident bytes above which a worker is replaced after its trial, if any.
        set_aside: Renames the folder of a trial's checkpoints and returns its new name; None where
            it is empty.
        before_workers: Called where there is work, before the workers start: downloads what the
            trials need, and yields its progress.
        stop: Ends the iteration, after the running trials were saved; never if left out.
        retry_failed: Whether the failed trials of earlier runs are tried again, beyond the budget
            of trials.
        resume_epoch: The whole epochs in the checkpoint of a trial; None where there is none.
        fetch: Fetches the checkpoint of a trial from another machine, in a thread.
        confirm: Confirms the picks of the trials so far, in place of searching.
        expected: A recipe of each bucket that a new study times on the target before any trial
            begins; None where trials are trained on the target.
        policy: Decides at rungs, and which paused trial is continued; halving if left out.
        missing_bytes: Bytes that the disk lacks; while it lacks any, paused trials are stopped.

    Raises:
        TuneError: A worker refuses to work, or has another device or other images than before; a
            disk, file or network that it needs has failed; or its workers are killed again and
            again.
    """
    loop = _Loop(
        plan,
        engine,
        pool,
        storage,
        clock,
        workload,
        memory_limit,
        set_aside,
        before_workers,
        resume_epoch,
        fetch,
        confirm,
        expected,
        policy or HalvingPolicy(plan.search.halving, Objective(plan.directions[0])),
        missing_bytes,
    )
    loop.stop = loop.stop if stop is None else stop
    if retry_failed:
        space = plan.search_space
        loop.retries = [t for t in unretried(storage.trials()) if space.contains(t.config)]
    yield from loop.run_and_release()


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
    before_workers: Callable[[], Iterable[Event]]
    resume_epoch: Callable[[Trial], int | None]
    fetch: Callable[[int], Thread] | None
    confirm: ConfirmSpec | None
    expected: Callable[[Ready], Iterable[Recipe]] | None
    policy: RungPolicy
    missing_bytes: Callable[[], int]
    ready: Ready | None = None
    #: Of each worker: those of a cluster are on several machines.
    environments: dict[int, Environment] = field(default_factory=dict)
    #: Once the search has ended, or in its place.
    confirmation: Confirmation | None = None
    is_started: bool = False
    is_stopped: bool = False
    first_bytes: dict[int, int] = field(default_factory=dict)
    idle: list[int] = field(default_factory=list)
    running: dict[int, RunningTrial] = field(default_factory=dict)
    waiting: list[int] = field(default_factory=list)
    retries: list[Trial] = field(default_factory=list)
    duplicates: Duplicates = field(default_factory=Duplicates)
    duplicates_in_a_row: int = 0
    end: events.StudyEnded | None = None
    ticked_at: float = -math.inf
    stop: StopRequest = field(default_factory=StopRequest)
    #: The longest time that a worker has taken to stop so far.
    stop_seconds: float = 0.0
    is_waiting: bool = False
    #: Workers that were asked to stop at the end of the hours.
    asked: list[int] = field(default_factory=list)
    #: The bucket that a worker measures again.
    measuring: dict[int, BucketKey] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.target = TargetWork(self.plan.worker_count)
        self.placement = TargetPlacement(self, self.target, self.expected)
        self.paused = PausedTrials(self, self.policy, self.missing_bytes)
        self.budget: Budget | Confirmation
        if self.confirm is None:
            self.budget = Budget(self.plan, self.storage, self.clock)
        else:
            self._begin_confirmation(self.confirm)

    def run_and_release(self) -> Iterator[Event]:
        """Run, and give back the leases however that ends."""
        try:
            yield from self.run()
        except BaseException:
            self.storage.stop_waiting()
            # The first cause is reported, not that the database fails here too: leases expire
            # anyway.
            with contextlib.suppress(Exception):
                self.release()
            raise
        self.release()

    def run(self) -> Iterator[Event]:
        """Search until the budget is spent, and confirm the picks until they are clear."""
        yield from self._run_phase()
        spec = self.plan.search.confirm
        has_ended = self.end is not None and self.end.kind != "failing" and not self.is_stopped
        if self.confirmation is None and spec is not None and has_ended:
            self._leave_search()
            self._begin_confirmation(spec)
            if contenders(self.storage.trials()):
                yield from self._run_phase()

    def _run_phase(self) -> Iterator[Event]:
        """Run until the budget of the search, or of the confirmation, is spent."""
        yield self._start_event()
        self.end = self.budget.spent()
        if self._has_work():
            self.storage.keep_end(None)
            if not self.is_started:
                try:
                    # Nothing has to be saved yet: a signal ends a download at once.
                    with signals_stop(self.stop):
                        yield from self.before_workers()
                finally:
                    self.budget.leave_out()
                self._start_workers()
                self.is_started = True
            # The workers of the search are idle already.
            yield from self._fill()
            while self._has_work():
                if self.stop.is_due(self.stop_seconds):
                    self.is_stopped = True
                    yield from self._stop_workers()
                    return
                timeout = min(
                    self.storage.tick_seconds,
                    self.budget.seconds_left(),
                    self.stop.poll_seconds(self.stop_seconds),
                )
                for worker, message in self.pool.wait(timeout):
                    yield from self.handle(worker, message)
                yield from self.tick()
                yield from self._fill()
                yield from self._report_others()
            yield from self._end_in_time()
        if self.end is None:
            raise AssertionError("the loop ended without a reason")
        if self.confirmation is None:
            self.end = with_failures(self.end, self.storage.trials())
        # The study goes on where another supervisor has a trial left after the end of the hours.
        if not self.storage.held_elsewhere(self.of_phase()):
            # Trials that failed in a row have a cause that can be fixed.
            if self.confirmation is None and self.end.kind != "failing":
                yield from self.paused.stop_all()
            self.storage.keep_end(self.end)
        yield self.end

    def _start_workers(self) -> None:
        """Start the workers; in a new study first the one that times the buckets."""
        is_new = not any(trial.attempts for trial in self.storage.trials())
        self.placement.start(is_new=is_new)

    def _start_event(self) -> Event:
        known = [trial for trial in self.storage.trials() if self._is_of_phase(trial)]
        unfinished = sum(trial.state == "running" for trial in known)
        paused = sum(trial.state == "paused" for trial in known)
        if self.confirmation is not None:
            return events.ConfirmStarted(
                study=self.plan.name,
                candidates=len(contenders(self.storage.trials())),
                known=len(known) - unfinished,
                unfinished=unfinished,
                limit=self.confirmation.limit,
            )
        return events.StudyStarted(
            study=self.plan.name,
            known=len(known) - unfinished - paused,
            unfinished=unfinished,
            retries=len(self.retries),
            paused=paused,
        )

    def _leave_search(self) -> None:
        """Leave the trials that the hours have ended to a later run."""
        self.release()
        for worker in (*self.asked, *self.measuring):
            self.pool.restart(worker)
        # One that ended its trial instead stops now.
        self.idle = [worker for worker in self.idle if worker not in self.asked]
        self.asked.clear()
        self.measuring.clear()
        self.running.clear()
        self.waiting.clear()
        self.target.clear()
        self.retries.clear()
        self.duplicates = Duplicates()
        self.end, self.is_waiting = None, False

    def _begin_confirmation(self, spec: ConfirmSpec) -> None:
        self.confirmation = Confirmation(self.plan, spec, self.storage, self.clock)
        self.budget = self.confirmation

    def _is_of_phase(self, trial: Trial) -> bool:
        """Whether a trial is of the search, or of the confirmation, whichever is running."""
        return is_replicate(trial) == (self.confirmation is not None)

    def of_phase(self) -> set[int]:
        """Numbers of such trials."""
        return {trial.number for trial in self.storage.trials() if self._is_of_phase(trial)}

    def release(self) -> None:
        """Save the running trials and give back their leases."""
        self.budget.keep()
        for running in self.running.values():
            with contextlib.suppress(LeaseLostError):
                self.storage.save(running.with_wall_time(self.clock.now()))
        self.storage.release_all()

    def _stop_workers(self) -> Iterator[Event]:
        """Let the workers write checkpoints of their trials, within the grace of the request."""
        self.pool.stop()
        yield events.StudyInterrupted(
            reason=self.stop.reason, grace_seconds=self.stop.grace_seconds()
        )
        yield from self._await_checkpoints(self.stop.grace_seconds)

    def _end_in_time(self) -> Iterator[Event]:
        """Let the trials that the hours have ended write checkpoints, for a later run."""
        limit = self.clock.now() + GRACE_SECONDS
        self.asked = [r.worker for r in self.running.values() if r.worker is not None]
        self.pool.stop(self.asked)
        yield from self._await_checkpoints(
            lambda: min(limit - self.clock.now(), self.stop.grace_seconds())
        )

    def _await_checkpoints(self, grace_seconds: Callable[[], float]) -> Iterator[Event]:
        """Wait until workers that were asked to stop have done so, or their grace is over."""
        training = {r.worker: r.number for r in self.running.values() if r.worker is not None}
        while training and (left := grace_seconds()) > 0:
            for worker, message in self.pool.wait(min(left, self.storage.tick_seconds)):
                if isinstance(message, Stopped):
                    if worker in training:
                        step = None if message.trial is None else message.step
                        yield events.TrialInterrupted(trial=training.pop(worker), step=step)
                elif not isinstance(message, RungReached):
                    # A worker at a rung stops without a decision, and asks again once resumed.
                    yield from self.handle(worker, message)
                    if isinstance(message, Finished | Paused | WorkerExited):
                        training.pop(worker, None)
            yield from self.tick()
        for number in training.values():
            yield events.TrialInterrupted(trial=number, step=None)

    # What to do next.

    def _has_work(self) -> bool:
        """Whether there is a trial to train or to wait for."""
        # All other limits are checked before a trial is begun.
        self.end = self.budget.time_spent() or self.end
        if self.end is None:
            return True
        if self.end.kind in ("hours", "accelerator_hours"):
            return False
        # First what needs no look at all records.
        if self.running or self.measuring or self.retries:
            return True
        # Where another supervisor dies, this one resumes its trials.
        numbers = self.of_phase()
        if (
            self.storage.has_unowned(numbers)
            or self.storage.held_elsewhere(numbers)
            or self.paused.has_promotion()
        ):
            return True
        if self.confirmation is not None:
            # The decision assumed expected results of the replicates that have ended meanwhile.
            self.end = self.confirmation.spent()
        return self.end is None

    def _report_others(self) -> Iterator[Event]:
        """Report, once, that only trials of other supervisors are left."""
        if self.end is None or self.running or self.is_waiting:
            return
        others = self.storage.held_elsewhere(self.of_phase())
        if others:
            self.is_waiting = True
            yield events.WaitingForOthers(trials=tuple(others))

    def _fill(self) -> Iterator[Event]:
        """Assign trials to idle workers."""
        if self.target.is_open:
            yield from self.placement.work_on_target()
            return
        yield from self.paused.follow_duplicates()
        yield from self.placement.work_beside()
        # None of the workers may be one that buckets are known by.
        while (
            self.idle
            and self.ready is not None
            and self.budget.time_spent() is None
            and not self.placement.is_due()
        ):
            if not (yield from self._take_next()):
                break
        if self.placement.alternates and self.target.trials and self.budget.time_spent() is None:
            is_alone = len(self.running) == self.target.trials
            if is_alone or self.placement.is_due():
                yield from self.placement.change(on_target=True)

    def _take_next(self) -> Generator[Event, None, bool]:
        """Begin or continue the next trial in an idle worker; whether there was one."""
        if not self.waiting:
            yield from self._claim()
        if self.waiting:
            running = self.running[self.waiting.pop(0)]
            if running.trial.attempts:
                yield from self.assign(running)
            else:
                yield from self._begin(running)
            return True
        if self.retries:
            yield from self._retry()
            return True
        self.end = self.end or self.budget.spent()
        if (yield from self.paused.promote()):
            return True
        if self.end is not None:
            return False
        yield from self._ask() if self.confirmation is None else self._replicate()
        return True

    def _claim(self) -> Iterator[Event]:
        """Take over a running trial that has no owner."""
        number = self.storage.claim(self.of_phase())
        if number is None:
            return
        trial = {trial.number: trial for trial in self.storage.trials()}.get(number)
        if trial is None or not trial.config:
            trial = self._new_trial(number, self.engine.resume(number))
        if trial.state == "paused":
            # It lost the mark of its lease, in a copy of the database by an earlier version.
            self.storage.pause(trial)
            return
        if trial.state != "running":
            # Its supervisor was killed between the update of the record and of Optuna's state.
            self.storage.finish(trial)
            yield events.TrialEnded(trial=trial)
            return
        self.queue(trial)
        yield from self.fetch_checkpoint(trial)

    def queue(self, trial: Trial) -> None:
        """Let a trial wait for an idle worker."""
        running = RunningTrial(trial)
        if trial.attempts > 0:
            running.plan = self._plan_trial(trial)
        self.running[trial.number] = running
        self.waiting.append(trial.number)

    def _ask(self) -> Iterator[Event]:
        """Begin a trial of a new config."""
        try:
            asked = self.engine.ask()
        except BudgetSpentError:
            self.end = trials_spent(self.plan)
            return
        except Exhausted as exhausted:
            reason = str(exhausted) or "Every config has been tried."
            self.end = events.StudyEnded(kind="exhausted", reason=reason)
            return
        running = RunningTrial(self._new_trial(asked.number, asked.config))
        self.running[asked.number] = running
        yield from self._begin(running)

    def _replicate(self) -> Iterator[Event]:
        """Begin the replicate that is worth most."""
        if self.confirmation is None:
            raise AssertionError("replicates belong to a confirmation")
        try:
            trial, chosen = self.confirmation.begin()
        except NoReplicateError as none:
            self.end = none.end
            return
        yield chosen
        running = RunningTrial(trial)
        self.running[trial.number] = running
        yield from self._begin(running)

    def _retry(self) -> Iterator[Event]:
        """Begin the retry of a failed trial, unless trial after trial fails again."""
        failing = self.budget.failing()
        if failing is not None:
            self.end = failing
            self.retries.clear()
            return
        failed, space = self.retries.pop(0), self.plan.search_space
        try:
            trial = begin_retry(self.storage, space, failed, now=self.clock.utc())
        except AlreadyRetriedError:
            return
        running = RunningTrial(trial)
        self.running[trial.number] = running
        yield from self._begin(running)

    def _begin(self, running: RunningTrial) -> Iterator[Event]:
        """Train a new trial, unless it is a duplicate."""
        trial = running.trial
        original = self.duplicates.find(trial, self.storage.trials(), self.running)
        if original is not None:
            yield from self._begin_duplicate(trial, original)
            return
        self.duplicates_in_a_row = 0
        notes = (*retry_notes(trial), *replicate_notes(trial))
        running.trial = trial.model_copy(update={"notes": notes})
        try:
            running.plan = self._plan_trial(trial)
        except (ValueError, TuneError) as error:
            yield from self.finish(running, with_state(trial, "infeasible", _one_line(error)))
            return
        reason = self._missing_recorded_time(running)
        if reason:
            yield from self.finish(running, with_state(trial, "infeasible", reason))
            return
        # A trial that was never trained has no checkpoints: these belong to another study, whose
        # database is gone.
        kept_as = self.set_aside(trial.number)
        if kept_as is not None:
            yield events.CheckpointsSetAside(trial=trial.number, kept_as=str(kept_as))
        yield from self.assign(running)

    def _missing_recorded_time(self, running: RunningTrial) -> str:
        """Why a recorded clock has no step time for a trial; empty where it has one."""
        if self.plan.clock == "measured" or self.ready is None:
            return ""
        for bucket in self._buckets(running.plan, self.ready):
            if self.storage.bucket_time(bucket) is None:
                return missing_time(bucket, self.plan.clock)
        return ""

    def _begin_duplicate(self, trial: Trial, original: Trial) -> Iterator[Event]:
        """Copy the outcome of the original trial, now or as soon as it has ended."""
        del self.running[trial.number]
        notes = (*retry_notes(trial), duplicate_note(original.number))
        trial = trial.model_copy(update={"notes": notes})
        self.duplicates_in_a_row += 1
        if self.duplicates_in_a_row >= MAX_DUPLICATES:
            self.end = events.StudyEnded(
                kind="exhausted",
                reason=f"The last {MAX_DUPLICATES} configs of the engine were duplicates.",
            )
        if original.has_ended:
            yield from self._finish_duplicate(trial, original)
            return
        try:
            self.storage.save(trial)
        except LeaseLostError:
            yield events.LeaseLost(trial=trial.number)
            return
        self.duplicates.add_waiting(trial, original)

    def _finish_duplicate(self, trial: Trial, original: Trial) -> Iterator[Event]:
        """Record the outcome of the original trial for a duplicate."""
        duplicate = as_duplicate(trial, original, self.clock.utc())
        try:
            self.storage.finish(duplicate)
        except LeaseLostError:
            yield events.LeaseLost(trial=trial.number)
            return
        yield events.TrialEnded(trial=duplicate)

    def assign(self, running: RunningTrial) -> Iterator[Event]:
        """Train a trial in an idle worker."""
        if self.ready is None:
            raise AssertionError("an idle worker has been ready")
        before = running.trial
        buckets = self._buckets(running.plan, self.ready)
        missing = partial(self.placement.first_to_wait_for, buckets)
        worker = next((one for one in self.idle if missing(one) is None), None)
        if worker is None:
            yield from self.placement.defer(running, missing(self.idle[0]) or buckets[-1])
            return
        self.idle.remove(worker)
        running.start_attempt(
            worker,
            buckets=buckets,
            costs=[self.storage.bucket_time(bucket) for bucket in buckets],
            environment=self.environments[worker],
            now=self.clock.now(),
        )
        trial, plan = running.trial, running.plan
        try:
            self.storage.save(trial)
        except LeaseLostError:
            self.idle.append(worker)
            yield from self.drop(trial.number)
            return
        resumed_after = self.resume_epoch(trial) if before.attempts else None
        self.pool.assign(worker, self._job(running))
        yield events.TrialStarted(
            trial=trial.number,
            worker=worker,
            config=trial.config,
            epochs=plan.epochs,
            attempt=trial.attempts,
            resumed_after=resumed_after or 0,
            starts_over=_why_over(before, self.environments[worker])
            if resumed_after is None
            else "",
            retry_of=trial.retry_of,
            replicate_of=trial.replicate_of,
        )

    def _job(self, running: RunningTrial) -> Job:
        """What a worker is given to train."""
        slower = max(running.trial.device_ratio, 1.0)
        *earlier, last = [
            None if cost is None else slower * cost.step_seconds
            for cost in running.costs or (None,)
        ]
        return Job(
            running.trial,
            running.plan.epochs,
            tuple(running.plan.rungs.values()),
            last,
            self.storage.reference_seconds(),
            tuple(earlier),
        )

    def _buckets(self, plan: TrialPlan, ready: Ready) -> tuple[BucketKey, ...]:
        """The buckets of a trial's stages where they are timed; none where nothing is compiled."""
        bucket = self.workload.bucket(plan, ready)
        return () if bucket is None else (*earlier_buckets(self.workload, plan, ready), bucket)

    def fetch_checkpoint(self, trial: Trial) -> Iterator[Event]:
        """Fetch the checkpoint of a trial that was trained elsewhere; renew leases meanwhile."""
        if self.fetch is None or not trial.attempts:
            return
        thread = self.fetch(trial.number)
        deadline = self.clock.now() + FETCH_SECONDS
        while thread.is_alive() and self.clock.now() < deadline:
            thread.join(min(self.storage.tick_seconds, 1.0))
            yield from self.tick()

    # Messages of workers.

    def handle(self, worker: int, message: FromWorker | WorkerExited) -> Iterator[Event]:
        if isinstance(message, Ready):
            yield from self._open_worker(worker, message)
            return
        if isinstance(message, Refused | Unavailable):
            yield from self._handle_failure(worker, message)
            return
        if isinstance(message, Measured | RangeTested | Stopped):
            raise TypeError(f"nobody asked for {message!r}")
        if isinstance(message, Waiting):
            yield events.WorkerWaits(worker=worker, note=message.note)
        elif isinstance(message, WorkerExited):
            if self.plan.cluster is not None:
                # Its replacement may wait for another node for hours.
                self.budget.hold(worker, 0)
            yield from self._handle_death(worker, message)
        elif isinstance(message, Remeasured):
            yield from self._restate(worker, message)
        else:
            yield from self._handle_trial(worker, message)

    def _open_worker(self, worker: int, message: Ready) -> Iterator[Event]:
        """Take a new worker as idle.

        Raises:
            TuneError: It has another device or other images than the trials before.
        """
        is_timed = self.placement.is_timed(message.environment)
        self.storage.bind(message, self.plan.target_devices, is_timed=is_timed)
        self.placement.check_precision(message.environment)
        self.environments[worker] = message.environment
        if is_timed:
            self.ready = message
            self.placement.expect_buckets(message)
        self.budget.hold(worker, message.environment.device_count)
        self.first_bytes.pop(worker, None)
        self.idle.append(worker)
        yield events.WorkerReady(
            worker=worker,
            environment=message.environment,
            data=message.data,
            summary=message.summary,
        )
        if self.ready is None:
            yield events.WorkerWaits(worker=worker, note=self.placement.waiting_note)

    def _handle_failure(self, worker: int, message: Refused | Unavailable) -> Iterator[Event]:
        """Raise the error of a worker, unless paused trials can make room on a full disk.

        Raises:
            TuneError: The worker refuses to work, or its machine has failed.
        """
        running = self.running.get(message.trial) if isinstance(message, Unavailable) else None
        if running is None or not (yield from self.paused.make_room()):
            raise message.error()
        running.stop_attempt(self.clock.now())
        self.waiting.append(running.number)
        self.idle.append(worker)

    def _handle_trial(
        self, worker: int, message: Compiled | EpochEnded | RungReached | Paused | Finished
    ) -> Iterator[Event]:
        running = self.running.get(message.trial)
        if running is None or running.worker != worker:
            # A trial that another supervisor has taken over; its worker stops at the next rung.
            if isinstance(message, RungReached):
                self.pool.decide(worker, message.trial, "stop")
            elif isinstance(message, Paused | Finished):
                yield from self.free(worker, message)
            return
        try:
            yield from self._handle_progress(running, worker, message)
        except LeaseLostError:
            yield from self.drop(message.trial)
            if isinstance(message, Paused | Finished):
                yield from self.free(worker, message)
            else:
                self.pool.restart(worker)

    def _handle_progress(
        self,
        running: RunningTrial,
        worker: int,
        message: Compiled | EpochEnded | RungReached | Paused | Finished,
    ) -> Iterator[Event]:
        if isinstance(message, Compiled):
            yield self._set_bucket(running, message)
        elif isinstance(message, EpochEnded):
            yield self._add_epoch(running, message)
        elif isinstance(message, RungReached):
            yield self._decide(running, worker, message)
        elif isinstance(message, Paused):
            yield from self.paused.pause(running, message)
            yield from self.free(worker, message)
        elif message.outcome == "complete" and running.has_untimed_bucket:
            yield from self._train_again(running, worker)
        elif message.outcome == "infeasible" and self.placement.may_fit_target(running.trial):
            yield from self.placement.leave_to_target(running, worker, message)
        else:
            running.end_training(message)
            seconds = self._seconds(running) if message.outcome == "complete" else None
            trial = running.outcome(message, quality=self.plan.quality, seconds=seconds)
            yield from self.finish(running, trial)
            yield from self._count_steps(running.trial)
            yield from self.free(worker, message, running.trial)

    def _set_bucket(self, running: RunningTrial, message: Compiled) -> Event:
        time, buckets = BucketTime.of(message), running.trial.buckets
        stage = running.stage_of(message.bucket)
        if not running.trial.is_on_target:
            time = running.costs[stage] or time
        elif buckets:
            time = self.storage.keep_bucket_time(buckets[stage], time)
            running.set_bucket(stage, message.bucket, time)
        if message.time is not None and message.time.is_quiet:
            self.storage.keep_reference_seconds(message.time.reference_seconds)
        return events.BucketCompiled(
            trial=message.trial,
            label=time.label,
            step_seconds=time.step_seconds,
            fresh=message.fresh,
            bucket=message.bucket,
            notes=message.notes,
        )

    def _add_epoch(self, running: RunningTrial, message: EpochEnded) -> Event:
        if message.fold:
            running.add_times(message.times)
        else:
            running.add_epoch(message.epoch, message.times)
        self.stop_seconds = max(self.stop_seconds, message.stop_seconds)
        if self.clock.now() - running.saved_at >= SAVE_SECONDS:
            self._save(running)
        return events.EpochTrained(
            trial=message.trial,
            epoch=message.epoch,
            epochs=running.plan.epochs,
            fold=message.fold,
        )

    def _decide(self, running: RunningTrial, worker: int, message: RungReached) -> Event:
        """Promote, pause or stop a trial at a rung."""
        by_epoch = {epoch: rung for rung, epoch in running.plan.rungs.items()}
        result = RungResult(
            rung=by_epoch[message.epoch],
            epoch=message.epoch,
            quality=message.quality,
            projected_seconds=self._seconds(running),
        )
        running.set_curve(message.curve)
        decision = self.policy.decide(
            running.trial, result, self.storage.trials(), seconds_left=self.budget.seconds_left()
        )
        if decision.answer == "promote":
            running.pass_rung(result, at=self.clock.utc())
            self._save(running)
        else:
            running.left_at = result
        self.pool.decide(worker, message.trial, decision.answer)
        return rung_decided(message.trial, result, decision)

    def free(
        self, worker: int, message: Finished | Paused, trial: Trial | None = None
    ) -> Iterator[Event]:
        """Reuse a worker for the next trial, or replace it if it has grown too large.

        Between the two it measures the bucket of its trial again, if the step time is doubtful.
        """
        size = message.memory_bytes
        first = self.first_bytes.setdefault(worker, size)
        if self.memory_limit is None or size <= max(self.memory_limit, _GROWTH * first):
            if trial is None or not self._measure_again(worker, trial):
                self.idle.append(worker)
            return
        self.pool.restart(worker)
        yield events.WorkerReplaced(worker=worker, memory_bytes=size)

    def _measure_again(self, worker: int, trial: Trial) -> bool:
        """Measure the bucket of a worker's last trial again, if that is needed; whether it is."""
        bucket = trial.bucket
        is_possible = self.plan.clock == "measured" and self.budget.time_spent() is None
        if not is_possible or bucket is None or trial.recipe is None or not trial.is_on_target:
            return False
        time = self.storage.bucket_time(bucket)
        ended = _ended_in(bucket, self.storage.trials())
        if time is None or bucket in self.measuring.values() or not is_doubtful(time, ended):
            return False
        self.measuring[worker] = bucket
        reference_seconds = self.storage.reference_seconds()
        self.pool.measure_again(worker, trial.recipe, reference_seconds=reference_seconds)
        return True

    def _restate(self, worker: int, message: Remeasured) -> Iterator[Event]:
        """Replace the step time of a bucket by a new measurement, if it contradicts the old one."""
        self.measuring.pop(worker, None)
        self.idle.append(worker)
        bucket, measured = message.bucket, message.time
        known = self.storage.bucket_time(bucket)
        if known is None and (self.target.is_open or not self.placement.alternates):
            yield from self.placement.time_bucket(message)
        if known is None or measured is None:
            return
        if measured.is_quiet:
            self.storage.keep_reference_seconds(measured.reference_seconds)
        yield from self._replace_time(bucket, known, next_version(known, measured))

    def _count_steps(self, trial: Trial) -> Iterator[Event]:
        """Let the own steps of a trial that has ended correct the step time of its bucket."""
        bucket = trial.bucket
        if bucket is None or not trial.times.step_work or self.plan.clock != "measured":
            return
        known = self.storage.bucket_time(bucket)
        if known is None:
            return
        trials = self.storage.trials()
        version = with_trials(known, _ended_in(bucket, trials), trials)
        if version != known:
            yield from self._replace_time(bucket, known, version, by_trial=trial.number)

    def _replace_time(
        self, bucket: BucketKey, known: BucketTime, version: BucketTime, by_trial: int | None = None
    ) -> Iterator[Event]:
        """Record a new version of the step time of a bucket, and report what follows from it."""
        before = self._front()
        newest = self.storage.restate_bucket_time(bucket, version, replaces=known)
        for running in self.running.values():
            running.set_cost(bucket, newest)
        if newest.step_seconds == known.step_seconds:
            return
        yield events.BucketTimeRestated(
            label=newest.label,
            old_seconds=known.step_seconds,
            new_seconds=newest.step_seconds,
            trials=tuple(
                trial.number
                for trial in self.storage.trials()
                if trial.state == "complete" and bucket in trial.buckets
            ),
            front_changed=self._front() != before,
            bucket=bucket,
            by_trial=by_trial,
        )

    def _front(self) -> list[int]:
        """The trials on the Pareto front, fastest first."""
        searched = without_replicates(self.storage.trials())
        complete = [trial for trial in searched if trial.state == "complete"]
        return [trial.number for trial in front_of(complete, Objective(self.plan.directions[0]))]

    def _train_again(self, running: RunningTrial, worker: int) -> Iterator[Event]:
        """Train a trial again from the beginning, as its bucket has no step time.

        The database was replaced by an older copy, and the checkpoints are newer than the copy.
        """
        kept_as = self.set_aside(running.number)
        if kept_as is None:
            raise AssertionError("a worker that trains sends the step time first")
        running.stop_attempt(self.clock.now())
        self.idle.append(worker)
        self.waiting.append(running.number)
        yield events.CheckpointsSetAside(trial=running.number, kept_as=str(kept_as))

    def finish(self, running: RunningTrial, trial: Trial) -> Iterator[Event]:
        """Record the outcome of a trial and of its duplicates."""
        running.trial = trial
        trial = running.with_wall_time(self.clock.now())
        trial = trial.model_copy(update={"ended": self.clock.utc()})
        try:
            self.storage.finish(trial)
        except LeaseLostError:
            yield from self.drop(trial.number)
            return
        del self.running[trial.number]
        yield events.TrialEnded(trial=trial)
        if self.confirmation is not None:
            # It may differ from the result that the decision to end has expected.
            self.end = None
        yield from self.finish_duplicates(trial)

    def finish_duplicates(self, trial: Trial) -> Iterator[Event]:
        """Record the outcome of a trial for the duplicates that wait for it."""
        for duplicate in self.duplicates.pop_waiting(trial.number):
            if trial.state == "failed":
                self.queue(duplicate)
            else:
                yield from self._finish_duplicate(duplicate, trial)

    # Exits of workers and lost leases.

    def _handle_death(self, worker: int, message: WorkerExited) -> Iterator[Event]:
        """Resume the trial of a worker that has exited, unless that is its config's fault."""
        running = next((r for r in self.running.values() if r.worker == worker), None)
        measuring = self.measuring.pop(worker, None)
        if measuring is not None:
            self.target.count_failure(measuring, f"Its worker ended: {message.cause}")
        if worker in self.idle:
            self.idle.remove(worker)
        is_lost = False
        if running is not None:
            running.count_death(message, self.clock.now())
            try:
                # At once: the cause may end this process, or the machine, next.
                self.storage.save(running.trial)
            except LeaseLostError:
                is_lost = True
        yield events.WorkerDied(
            worker=worker,
            trial=None if running is None else running.number,
            cause=message.cause,
            log_tail=message.log_tail,
        )
        if running is None:
            return
        trial = running.trial
        if is_lost:
            yield from self.drop(trial.number)
        elif reason := infeasible_reason(trial, message.cause):
            yield from self.finish(running, with_state(trial, "infeasible", reason))
        elif running.kills >= MAX_KILLS:
            raise repeated_kills(trial, message)
        elif self.target.is_open and trial.bucket is not None:
            self.target.defer(trial.number, trial.bucket, self.clock.now())
        else:
            self.waiting.append(trial.number)

    def drop(self, number: int) -> Iterator[Event]:
        """Stop tracking a trial that another supervisor has taken over."""
        self.running.pop(number, None)
        if number in self.waiting:
            self.waiting.remove(number)
        self.target.drop(number)
        # Its duplicates find it in the storage, or are trained.
        for duplicate in self.duplicates.pop_waiting(number):
            self.queue(duplicate)
        yield events.LeaseLost(trial=number)

    def tick(self) -> Iterator[Event]:
        """Renew the leases from time to time."""
        now = self.clock.now()
        if now - self.ticked_at < self.storage.tick_seconds:
            return
        self.ticked_at = now
        self.budget.keep()
        for number in self.storage.renew([*self.running, *self.duplicates.waiting()]):
            running = self.running.get(number)
            yield from self.drop(number)
            if running is not None and running.worker is not None:
                self.pool.restart(running.worker)

    # Helpers.

    def _new_trial(self, number: int, config: dict[str, object]) -> Trial:
        return Trial(number=number, state="running", config=config, started=self.clock.utc())

    def _plan_trial(self, trial: Trial) -> TrialPlan:
        plan = self.workload.plan_trial(trial.config)
        if not is_replicate(trial):
            return plan
        return replicate_plan(plan, trial, self.storage.trials())

    def _save(self, running: RunningTrial) -> None:
        running.saved_at = self.clock.now()
        self.storage.save(running.with_wall_time(running.saved_at))

    def _seconds(self, running: RunningTrial) -> float:
        if self.ready is None:
            raise AssertionError("a trial runs on a worker that is ready")
        return self.workload.seconds(running.trial, running.plan, self.ready, running.cost)


def _why_over(before: Trial, here: Environment) -> str:
    """Why a trial without a checkpoint starts over; empty where it was never trained."""
    if not before.attempts:
        return ""
    if not before.curve:
        return "it was interrupted before its first checkpoint"
    if before.environment is not None and before.environment.host != here.host:
        return f"its checkpoint is on another machine, {before.environment.host}"
    return "there is no checkpoint of it"


def _ended_in(bucket: BucketKey, trials: Iterable[Trial]) -> list[Trial]:
    """The trials of a bucket that have ended."""
    return [one for one in trials if one.has_ended and one.bucket == bucket]


def _one_line(error: Exception) -> str:
    """The message of an error as one line of at most 500 characters."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines)[:500]
