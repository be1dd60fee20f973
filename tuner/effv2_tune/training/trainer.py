"""Trains recipes on one dataset and one device, compiling each bucket once."""

from __future__ import annotations

import functools
import logging
import operator
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from effv2_tune.errors import TuneError
from effv2_tune.files.checkpoint import CheckpointFolder
from effv2_tune.host import usable_bytes
from effv2_tune.optimizers.range_test import has_diverged
from effv2_tune.study.batches import steps_per_epoch
from effv2_tune.study.bucket import bucket_key
from effv2_tune.study.recipe import uncacheable
from effv2_tune.study.trial import Times
from effv2_tune.training import process_memory
from effv2_tune.training.attempt import (
    TrainingContext,
    TrainingStoppedError,
    TrialAttempt,
    never_stop,
)
from effv2_tune.training.compiled import CompiledBucket
from effv2_tune.training.features.extraction import ExtractionContext, FeatureExtractor
from effv2_tune.training.machine_lock import MachineLock
from effv2_tune.training.residency import DeviceResidency
from effv2_tune.training.stages import TrialStages
from effv2_tune.training.trial_state import TrialProgress, newest_checkpoint, restore
from effv2_tune.workers import MEMORY_SHARE
from effv2_tune.workers.messages import Compiled, Finished, RangeTested, Remeasured

if TYPE_CHECKING:
    from collections.abc import Callable

    from effv2_tune.data import Dataset
    from effv2_tune.study.bucket import BucketKey
    from effv2_tune.study.recipe import Recipe
    from effv2_tune.training.attempt import OnEvent, ShouldContinue, ShouldStop
    from effv2_tune.training.devices import Device
    from effv2_tune.training.features.feature_set import FeatureSet
    from effv2_tune.training.scores import Counts
    from effv2_tune.workers.messages import RangeTest, Remeasure, Train

_log = logging.getLogger(__name__)

#: Seconds of training between checkpoints; one is written at least at the end.
CHECKPOINT_SECONDS = 20.0


