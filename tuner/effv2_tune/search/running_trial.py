"""Tracks a trial that this supervisor runs: its record, its worker and its wall time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from effv2_tune.search.trial_updates import with_state, with_step_time
from effv2_tune.search.worker_deaths import with_death
from effv2_tune.search.workload import TrialPlan, mean_time
from effv2_tune.study.trial import Measurement, Pause

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from effv2_tune.search.workload import BucketTime
    from effv2_tune.study.bucket import BucketKey
    from effv2_tune.study.recipe import Quality
    from effv2_tune.study.trial import Environment, Epoch, RungResult, Times, Trial
    from effv2_tune.workers.messages import Finished, Paused
    from effv2_tune.workers.pool import WorkerExited

#: Of a trial whose recipe has not been made yet.
NOT_PLANNED = TrialPlan(None, 0, {})


@dataclass
class RunningTrial:
    """A trial that this supervisor runs.

    Attributes:
        trial: Its record so far.
        plan: Its recipe, epochs and rungs.
        worker: That trains it; None while it waits for one.
        costs: The step time of the bucket of each stage, once known.
        assigned_at: When the worker began, on the clock of the loop.
        wall_before: Wall time of earlier attempts.
        saved_at: When the record was last saved.
        left_at: The rung at which it was pruned or paused, until its worker has left it.
        kills: Workers that others have killed in this run since its last newer checkpoint.
    """

    trial: Trial
    plan: TrialPlan = NOT_PLANNED
    worker: int | None = None
    costs: tuple[BucketTime | None, ...] = ()
    assigned_at: float = 0.0
    wall_before: float = 0.0
    saved_at: float = -math.inf
    left_at: RungResult | None = None
    kills: int = 0

    @property
    def number(self) -> int:
        """The number of the trial."""
        return self.trial.number

    @property
    def cost(self) -> BucketTime | None:
        """The step time over all its stages; None until that of each is known."""
        known = [cost for cost in self.costs if cost is not None]
        if not known or len(known) < len(self.costs):
            return None
        return mean_time(known, self.plan.stage_epochs)

    @property
    def has_untimed_bucket(self) -> bool:
        """Whether one of its buckets has no step time yet."""
        return self.trial.bucket is not None and self.cost is None

    def start_attempt(
        self,
        worker: int,
        *,
        buckets: Sequence[BucketKey],
        costs: Sequence[BucketTime | None],
        environment: Environment,
        now: float,
    ) -> None:
        """Begin or resume it in a worker.

        Args:
            worker: An idle one.
            buckets: Of the stages of the recipe on the device of the worker; none where nothing is
                compiled.
            costs: The step time of each of them, if known.
            environment: Of the worker.
            now: The time on the clock of the loop.
        """
        self.worker, self.assigned_at, self.costs = worker, now, tuple(costs)
        self.wall_before = self.trial.times.wall
        self.left_at = None
        self._update(
            attempts=self.trial.attempts + 1,
            recipe=self.plan.recipe,
            bucket=buckets[-1] if buckets else None,
            stage_buckets=tuple(buckets[:-1]),
            environment=environment,
        )

    def stop_attempt(self, now: float) -> None:
        """Take it off its worker, to wait for another one."""
        self.trial = self.with_wall_time(now)
        self.worker = None

    def count_death(self, exited: WorkerExited, now: float) -> None:
        """Take it off its worker, which has exited.

        Args:
            exited: Its worker's exit.
            now: The time on the clock of the loop.
        """
        self.stop_attempt(now)
        before = 0 if exited.step > self.trial.death_step else self.kills
        self.kills = before + (exited.kind == "kill")
        self.trial = with_death(self.trial, exited)

    def stage_of(self, bucket: BucketKey) -> int:
        """The stage, from 0, of a bucket that a worker names; the last one for any other."""
        earlier = self.trial.stage_buckets
        return earlier.index(bucket) if bucket in earlier else len(earlier)

    def set_bucket(self, stage: int, bucket: BucketKey, cost: BucketTime) -> None:
        """Set the bucket of a stage as its worker names it, and its step time."""
        costs, buckets = list(self.costs), list(self.trial.buckets)
        costs[stage], buckets[stage] = cost, bucket
        self.costs = tuple(costs)
        self._update(bucket=buckets[-1], stage_buckets=tuple(buckets[:-1]))

    def set_cost(self, bucket: BucketKey, cost: BucketTime) -> None:
        """Set the step time of a bucket, if it is one of its own."""
        self.costs = tuple(
            cost if own == bucket else known
            for own, known in zip(self.trial.buckets, self.costs, strict=True)
        )

    def add_epoch(self, epoch: Epoch, times: Times) -> None:
        """Add an epoch to its curve, in place of the epochs after its last checkpoint."""
        before = tuple(e for e in self.trial.curve if e.epoch < epoch.epoch)
        self._update(curve=(*before, epoch), times=self._comparable(times))

    def add_times(self, times: Times) -> None:
        """Set the times after an epoch of a later fold, whose curve is not the trial's."""
        self._update(times=self._comparable(times))

    def set_curve(self, curve: tuple[Epoch, ...]) -> None:
        """Set its curve so far, at a rung; without epochs it stays as it is."""
        if curve:
            self._update(curve=curve)

    def pass_rung(self, result: RungResult, *, at: datetime) -> None:
        """Add a rung that it has reached; of one that it has reached before, the moment stays.

        A trial that has lost its checkpoint reaches its rungs again, and the later ones stay
        passed, too.

        Args:
            result: Its result there.
            at: The date.
        """
        # Records of earlier versions have no times.
        known = dict(zip((r.rung for r in self.trial.rungs), self.trial.rung_times, strict=False))
        results = {r.rung: r for r in self.trial.rungs} | {result.rung: result}
        rungs = tuple(results[rung] for rung in sorted(results))
        self._update(rungs=rungs, rung_times=tuple(known.get(r.rung, at) for r in rungs))

    def pause(self, message: Paused, *, now: float, since: datetime) -> Pause:
        """Take it off its worker, which has written its checkpoint; where and when it waits.

        Args:
            message: From its worker.
            now: The time on the clock of the loop.
            since: The date.
        """
        if self.left_at is None:
            raise AssertionError("a trial is paused by the decision at a rung")
        rung, epoch = self.left_at.rung, self.left_at.epoch
        pause = Pause(rung=rung, epoch=epoch, step=message.step, since=since)
        self.pass_rung(self.left_at, at=since)
        self._update(times=self._comparable(message.times), state="paused", pause=pause)
        self.trial = with_step_time(self.trial, self.cost)
        self.stop_attempt(now)
        return pause

    def end_training(self, message: Finished) -> None:
        """Set the curve and the times of the whole training."""
        self._update(curve=message.curve, times=self._comparable(message.times))
        self.trial = with_step_time(self.trial, self.cost)

    def outcome(self, message: Finished, *, quality: Quality, seconds: float | None) -> Trial:
        """Its record in its last state, after its training has ended.

        Args:
            message: From its worker.
            quality: The score that the study optimizes.
            seconds: Training seconds of the final training; of a complete trial only.
        """
        trial, reason = self.trial, message.reason
        if message.outcome == "complete":
            if message.scores is None or seconds is None:
                raise AssertionError("a complete trial has scores")
            changes = {
                "measurement": Measurement(
                    quality=message.scores.value_of(quality), train_seconds=seconds
                ),
                "scores": message.scores,
                "standard_errors": message.standard_errors,
                "selected_epoch": message.selected_epoch,
            }
            trial = trial.model_copy(update=changes)
        elif message.outcome == "pruned" and self.left_at is not None:
            trial = trial.model_copy(update={"rungs": (*trial.rungs, self.left_at)})
            epoch = self.left_at.epoch
            reason = f"stopped after epoch {epoch}: too many trials ranked better there"
        return with_state(trial, message.outcome, reason)

    def with_wall_time(self, now: float) -> Trial:
        """Its record, with the wall time of the current attempt."""
        if self.worker is None:
            return self.trial
        wall = self.wall_before + now - self.assigned_at
        times = self.trial.times.model_copy(update={"wall": wall})
        return self.trial.model_copy(update={"times": times})

    def _comparable(self, times: Times) -> Times:
        """Without its own step times where its buckets were timed on other devices."""
        return times if self.trial.is_on_target else times.without_own_steps()

    def _update(self, **changes: Any) -> None:
        self.trial = self.trial.model_copy(update=changes)
