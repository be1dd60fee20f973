"""Follows the events of a study: what each worker does, the best trial, the time left."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from pydantic import ValidationError

from effv2_tune.pareto import Objective
from effv2_tune.report.quantities import human_seconds, label_of
from effv2_tune.search import events as happened
from effv2_tune.session.live.predictions import HOUR, Prediction, predict_or_not
from effv2_tune.session.live.time_left import Progress, seconds_left
from effv2_tune.study.bucket import Placement, bucket_key

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from effv2_tune.search.events import Event
    from effv2_tune.search.storage.snapshot import StudyRecord
    from effv2_tune.study import StudyPlan
    from effv2_tune.study.bucket import BucketKey
    from effv2_tune.study.trial import Trial


_MOST_DURATIONS = 100


@dataclass(frozen=True)
class Work:
    """What a worker does now.

    Attributes:
        worker: Its number.
        text: In words: ``compiling b0@32 batch 32, about 30 s``.
        since: When it began with the trial, on the clock of the events.
        trial: The trial; None while the worker starts.
        done: Epochs trained.
        total: Epochs of the trial, on all folds; None while the worker starts.
    """

    worker: int
    text: str
    since: float
    trial: int | None = None
    done: int = 0
    total: int | None = None


class StudyFollower:
    """The state of a study by its events so far.

    Args:
        plan: The study.
        used_seconds: How long it ran before this run.
        best: Number and quality of the best complete trial of earlier runs; None without one.
        predict: Predicts the trials with the figures of ``plan``; None for no prediction.

    Attributes:
        plan: As given.
        ended: Trials that ended, those of earlier runs included.
        limit: The largest number of trials; None for no limit.
        work: What each worker does, by its number.
        best: Number and quality of the best complete trial; None without one.
        is_confirming: Whether replicates are trained.
    """

    def __init__(
        self,
        plan: StudyPlan,
        *,
        used_seconds: float = 0.0,
        best: tuple[int, float] | None = None,
        predict: Callable[[happened.WorkerReady], Prediction] | None = None,
    ) -> None:
        self.plan = plan
        self.ended = 0
        self.limit = plan.trials
        self.work: dict[int, Work] = {}
        self.best = best
        self.is_confirming = False
        self._used_seconds = used_seconds
        self._predict = predict
        self._prediction = Prediction()
        self._ready: dict[int, happened.WorkerReady] = {}
        self._compiled: set[tuple[int, str]] = set()
        # The newest ones: studies run for weeks, and machines change their speed.
        self._durations: deque[float] = deque(maxlen=_MOST_DURATIONS)
        self._compile_seconds: deque[float] = deque(maxlen=_MOST_DURATIONS)
        self._began: float | None = None

    def follow(self, event: Event, at: float) -> None:
        """Take an event into account.

        Args:
            event: The next one.
            at: When it happened, in seconds on any clock.
        """
        if isinstance(event, happened.StudyStarted | happened.ConfirmStarted):
            self._start(event, at)
        elif isinstance(event, happened.WorkerReady):
            self._open_worker(event)
        elif isinstance(event, happened.TrialStarted):
            self._start_trial(event, at)
        elif isinstance(event, happened.BucketCompiled):
            self._compile(event, at)
        elif isinstance(event, happened.EpochTrained):
            self._train(event)
        elif isinstance(event, happened.TrialEnded):
            self._end(event.trial, at)
        elif isinstance(event, happened.TrialPaused | happened.TrialInterrupted):
            self._leave(event.trial)
        elif isinstance(event, happened.WorkerDied | happened.WorkerReplaced):
            text = "restarting: loading backend and images"
            self.work[event.worker] = Work(event.worker, text, at)
        elif isinstance(event, happened.StudyEnded):
            self.work.clear()

    def seconds_left(self, at: float) -> float | None:
        """Seconds until the budget is spent; None where nothing is known of it.

        Args:
            at: Now, on the clock of the events.
        """
        left = None if self.limit is None else max(self.limit - self.ended, 0)
        training = (work for work in self.work.values() if work.trial is not None)
        progress = Progress(
            trials_left=left,
            budget_left=self._budget_left(at),
            workers=max(len(self._ready), self.plan.worker_count),
            running=tuple(at - work.since for work in training),
            ended=tuple(self._durations),
        )
        return seconds_left(progress, self._prediction.trial_seconds)

    def best_text(self) -> str:
        """The best quality of the run in words; empty before a trial is complete."""
        if self.best is None:
            return ""
        return f"best {label_of(self.plan.quality)} {self.best[1]:.4f}"

    def work_of(self, trial: int) -> Work | None:
        """What is done with a trial now; None where nothing is."""
        return next((work for work in self.work.values() if work.trial == trial), None)

    def _start(self, event: happened.StudyStarted | happened.ConfirmStarted, at: float) -> None:
        self.ended, self._began = event.known, at
        self.is_confirming = isinstance(event, happened.ConfirmStarted)
        self.limit = self.plan.trials
        if isinstance(event, happened.ConfirmStarted):
            self.limit = event.limit
        backend = {"tensorflow": "TensorFlow", "jax": "JAX"}.get(self.plan.backend, "backend")
        text = f"loading {backend} and images"
        self.work = {number: Work(number, text, at) for number in range(self.plan.worker_count)}
        self._ready.clear()
        self._compiled.clear()

    def _open_worker(self, event: happened.WorkerReady) -> None:
        self.work.pop(event.worker, None)
        self._compiled = {one for one in self._compiled if one[0] != event.worker}
        if not self._ready and self._predict is not None:
            self._prediction = self._predict(event)
        self._ready[event.worker] = event

    def _start_trial(self, event: happened.TrialStarted, at: float) -> None:
        total = event.epochs * (self.plan.data.folds or 1)
        work = Work(event.worker, "preparing", at, event.trial, event.resumed_after, total)
        bucket = self._bucket(event)
        if bucket is not None and (event.worker, bucket.digest) not in self._compiled:
            work = replace(work, text=self._compiling_text(bucket))
        self.work[event.worker] = work

    def _bucket(self, event: happened.TrialStarted) -> BucketKey | None:
        """What the trial is compiled for; None where its worker or its config is not known."""
        ready = self._ready.get(event.worker)
        if ready is None:
            return None
        where = ready.environment
        placement = Placement(
            backend=where.backend,
            device_kind=where.device_kind,
            device_count=where.device_count,
            precision=where.precision,
        )
        try:
            recipe = self.plan.recipe_for(event.config)
        except ValidationError:
            return None  # a trial of an earlier search space
        return bucket_key(recipe, ready.data, placement, target_devices=self.plan.target_devices)

    def _compiling_text(self, bucket: BucketKey) -> str:
        seconds = self._prediction.start_seconds(bucket)
        if seconds is None and self._compile_seconds:
            seconds = sum(self._compile_seconds) / len(self._compile_seconds)
        about = "" if seconds is None else f", about {human_seconds(max(seconds, 1.0))}"
        return f"compiling {bucket.label}{about}"

    def _compile(self, event: happened.BucketCompiled, at: float) -> None:
        work = self.work_of(event.trial)
        if work is None:
            return
        if event.fresh:
            self._compile_seconds.append(at - work.since)
        ready = self._ready.get(work.worker)
        if event.bucket is not None and ready is not None:
            # The event names the bucket where it is timed; it is compiled where the worker is.
            count = ready.environment.device_count
            here = event.bucket.model_copy(update={"device_count": count})
            self._compiled.add((work.worker, here.digest))
        self.work[work.worker] = replace(work, text="training")

    def _train(self, event: happened.EpochTrained) -> None:
        work = self.work_of(event.trial)
        if work is None:
            return
        quality = event.epoch.scores.value_of(self.plan.quality)
        total = event.epochs * (self.plan.data.folds or 1)
        done = event.fold * event.epochs + event.epoch.epoch
        text = f"{label_of(self.plan.quality)} {quality:.4f}"
        self.work[work.worker] = replace(work, text=text, done=done, total=total)

    def _end(self, trial: Trial, at: float) -> None:
        self.ended += 1
        work = self.work_of(trial.number)
        if work is not None:
            self._durations.append(at - work.since)
        self._leave(trial.number)
        if trial.measurement is None or trial.state != "complete":
            return
        cost = Objective(self.plan.directions[0]).quality_cost
        quality = trial.measurement.quality
        if self.best is None or cost(quality) < cost(self.best[1]):
            self.best = (trial.number, quality)

    def _leave(self, trial: int) -> None:
        work = self.work_of(trial)
        if work is not None:
            del self.work[work.worker]

    def _budget_left(self, at: float) -> float | None:
        """Seconds of the limit of time that ends the study first."""
        if self._began is None or self.is_confirming:
            return None
        devices = sum(one.environment.device_count for one in self._ready.values()) or 1
        hours = [self.plan.hours]
        if self.plan.accelerator_hours is not None:
            hours.append(self.plan.accelerator_hours / devices)
        limits = [limit * HOUR for limit in hours if limit is not None]
        used = self._used_seconds + at - self._began
        return min(limits) - used if limits else None


def follower_of(
    plan: StudyPlan,
    earlier: StudyRecord | None,
    *,
    out: Path,
    used_seconds: float | None = None,
) -> StudyFollower:
    """A follower that predicts with the figures of ``plan``, and knows the runs before.

    Args:
        plan: The study.
        earlier: Its earlier runs; None without any.
        out: Its folder.
        used_seconds: How long these ran; as recorded if left out.
    """
    predict = partial(predict_or_not, plan, out)
    if earlier is None:
        return StudyFollower(plan, predict=predict)
    cost = Objective(plan.directions[0]).quality_cost
    found = [
        (trial.number, trial.measurement.quality)
        for trial in earlier.trials
        if trial.state == "complete" and trial.measurement is not None
    ]
    best = min(found, key=lambda one: cost(one[1]), default=None)
    used = earlier.seconds if used_seconds is None else used_seconds
    return StudyFollower(plan, used_seconds=used, best=best, predict=predict)
