"""Trains trials one after another in one worker, for the loop of another library."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from effv2_tune.errors import EXIT_FAILED, TuneError
from effv2_tune.search.running_trial import RunningTrial
from effv2_tune.search.storage.recorded_times import missing_time, recorded_study
from effv2_tune.search.worker_deaths import MAX_KILLS, infeasible_reason, repeated_kills
from effv2_tune.search.workload import BucketTime, bucket_of, mean_time, seconds_of
from effv2_tune.study.trial import Trial
from effv2_tune.workers.device_choice import choose_device
from effv2_tune.workers.launch import WorkerSpec
from effv2_tune.workers.local import local_pool
from effv2_tune.workers.messages import Compiled, Finished, Ready
from effv2_tune.workers.pool import Job, WorkerExited, checkpoint_folder, messages

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from effv2_tune.study.bucket import BucketKey
    from effv2_tune.study.plan import StudyPlan
    from effv2_tune.study.recipe import Recipe
    from effv2_tune.study.space import Config
    from effv2_tune.workers.supervised_pool import SupervisedPool


class WorkerLostError(TuneError):
    """Several workers exited during one trial, which is the fault of its config."""


@dataclass(frozen=True)
class Trained:
    """The outcome of a config.

    Attributes:
        recipe: Of the config.
        finished: The last message of the worker.
        values: Quality and training seconds of the final training; None unless complete.
    """

    recipe: Recipe
    finished: Finished
    values: tuple[float, float] | None


class TrainerClient:
    """Trains configs of a study in one worker process, which caches compiled buckets.

    The worker starts with the first trial. Close it, or use it as a context manager, to end it. It
    has the devices of the study's target, so that batches and training seconds are those of the
    target; else ``devices_per_worker``, or all.

    Args:
        plan: Of the data, recipes and target; its budget, workers and halving are not used.
        base: Folder that the plan's relative paths start from.
        folder: For the worker's log, and the checkpoints of trials.
        times: Known step times of buckets, by digest.
    """

    def __init__(
        self,
        plan: StudyPlan,
        *,
        base: Path,
        folder: Path,
        times: Mapping[str, BucketTime] | None = None,
    ) -> None:
        self._plan = plan.model_copy(update={"workers": 1})
        self._base = base
        self._folder = folder
        self._pool: SupervisedPool | None = None
        self._times = dict(times or {})
        if plan.clock != "measured":
            self._times |= recorded_study(plan.clock, base=base).bucket_times
        self.ready: Ready | None = None

    @property
    def logs(self) -> Path:
        """Folder of the worker's log."""
        return self._folder / "logs"

    @property
    def times(self) -> Mapping[str, BucketTime]:
        """The step time of each bucket that was trained so far, by its digest."""
        return self._times

    def train(self, number: int, config: Config) -> Trained:
        """Train a config to its end, from its newest checkpoint; replaces workers that exit.

        Args:
            number: Of the trial; part of the name of its folder of checkpoints, which is kept.
            config: One value for each parameter.

        Raises:
            WorkerLostError: Its workers crashed repeatedly, or the host memory ran out repeatedly.
            UnavailableError: A disk, file or network has failed, or others kill the workers again
                and again.
            TuneError: The worker refuses to work, or a recorded clock has no step time for the
                bucket of the config.
        """
        recipe = self._plan.recipe_for(config)
        finished = self._train(number, config, recipe)
        values = None if finished.scores is None else self._values(recipe, finished)
        return Trained(recipe, finished, values)

    def forget(self, number: int) -> None:
        """Remove a trial's checkpoints."""
        shutil.rmtree(checkpoint_folder(self._folder, number), ignore_errors=True)

    def close(self) -> None:
        """End the worker."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    def __enter__(self) -> Self:
        """The worker starts with the first trial."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the worker."""
        self.close()

    def start(self) -> None:
        """Start the worker now, unless it has been started.

        Raises:
            TuneError: The device or the data cannot be used.
        """
        self._working_pool()

    def _values(self, recipe: Recipe, finished: Finished) -> tuple[float, float]:
        cost = self._cost(recipe)
        if self.ready is None or cost is None or finished.scores is None:
            raise AssertionError("a bucket is timed before its first trial ends")
        quality = finished.scores.value_of(self._plan.quality)
        return quality, seconds_of(recipe, self.ready, cost)

    def _train(self, number: int, config: Config, recipe: Recipe) -> Finished:
        pool = self._working_pool()
        self._check_time(recipe)
        record = Trial(number=number, state="running", config=config, recipe=recipe)
        *earlier, last = [
            None if time is None else time.step_seconds for time in self._stage_times(recipe)
        ] or [None]
        job = Job(record, recipe.epochs, (), last, stage_seconds=tuple(earlier))
        pool.assign(0, job)
        running = RunningTrial(record)
        for message in messages(pool):
            if isinstance(message, Compiled):
                # The first measurement counts, so that all trials of a bucket have the same time.
                self._times.setdefault(message.bucket.digest, BucketTime.of(message))
            elif isinstance(message, Finished):
                return message
            elif isinstance(message, WorkerExited):
                running.count_death(message, now=0.0)
                if reason := infeasible_reason(running.trial, message.cause):
                    raise WorkerLostError(
                        f"Trial {number} {reason}.", hint=message.log_tail, exit_code=EXIT_FAILED
                    )
                if running.kills >= MAX_KILLS:
                    raise repeated_kills(running.trial, message)
                self._await_ready(pool)
                pool.assign(0, job)
        raise AssertionError("the messages of a worker have no end")

    def _check_time(self, recipe: Recipe) -> None:
        """Refuse a bucket for which a recorded clock has no step time."""
        clock = self._plan.clock
        if clock == "measured":
            return
        for bucket in self._buckets(recipe):
            if bucket.digest not in self._times:
                raise TuneError(f"There is {missing_time(bucket, clock)}.")

    def _cost(self, recipe: Recipe) -> BucketTime | None:
        """The step time over all stages, once that of each is known."""
        times = self._stage_times(recipe)
        known = [time for time in times if time is not None]
        return mean_time(known, recipe.stage_epochs) if known and len(known) == len(times) else None

    def _stage_times(self, recipe: Recipe) -> list[BucketTime | None]:
        """The step time of the bucket of each stage, where known."""
        return [self._times.get(bucket.digest) for bucket in self._buckets(recipe)]

    def _buckets(self, recipe: Recipe) -> list[BucketKey]:
        """The buckets of the stages of the recipe, once the worker is ready."""
        if self.ready is None:
            return []
        return [bucket_of(stage, self.ready) for stage in recipe.stage_recipes()]

    def _working_pool(self) -> SupervisedPool:
        """The pool of one worker, started if need be."""
        if self._pool is None:
            self._pool = local_pool(self._worker_spec(), count=1, out=self._folder)
            self._pool.start()
            try:
                self._await_ready(self._pool)
            except BaseException:
                self.close()
                raise
        return self._pool

    def _worker_spec(self) -> WorkerSpec:
        hardware = choose_device(self._plan)
        plan, target = self._plan, self._plan.target_devices
        if target is not None:
            # All of a trial happens on the target: nothing is left to be timed elsewhere.
            plan = plan.model_copy(update={"target": None, "devices_per_worker": target})
        return WorkerSpec.of(
            plan,
            base=self._base,
            hardware=hardware.kind,
            backend=hardware.backend,
            workers=1,
            devices=hardware.devices,
            devices_per_chip=hardware.devices_per_chip,
        )

    def _await_ready(self, pool: SupervisedPool) -> None:
        self.ready = next(m for m in messages(pool) if isinstance(m, Ready))
