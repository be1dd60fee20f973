"""Trains one trial from its last checkpoint to its end."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from effv2_tune.files.checkpoint import Checkpoint, CheckpointFolder
from effv2_tune.heartbeat import advance
from effv2_tune.optimizers.curves import learning_rate_at
from effv2_tune.study.batches import steps_per_epoch
from effv2_tune.training import process_memory
from effv2_tune.training.inputs.shuffling import epoch_inputs
from effv2_tune.training.machine_load import ProcessorTimes
from effv2_tune.training.recipe_mapping import schedule_settings
from effv2_tune.training.scores import scores_of, standard_errors_of
from effv2_tune.training.step_timing import OTHERS_SHARE, WINDOW_SECONDS
from effv2_tune.workers.messages import Compiled, EpochEnded, Finished, RungReached

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal

    from effv2_tune.data import Dataset
    from effv2_tune.study.bucket import BucketKey
    from effv2_tune.study.trial import Scores, Times
    from effv2_tune.training.backends.base import Sums
    from effv2_tune.training.compiled import CompiledBucket
    from effv2_tune.training.machine_lock import MachineLock
    from effv2_tune.training.scores import Counts
    from effv2_tune.training.stages import TrialStages
    from effv2_tune.training.trial_state import Provenance, TrialProgress, Weights
    from effv2_tune.workers.messages import Train

    OnEvent = Callable[[Compiled | EpochEnded], None]
    ShouldContinue = Callable[[RungReached], bool]
    ShouldStop = Callable[[float], bool]


class TrainingStoppedError(Exception):
    """A trial was stopped on request, after its checkpoint was written.

    Attributes:
        step: Of the checkpoint.
        times: Where the time went, over all attempts; None where training has not begun.
    """

    def __init__(self, step: int = 0, times: Times | None = None) -> None:
        super().__init__(step)
        self.step = step
        self.times = times


class TrialPausedError(TrainingStoppedError):
    """A trial was paused at a rung; its worker can train another one."""


def never_stop(_seconds: float) -> bool:
    """Train to the end: no trial is stopped."""
    return False


#: Seconds of training between two timings of the reference kernel, at least; and the share of the
#: training time that they take, at most.
_REFERENCE_INTERVAL = 3.0
_REFERENCE_SHARE = 0.03


@dataclass(frozen=True)
class TrainingContext:
    """What all trials of a process have in common.

    Attributes:
        dataset: Of all trials.
        lock: Between the processes of this machine that train.
        checkpoint_seconds: Seconds of training between checkpoints.
        count_traces: How often a training step was traced, over all buckets.
    """

    dataset: Dataset
    lock: MachineLock
    checkpoint_seconds: float
    count_traces: Callable[[], int]

    def provenance(self, key: BucketKey) -> Provenance:
        """What an optimizer's state and a position in an epoch depend on."""
        return {"backend": key.backend, "batch": key.batch, "images": self.dataset.digest}

    def finished(
        self,
        request: Train,
        progress: TrialProgress,
        outcome: Literal["complete", "pruned", "diverged", "infeasible"],
        *,
        times: Times,
        reason: str = "",
        scores: Scores | None = None,
        standard_errors: Scores | None = None,
    ) -> Finished:
        """The result of a trial."""
        process_memory.return_freed_memory()
        return Finished(
            trial=request.trial,
            outcome=outcome,
            scores=scores,
            standard_errors=standard_errors,
            selected_epoch=progress.best_epoch if outcome == "complete" else None,
            curve=tuple(progress.curve),
            times=times,
            memory_bytes=process_memory.resident_bytes(),
            reason=reason,
            traces=self.count_traces(),
        )


