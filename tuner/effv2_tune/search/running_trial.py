"""Tracks a trial that this supervisor runs: its record, its worker and its wall time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from effv2_tune.search.trial_updates import with_state, with_step_time
from effv2_tune.search.worker_deaths import with_death
from effv2_tune.search.workload import TrialPlan
from effv2_tune.study.trial import Measurement

if TYPE_CHECKING:
    from effv2_tune.search.workload import BucketTime
    from effv2_tune.study.bucket import BucketKey
    from effv2_tune.study.recipe import Quality
    from effv2_tune.study.trial import Environment, Epoch, RungResult, Times, Trial
    from effv2_tune.workers.messages import Finished
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
        cost: The step time of its bucket, once known.
        assigned_at: When the worker began, on the clock of the loop.
        wall_before: Wall time of earlier attempts.
        saved_at: When the record was last saved.
        pruned_at: The rung at which it was pruned, until its worker has ended it.
        kills: Workers that others have killed in this run since its last newer checkpoint.
    """

    trial: Trial
    plan: TrialPlan = NOT_PLANNED
    worker: int | None = None
    cost: BucketTime | None = None
    assigned_at: float = 0.0
    wall_before: float = 0.0
    saved_at: float = -math.inf
    pruned_at: RungResult | None = None
    kills: int = 0

    @property
    def number(self) -> int:
        """The number of the trial."""
        return self.trial.number

    @property
    def has_untimed_bucket(self) -> bool:
        """Whether its bucket has no step time yet."""
        return self.trial.bucket is not None and self.cost is None

    def start_attempt(
        self,
        worker: int,
        *,
        bucket: BucketKey | None,
        cost: BucketTime | None,
        environment: Environment,
        now: float,
    ) -> None:
        """Begin or resume it in a worker.

        Args:
            worker: An idle one.
            bucket: Of the recipe on the device of the worker.
            cost: The step time of the bucket, if known.
            environment: Of the worker.
            now: The time on the clock of the loop.
        """
        self.worker, self.assigned_at, self.cost = worker, now, cost
        self.wall_before = self.trial.times.wall
        self.pruned_at = None
        self._update(
            attempts=self.trial.attempts + 1,
            recipe=self.plan.recipe,
            bucket=bucket,
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

    def set_bucket(self, bucket: BucketKey, cost: BucketTime | None) -> None:
        """Set its bucket and, if known, the step time of the bucket."""
        self.cost = self.cost if cost is None else cost
        self._update(bucket=bucket)

    def add_epoch(self, epoch: Epoch, times: Times) -> None:
        """Add an epoch to its curve, in place of the epochs after its last checkpoint."""
        before = tuple(e for e in self.trial.curve if e.epoch < epoch.epoch)
        self._update(curve=(*before, epoch), times=self._comparable(times))

    def add_times(self, times: Times) -> None:
        """Set the times after an epoch of a later fold, whose curve is not the trial's."""
        self._update(times=self._comparable(times))

    def pass_rung(self, result: RungResult) -> None:
        """Add a rung that it has passed."""
        earlier = tuple(r for r in self.trial.rungs if r.rung < result.rung)
        self._update(rungs=(*earlier, result))

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
        elif message.outcome == "pruned" and self.pruned_at is not None:
            trial = trial.model_copy(update={"rungs": (*trial.rungs, self.pruned_at)})
            epoch = self.pruned_at.epoch
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
        """Without its own step times where its bucket was timed on other devices."""
        if self.trial.is_on_target:
            return times
        return times.model_copy(update={"step_median": 0.0, "step_least": 0.0})

    def _update(self, **changes: Any) -> None:
        self.trial = self.trial.model_copy(update=changes)