class Trainer:
    """See :meth:`train_trial`.

    Args:
        dataset: Of all trials.
        device: On which they are trained.
        base: Folder that a relative weight file starts from.
        checkpoint_seconds: Seconds of training between checkpoints; 0 writes one after every
            window of steps.
        resident_bytes: How many bytes of images may be resident on the device; more are streamed,
            with the same result. A share of the device's memory if left out.
        lock: Between the processes of this machine that train.
        workers: How many share this machine's memory.
        target_devices: Devices that batches per device are meant for; its own if left out.

    Attributes:
        dataset: As given.
        device: As given.
    """

    def __init__(
        self,
        dataset: Dataset,
        device: Device,
        *,
        base: Path = Path(),
        checkpoint_seconds: float = CHECKPOINT_SECONDS,
        resident_bytes: int | None = None,
        lock: MachineLock | None = None,
        workers: int = 1,
        target_devices: int | None = None,
    ) -> None:
        self.dataset = dataset
        self._target_devices = target_devices
        self._facts = dataset.facts()
        self.device = device
        self._base = base
        self._lock = lock or MachineLock()
        self._reference_seconds: float | None = None
        self._context = TrainingContext(
            dataset, self._lock, checkpoint_seconds, count_traces=lambda: self.traces
        )
        if resident_bytes is None:
            # Workers share the memory of the host; a GPU belongs to one worker.
            resident_bytes = device.image_bytes // (workers if device.kind == "cpu" else 1)
        self._residency = DeviceResidency(dataset, device.backend, resident_bytes)
        self._memory_limit = MEMORY_SHARE * usable_bytes() / workers
        self._features = FeatureExtractor(
            ExtractionContext(dataset, self._residency.images, device, self._lock, base)
        )

    @property
    def traces(self) -> int:
        """How often a training step was traced, over all buckets that are kept."""
        return sum(bucket.steps.traces for bucket in self._residency.buckets.values())

    def bucket_key(self, recipe: Recipe) -> BucketKey:
        """The bucket of a recipe on this device."""
        placement = self.device.placement
        if recipe.precision != "auto":
            placement = placement.model_copy(update={"precision": recipe.precision})
        return bucket_key(recipe, self._facts, placement, target_devices=self._target_devices)

    def train_trial(
        self,
        request: Train,
        *,
        on_event: OnEvent,
        should_continue: ShouldContinue,
        should_stop: ShouldStop = never_stop,
    ) -> Finished:
        """Train a recipe, or resume an interrupted trial.

        Args:
            request: The recipe, and the folder of its checkpoints.
            on_event: Called when the bucket is compiled, and after every epoch.
            should_continue: Called at every rung; decides whether the trial is continued.
            should_stop: Called between windows of steps, with the longest time in seconds that it
                has taken to stop so far; whether to write a checkpoint and stop. Also between
                blocks of features, which are kept.

        Returns:
            The result. A recipe that does not fit is ``infeasible``, one whose loss becomes NaN
            ``diverged``; neither is an error.

        Raises:
            TuneError: The recipe cannot be trained on these data, or the checkpoints are those of
                another one.
            TrainingStoppedError: ``should_stop`` returned True, or ``should_continue`` raised it.
            TrialPausedError: ``should_continue`` raised it.
        """
        try:
            return self._attempt(request, on_event, should_continue, should_stop)
        except TrainingStoppedError:
            raise
        except Exception as error:
            reason = process_memory.out_of_memory_reason(error)
        # A bucket that does not even compile is not among those that are kept.
        digest = self.bucket_key(request.recipe).digest
        others = any(kept != digest for kept in self._residency.buckets)
        self.forget()
        if others:
            _log.warning("Out of memory; retrying without the other compiled buckets.")
            try:
                return self._attempt(request, on_event, should_continue, should_stop)
            except Exception as error:
                if not process_memory.is_out_of_memory(error):
                    raise
            self.forget()
        progress, reason = TrialProgress(request.recipe), f"Does not fit: {reason}"
        return self._context.finished(request, progress, "infeasible", times=Times(), reason=reason)

    def test(self, recipe: Recipe, folder: Path) -> Counts:
        """Count over the test images: the sum of :meth:`test_by_class`."""
        return functools.reduce(operator.add, self.test_by_class(recipe, folder).values())

    def test_by_class(self, recipe: Recipe, folder: Path) -> dict[int, Counts]:
        """Count over the test images of each class, with the selected weights of a complete trial.

        ``predicted`` of a class is its row of the confusion matrix: no evaluation but that of the
        validation is compiled for it. The weights are in the bucket's network afterwards.

        Args:
            recipe: Of the trial.
            folder: Of its checkpoints, the last of which holds the weights.

        Returns:
            By the position of the class; those without test images are left out.
        """
        checkpoint = CheckpointFolder(folder).latest()
        if checkpoint is None:
            raise TuneError(
                f"The selected weights in {folder} are missing.",
                hint="Remove the folder and train again.",
            )
        bucket = self.bucket(recipe)
        if bucket.features is not None:
            self._features.add_test(bucket.features, recipe)
            self._residency.place(bucket.features)
        with self._lock.training():
            bucket.steps.finish(checkpoint.arrays)
            labels = self.dataset.test.labels
            return {
                int(label): bucket.steps.evaluate(
                    "test", np.flatnonzero(labels == label).astype(np.int32)
                )
                for label in np.unique(labels)
            }

    def extraction_seconds(self, recipe: Recipe) -> float:
        """Time of one pass of a frozen backbone over the training images; 0 where none is frozen.

        The classifier alone, in the first epochs of a recipe, is trained on such features, too.
        """
        first = recipe.stage_recipes()[0]
        key = self.bucket_key(first)
        if not key.takes_features:
            return 0.0
        return self._features.features(first, key.precision).extraction_seconds

    def forget(self) -> None:
        """Drop all compiled buckets."""
        self._residency.evict_all()

    def bucket(self, recipe: Recipe) -> CompiledBucket:
        """The compiled bucket of ``recipe``, compiled now if it is new."""
        return self._compiled(recipe)[0]

    def _compiled(
        self, recipe: Recipe, before_block: Callable[[], None] = lambda: None
    ) -> tuple[CompiledBucket, bool]:
        """The bucket of a recipe, and whether it was compiled now.

        Args:
            recipe: Whose.
            before_block: Called between blocks of features, where they have to be computed.
        """
        key = self.bucket_key(recipe)
        buckets = self._residency.buckets
        if key.digest in buckets:
            buckets.move_to_end(key.digest)
            return buckets[key.digest], False
        self._residency.evict_above(self._memory_limit)
        steps_per_epoch(len(self.dataset.train), key.batch)  # refuses before anything is built
        features = self._features_of(recipe, key, before_block)
        data = self._residency.images() if features is None else features.device_data
        with self._lock.training():
            bucket = CompiledBucket(
                recipe,
                key,
                self.dataset,
                data,
                backend=self.device.backend,
                base=self._base,
                features=features,
            )
            bucket.compile(recipe)
        buckets[key.digest] = bucket
        return bucket, True

    def _features_of(
        self, recipe: Recipe, key: BucketKey, before_block: Callable[[], None]
    ) -> FeatureSet | None:
        """The features on the device that the bucket trains on; None where it takes images."""
        if not key.takes_features:
            return None
        features = self._features.features(recipe, key.precision, before_block)
        self._residency.place(features)
        return features

    def _attempt(
        self,
        request: Train,
        on_event: OnEvent,
        should_continue: ShouldContinue,
        should_stop: ShouldStop,
    ) -> Finished:
        started = time.perf_counter()
        recipe = request.recipe
        key = self.bucket_key(recipe)
        checkpoint = newest_checkpoint(request.checkpoint, recipe, self._context.provenance(key))
        if checkpoint is not None and "finished" in checkpoint.facts:
            return Finished.model_validate_json(checkpoint.facts["finished"])

        def stop_extraction() -> None:
            if should_stop(0.0):
                raise TrainingStoppedError(CheckpointFolder(request.checkpoint).newest_step())

        progress = TrialProgress(recipe) if checkpoint is None else restore(checkpoint, recipe)
        stages = TrialStages(request)

        def open_stage(number: int) -> CompiledBucket:
            stage = stages.recipes[number]
            bucket, compiled = self._compiled(stage, stop_extraction)
            bucket.step_seconds = stages.seconds[number] or bucket.step_seconds
            measured = bucket.step_seconds is None
            if measured:
                with progress.timed("measure"):
                    self._measure(stage, bucket, request.reference_seconds, should_stop)
            stages.seconds[number] = bucket.measured_step_seconds
            if compiled:
                bucket.charge(progress)
            on_event(
                Compiled(
                    trial=request.trial,
                    bucket=self.bucket_key(stage),
                    step_seconds=bucket.measured_step_seconds,
                    fresh=compiled or measured,
                    extraction_seconds=bucket.extraction_seconds,
                    notes=(*_notes(recipe, bucket), *self.device.backend.take_notes())
                    if compiled
                    else (),
                    time=bucket.time,
                )
            )
            return bucket

        now = stages.stage_of(progress)
        # At a rung, the seconds of all stages are needed.
        for number in stages.untimed_beside(now):
            open_stage(number)
        bucket = open_stage(now)
        bucket.start(stages.recipes[now])
        if checkpoint is not None and not stages.begins_with_head(progress):
            with progress.timed("checkpoint"):
                bucket.steps.write(checkpoint.arrays)
        progress.in_head = stages.is_head(now)
        attempt = TrialAttempt(
            self._context,
            request,
            stages=stages,
            open_stage=open_stage,
            bucket=bucket,
            key=key,
            progress=progress,
            started=started,
        )
        return attempt.train(on_event, should_continue, should_stop)

    def _measure(
        self,
        recipe: Recipe,
        bucket: CompiledBucket,
        reference_seconds: float | None,
        should_stop: ShouldStop,
    ) -> None:
        """Measure the bucket's step time, with the scale of the study."""
        scale = self._scale(reference_seconds)
        bucket.measure(recipe, self._lock, scale=scale, should_stop=lambda: should_stop(0.0))
        self._keep_scale(bucket)

    def measure_again(self, request: Remeasure, *, should_stop: Callable[[], bool]) -> Remeasured:
        """Measure the step time of a bucket again, compiling it where it is not kept.

        Args:
            request: Any recipe of the bucket.
            should_stop: Ends the wait for a quiet moment.

        Returns:
            The measurement; None in place of it where the bucket does not fit beside the others.
        """
        key, scale = self.bucket_key(request.recipe), self._scale(request.reference_seconds)
        try:
            bucket = self.bucket(request.recipe)
            time = bucket.measure(request.recipe, self._lock, scale=scale, should_stop=should_stop)
        except Exception as error:
            reason = process_memory.out_of_memory_reason(error)
            self.forget()
            return Remeasured(bucket=key, time=None, reason=f"Does not fit: {reason}")
        self._keep_scale(bucket)
        return Remeasured(bucket=key, time=time, extraction_seconds=bucket.extraction_seconds)

    def range_test(self, request: RangeTest) -> RangeTested:
        """Train a new trial whose learning rate is another one in each step, until it diverges.

        Args:
            request: Any recipe of the bucket, and the rates.

        Returns:
            The losses; none, and the reason, where the bucket does not fit or cannot be trained.
        """
        started = time.perf_counter()
        losses: list[float] = []
        key = self.bucket_key(request.recipe)
        try:
            bucket = self.bucket(request.recipe)
            with self._lock.training():
                for loss in bucket.losses_at(request.recipe, request.rates):
                    losses.append(loss)
                    if has_diverged(losses, len(request.rates)):
                        break
        except TuneError as error:
            return RangeTested(bucket=key, reason=str(error).replace("\n", " "))
        except Exception as error:
            reason = process_memory.out_of_memory_reason(error)
            self.forget()
            return RangeTested(bucket=key, reason=f"Does not fit: {reason}")
        seconds = time.perf_counter() - started
        return RangeTested(bucket=key, losses=tuple(losses), seconds=seconds)

    def _scale(self, study: float | None) -> float | None:
        """The scale of the study; until it has one, that of this process, which may be too slow."""
        return self._reference_seconds if study is None else study

    def _keep_scale(self, bucket: CompiledBucket) -> None:
        if bucket.time is not None:
            now = bucket.time.reference_seconds
            self._reference_seconds = min(self._reference_seconds or now, now)


def _notes(recipe: Recipe, bucket: CompiledBucket) -> tuple[str, ...]:
    """What the user is informed of after a bucket was compiled."""
    if bucket.features is not None:
        return bucket.features.take_notes()
    reason = uncacheable(recipe)
    if recipe.backbone == "frozen" and recipe.features == "auto" and reason:
        return (f"features cannot be cached {reason}: the frozen backbone runs in every step",)
    return ()