class TrialAttempt:
    """One attempt at one trial.

    Args:
        context: Of the process.
        request: The trial.
        stages: Of the trial, each with its step time.
        open_stage: The bucket of a stage, compiled if need be.
        bucket: Of the present stage, with the trial's state in its steps.
        key: Of the bucket of the last stage.
        progress: Of the trial so far.
        started: When the attempt began, on `time.perf_counter`.
    """

    def __init__(
        self,
        context: TrainingContext,
        request: Train,
        *,
        stages: TrialStages,
        open_stage: Callable[[int], CompiledBucket],
        bucket: CompiledBucket,
        key: BucketKey,
        progress: TrialProgress,
        started: float,
    ) -> None:
        self._context = context
        self._lock = context.lock
        self._request = request
        self._recipe = request.recipe
        self._stages = stages
        self._open_stage = open_stage
        self._stage = stages.stage_of(progress)
        self._use(bucket)
        self._progress = progress
        self._folder = CheckpointFolder(request.checkpoint)
        self._provenance = context.provenance(key)
        self._batch = key.batch
        self._images = len(context.dataset.train)
        self._folds = context.dataset.folds if request.all_folds else 1
        self._epoch_steps = steps_per_epoch(self._images, key.batch)
        self._started = started
        self._saved = time.perf_counter()
        self._saving_seconds = 0.0
        self._should_stop: ShouldStop = never_stop
        self._polled = self._saved
        self._longest_wait = self._longest_save = 0.0
        self._compare_at = progress.times.get("train", 0.0) + _REFERENCE_INTERVAL

    def _use(self, bucket: CompiledBucket) -> None:
        """Train with a bucket from now on."""
        self._bucket, self._steps = bucket, bucket.steps
        self._window = max(1, math.ceil(WINDOW_SECONDS / bucket.measured_step_seconds))

    def _enter_stage(self) -> None:
        """Take the state into the bucket of the present epoch's stage, if that is another one."""
        stage = self._stages.at(self._progress.epoch)
        if stage == self._stage:
            return
        self._save()  # compiling can take long, or fail
        progress, recipe = self._progress, self._stages.recipes[stage]
        state = self._steps.evaluated_weights() if progress.in_head else self._steps.read()
        self._use(self._open_stage(stage))
        if self._stages.is_head(stage):  # of the next fold
            self._bucket.start(recipe)
        elif progress.in_head:
            self._bucket.start(recipe, state)
        else:
            self._bucket.start(recipe)
            self._steps.write(state)
        progress.in_head = self._stages.is_head(stage)
        self._stage = stage
        self._polled = time.perf_counter()

    @property
    def _wall(self) -> float:
        return time.perf_counter() - self._started

    def train(
        self, on_event: OnEvent, should_continue: ShouldContinue, should_stop: ShouldStop
    ) -> Finished:
        """Train to the end; arguments as of `Trainer.train_trial`."""
        self._should_stop = should_stop
        self._polled = time.perf_counter()
        try:
            return self._train(on_event, should_continue)
        except TrainingStoppedError as stopped:
            self._save()
            raise type(stopped)(self._step, self._times()) from None

    def _train(self, on_event: OnEvent, should_continue: ShouldContinue) -> Finished:
        progress, rungs = self._progress, self._request.rungs
        while True:
            epoch = progress.epoch
            if epoch in rungs and progress.step == 0 and progress.fold == 0:
                if not should_continue(self._rung()):
                    return self._end("pruned", reason=f"Pruned at epoch {epoch}: others do better")
                self._polled = time.perf_counter()  # waiting for a decision can be interrupted
            self._stop_if_requested()
            if epoch == self._recipe.epochs:
                finished = self._end_training()
                if finished is not None:
                    return finished
                continue
            self._enter_stage()
            if not self._train_epoch():
                where = f"epoch {epoch + 1}"
                if progress.fold:
                    where += f" of fold {progress.fold + 1}"
                    progress.return_to_first_fold()
                return self._end("diverged", reason=f"The loss became NaN in {where}")
            on_event(
                EpochEnded(
                    trial=self._request.trial,
                    epoch=progress.curve[-1],
                    times=self._times(),
                    stop_seconds=self._stop_seconds,
                    fold=progress.fold,
                )
            )
            self._save_if_due()

    def _rung(self) -> RungReached:
        epoch = self._progress.epoch
        return RungReached(
            trial=self._request.trial,
            rung=self._request.rungs.index(epoch),
            epoch=epoch,
            quality=self._progress.curve[-1].scores.value_of(self._recipe.quality),
            curve=tuple(self._progress.curve),
        )

    def _train_epoch(self) -> bool:
        """Train and evaluate the rest of one epoch; whether its losses are finite."""
        progress = self._progress
        recipe, epoch = self._stages.recipes[self._stage], self._stages.own_epoch(progress.epoch)
        inputs = epoch_inputs(recipe, epoch, images=self._images, batch=self._batch)
        if progress.fold:  # the first one's images are the first of the pool
            images = self._context.dataset.fold(progress.fold).train
            inputs = inputs._replace(order=images[inputs.order])
        self._steps.begin_epoch(*inputs)
        while progress.step < self._epoch_steps:
            steps = min(self._window, self._epoch_steps - progress.step)
            sums = self._train_window(steps)
            advance()
            if not math.isfinite(sums.loss):
                return False
            if progress.step < self._epoch_steps:
                self._stop_if_requested()
                self._save_if_due()
        self._compare_speed()
        counts = self._validate() if self._bucket.is_validated else None
        if counts is not None and not math.isfinite(counts.loss_sum):
            return False
        progress.end_epoch(
            None if counts is None else scores_of(counts),
            None if counts is None else standard_errors_of(counts),
            batch=self._batch,
            learning_rate=self._learning_rate(),
        )
        if self._recipe.select != "last" and progress.selects_newest:
            progress.select(self._steps.evaluated_weights())
        return True

    def _validate(self) -> Counts:
        with self._progress.timed("evaluate"), self._lock.training():
            return self._bucket.validate(self._progress.fold)

    def _train_window(self, steps: int) -> Sums:
        """Train some steps, and add them to the progress."""
        progress = self._progress
        with self._lock.training():
            load, before = ProcessorTimes.read(), time.perf_counter()
            sums = self._steps.run(progress.step, steps)
            seconds = time.perf_counter() - before
            later = ProcessorTimes.read()
        progress.count_window(sums, seconds)
        if self._bucket.is_on_cpu:
            work = later.own - load.own
            others = load.share_of_others(later, seconds)
            progress.count_work(work / sums.steps, is_undisturbed=others <= OTHERS_SHARE)
        return sums

    def _compare_speed(self) -> None:
        """Time the reference kernel, if enough was trained since the last time."""
        trained = self._progress.times["train"]
        if trained < self._compare_at:
            return
        before = time.perf_counter()
        with self._lock.training():
            self._progress.references.append(self._bucket.reference_seconds())
        took = time.perf_counter() - before
        self._compare_at = trained + max(_REFERENCE_INTERVAL, took / _REFERENCE_SHARE)

    def _learning_rate(self) -> float:
        """Of the last step of the present epoch."""
        recipe = self._stages.recipes[self._stage]
        settings = schedule_settings(recipe, images=self._images, batch=self._batch)
        last = (self._stages.own_epoch(self._progress.epoch) + 1) * self._epoch_steps - 1
        return float(learning_rate_at(settings, last))

    @property
    def _step(self) -> int:
        """Steps since the beginning of the trial."""
        epochs = self._progress.fold * self._recipe.epochs + self._progress.epoch
        return epochs * self._epoch_steps + self._progress.step

    @property
    def _stop_seconds(self) -> float:
        """See :class:`EpochEnded`."""
        return self._longest_wait + self._longest_save

    def _stop_if_requested(self) -> None:
        """Leave the training where its state is consistent, if somebody asks for it."""
        now = time.perf_counter()
        self._longest_wait = max(self._longest_wait, now - self._polled)
        if self._should_stop(self._stop_seconds):
            raise TrainingStoppedError
        self._polled = now

    def _save_if_due(self) -> None:
        # A large network on a slow disk is saved less often: a twentieth of the time is enough.
        interval = self._context.checkpoint_seconds * max(1.0, self._saving_seconds)
        if time.perf_counter() - self._saved >= interval:
            self._save()

    def _save(self) -> None:
        before = time.perf_counter()
        with self._progress.timed("checkpoint"):
            state = self._steps.read()
            checkpoint = self._progress.checkpoint(state, self._provenance, wall=self._wall)
            self._folder.save(self._step, checkpoint)
        self._saved = time.perf_counter()
        self._saving_seconds = self._saved - before
        self._longest_save = max(self._longest_save, self._saving_seconds)

    def _end_training(self) -> Finished | None:
        """Select the weights; the result of the trial, or None where another fold follows."""
        progress = self._progress
        if self._recipe.select == "last":
            progress.select(self._steps.evaluated_weights())
        with self._lock.training():
            self._steps.finish(progress.best)
        if self._folds == 1:
            selected = progress.curve[progress.best_epoch - 1]
            return self._complete(selected.validation, selected.standard_errors)
        out_of_fold = progress.end_fold(self._validate())
        if progress.fold < self._folds:
            self._bucket.start(self._recipe)
            self._save()
            return None
        progress.return_to_first_fold()
        with self._lock.training():
            self._steps.finish(progress.best)
        return self._complete(scores_of(out_of_fold), standard_errors_of(out_of_fold))

    def _complete(self, scores: Scores | None, standard_errors: Scores | None) -> Finished:
        finished = self._end("complete", scores=scores, standard_errors=standard_errors)
        self._save_selected(finished, self._progress.best)
        return finished

    def _save_selected(self, finished: Finished, weights: Weights) -> None:
        """Leave one last, small checkpoint: the selected weights and the trial's result."""
        facts = {
            "recipe": self._recipe.model_dump_json(),
            "origin": self._provenance,
            "finished": finished.model_dump_json(),
        }
        last = CheckpointFolder(self._request.checkpoint, kept=1)
        steps = self._folds * self._recipe.epochs * self._epoch_steps
        last.save(steps + 1, Checkpoint(weights, facts))

    def _end(
        self,
        outcome: Literal["complete", "pruned", "diverged"],
        *,
        reason: str = "",
        scores: Scores | None = None,
        standard_errors: Scores | None = None,
    ) -> Finished:
        if outcome != "complete":
            self._folder.clear()
        return self._context.finished(
            self._request,
            self._progress,
            outcome,
            times=self._times(),
            reason=reason,
            scores=scores,
            standard_errors=standard_errors,
        )

    def _times(self) -> Times:
        measured = self._bucket.time
        scale = self._request.reference_seconds
        if scale is None and measured is not None:
            scale = measured.reference_seconds
        times = self._progress.all_times(
            wall=self._wall,
            step_bucket=self._stages.step_seconds,
            speed=self._bucket.relative_speed(self._progress.references, scale),
        )
        # Its own step times are those of several buckets.
        return times.without_own_steps() if self._stages.are_several else times
