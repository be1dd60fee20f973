"""Trains recipes on one dataset and one device, one after another, each bucket compiled once."""

from __future__ import annotations

import gc
import logging
import math
import time
from collections import OrderedDict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from effv2_tune.errors import TuneError
from effv2_tune.files.checkpoint import Checkpoint, CheckpointFolder
from effv2_tune.host import usable_bytes
from effv2_tune.optimizers.curves import (
    SCHEDULE_HYPERPARAMETERS,
    ScheduleSettings,
    learning_rate_at,
)
from effv2_tune.study.bucket import bucket_key
from effv2_tune.study.recipe import image_changes
from effv2_tune.study.steps import steps_per_epoch
from effv2_tune.training import process_memory
from effv2_tune.training.compiled import CompiledBucket, place_sources
from effv2_tune.training.features.extraction import FeatureExtractor
from effv2_tune.training.inputs.pipeline import image_sources
from effv2_tune.training.inputs.shuffling import epoch_mixing, epoch_order
from effv2_tune.training.machine_lock import MachineLock
from effv2_tune.training.recipe_mapping import optimizer_hyperparameters
from effv2_tune.training.scores import scores_of
from effv2_tune.training.step_timing import WINDOW_SECONDS
from effv2_tune.training.trial_state import TrialProgress, belongs_to, incompatibility, restore
from effv2_tune.workers import MEMORY_SHARE
from effv2_tune.workers.messages import Compiled, EpochEnded, Finished, RungReached

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Literal

    from effv2_tune.data import Dataset
    from effv2_tune.study.bucket import BucketKey
    from effv2_tune.study.recipe import Recipe
    from effv2_tune.study.trial import Scores
    from effv2_tune.training.devices import Device
    from effv2_tune.training.features.extraction import FeatureSet
    from effv2_tune.training.inputs.pipeline import DeviceData
    from effv2_tune.training.scores import Counts
    from effv2_tune.training.trial_state import Provenance, Weights
    from effv2_tune.workers.messages import Train

    Tell = Callable[[Compiled | EpochEnded], None]
    Decide = Callable[[RungReached], bool]

_log = logging.getLogger(__name__)

#: Seconds of training between checkpoints; one is written at least at the end.
CHECKPOINT_SECONDS = 20.0


class Trainer:
    """See :meth:`train_trial`.

    Args:
        dataset: What is trained on.
        device: Where.
        base: Folder that a relative weight file starts from.
        checkpoint_seconds: Seconds of training between checkpoints; 0 writes one after every
            window of steps.
        resident_bytes: How many bytes of images may lie on the device; more are streamed, with
            the same result. A share of the device's memory if left out.
        lock: Between the processes of this machine that train.
        workers: How many have a share of this machine's memory.

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
    ) -> None:
        self.dataset = dataset
        self._facts = dataset.facts()
        self.device = device
        self._base = base
        self._checkpoint_seconds = checkpoint_seconds
        self._lock = lock or MachineLock()
        # Workers share the memory of the host; of a GPU each has all.
        own = device.image_bytes // (workers if device.kind == "cpu" else 1)
        self._limit = own if resident_bytes is None else resident_bytes
        self._most_memory = MEMORY_SHARE * usable_bytes() / workers
        self._features = FeatureExtractor(
            dataset, lambda: self._images, device.environment, lock=self._lock, base=base
        )
        self._buckets: OrderedDict[str, CompiledBucket] = OrderedDict()

    @cached_property
    def _images(self) -> DeviceData:
        """Placed when they are first needed: with cached features they never are."""
        return place_sources(
            image_sources(self.dataset), self.device.placement.backend, self._limit
        )

    @property
    def traces(self) -> int:
        """How often a training step was traced, over all buckets that are kept."""
        return sum(bucket.steps.traces for bucket in self._buckets.values())

    def bucket_key(self, recipe: Recipe) -> BucketKey:
        """The bucket of a recipe here."""
        placement = self.device.placement
        if recipe.precision != "auto":
            placement = placement.model_copy(update={"precision": recipe.precision})
        return bucket_key(recipe, self._facts, placement)

    def train_trial(self, order: Train, *, tell: Tell, decide: Decide) -> Finished:
        """Train a recipe, or go on with one that was interrupted.

        Args:
            order: The recipe, and where its checkpoints lie.
            tell: Hears that the bucket is compiled, and of every epoch.
            decide: Asked at every rung whether the trial goes on.

        Returns:
            What came of it. A recipe that does not fit is ``infeasible``, one whose loss is no
            number ``diverged``; neither is an error.

        Raises:
            TuneError: The recipe cannot be trained on these data, or the checkpoint is another's.
        """
        try:
            return self._attempt(order, tell, decide)
        except Exception as error:
            if not process_memory.is_out_of_memory(error):
                raise
            reason = f"{type(error).__name__}: {str(error).splitlines()[0][:300]}"
        # A bucket that does not even compile is not among those that are kept.
        own = self.bucket_key(order.recipe).digest
        others = any(digest != own for digest in self._buckets)
        self.forget()
        if others:
            _log.warning("Out of memory; trying again without the other compiled buckets.")
            try:
                return self._attempt(order, tell, decide)
            except Exception as error:
                if not process_memory.is_out_of_memory(error):
                    raise
            self.forget()
        return self._finished(
            order, TrialProgress(order.recipe), "infeasible", reason=f"Does not fit: {reason}"
        )

    def test(self, recipe: Recipe, folder: Path) -> Counts:
        """Count over the test images, with the selected weights of a trial that is complete.

        The weights are in the bucket's network afterwards.

        Args:
            recipe: Of the trial.
            folder: Of its checkpoints, the last of which holds the weights.
        """
        kept = CheckpointFolder(folder).latest()
        if kept is None:
            raise TuneError(
                f"The selected weights in {folder} are gone.", hint="Remove the folder, train anew."
            )
        bucket = self.bucket(recipe)
        if bucket.features is not None:
            self._features.add_test(bucket.features, recipe)
            self._let_go_of_images()
            self._place(bucket.features)
        with self._lock.training():
            bucket.steps.finish(kept.arrays)
            return bucket.steps.evaluate("test")

    def forget(self) -> None:
        """Drop all compiled buckets."""
        self._buckets.clear()
        gc.collect()

    def bucket(self, recipe: Recipe) -> CompiledBucket:
        """The compiled bucket of ``recipe``, compiled now if it is new."""
        return self._compiled(recipe)[0]

    def _compiled(self, recipe: Recipe) -> tuple[CompiledBucket, bool]:
        key = self.bucket_key(recipe)
        if key.digest in self._buckets:
            self._buckets.move_to_end(key.digest)
            return self._buckets[key.digest], False
        while self._buckets and process_memory.resident_bytes() > self._most_memory:
            self._buckets.popitem(last=False)
            gc.collect()
        steps_per_epoch(len(self.dataset.train), key.batch)  # refuses before anything is built
        features = self._features_of(recipe, key)
        feeds = self._images if features is None else features.feeds
        with self._lock.training():
            bucket = CompiledBucket(
                recipe, key, self.dataset, feeds, base=self._base, features=features
            )
            bucket.compile(recipe)
        self._buckets[key.digest] = bucket
        return bucket, True

    def _features_of(self, recipe: Recipe, key: BucketKey) -> FeatureSet | None:
        """What the bucket's classifier is trained on, on the device; None where images are."""
        if not key.takes_features:
            return None
        features = self._features.features(recipe, key.precision)
        self._let_go_of_images()
        if not features.feeds:
            self._make_room(features.nbytes)
            self._place(features)
        return features

    def _let_go_of_images(self) -> None:
        """Once their features are there, images need no place, unless a bucket trains on them."""
        if all(bucket.features is not None for bucket in self._buckets.values()):
            self.__dict__.pop("_images", None)

    def _make_room(self, nbytes: int) -> None:
        """Drop buckets until the features of those that stay leave room for so many bytes.

        Features that take more than all of the room are streamed, and need none.
        """
        while self._buckets and nbytes <= self._limit:
            held = [bucket.features for bucket in self._buckets.values()]
            placed = [one for one in held if one is not None and one.nbytes <= self._limit]
            distinct = {id(one): one.nbytes for one in placed}
            if sum(distinct.values()) + nbytes <= self._limit:
                return
            self._buckets.popitem(last=False)
            gc.collect()

    def _place(self, features: FeatureSet) -> None:
        """Put on the device what of the features is not there yet."""
        rows = {name: rows for name, rows in features.rows.items() if name not in features.feeds}
        if rows:
            features.feeds |= place_sources(rows, self.device.placement.backend, self._limit)

    def _attempt(self, order: Train, tell: Tell, decide: Decide) -> Finished:
        started = time.perf_counter()
        folder = CheckpointFolder(order.checkpoint)
        found = folder.latest()
        if found is not None and not belongs_to(found, order.recipe):
            raise TuneError(
                f"The checkpoints in {order.checkpoint} are of another recipe.",
                hint="Remove them, or train into another folder.",
            )
        key = self.bucket_key(order.recipe)
        origin = self._origin(key)
        strange = "" if found is None else incompatibility(found, origin)
        if strange:
            raise TuneError(
                f"The checkpoints in {order.checkpoint} cannot be continued here ({strange}).",
                hint="Go on where they were written, or remove them and begin anew.",
            )
        if found is not None and "finished" in found.facts:
            return Finished.model_validate_json(found.facts["finished"])
        bucket, compiled = self._compiled(order.recipe)
        run = TrialProgress(order.recipe) if found is None else restore(found, order.recipe)
        measured = self._know_step_time(order, bucket, run)
        notes: tuple[str, ...] = ()
        if compiled:
            notes = _notes(order.recipe, bucket)
            run.add_time("build", bucket.build_seconds)
            if bucket.features is not None:
                run.add_time("extract", bucket.features.take_wall_seconds())
            run.add_time("compile", bucket.compile_seconds)
        tell(
            Compiled(
                trial=order.trial,
                bucket=key,
                step_seconds=_known(bucket.step_seconds),
                fresh=compiled or measured,
                extraction_seconds=bucket.extraction_seconds,
                notes=notes,
            )
        )
        bucket.start(order.recipe)
        if found is not None:
            with run.timed("checkpoint"):
                bucket.steps.write(found.arrays)
        attempt = _Attempt(
            self, order, bucket=bucket, key=key, run=run, folder=folder, started=started
        )
        return attempt.train(tell, decide)

    def _origin(self, key: BucketKey) -> Provenance:
        """What an optimizer's state and the place in an epoch mean something with."""
        return {"backend": key.backend, "batch": key.batch, "images": self.dataset.digest}

    def _know_step_time(self, order: Train, bucket: CompiledBucket, run: TrialProgress) -> bool:
        """Take the step time from the order, or measure it; whether it was measured."""
        if order.step_seconds is not None:
            bucket.step_seconds = order.step_seconds
            return False
        if bucket.step_seconds is not None:
            return False
        with run.timed("measure"):
            bucket.measure(order.recipe, self._lock)
        return True

    def _finished(
        self,
        order: Train,
        run: TrialProgress,
        outcome: Literal["complete", "pruned", "diverged", "infeasible"],
        *,
        wall: float = 0.0,
        step_bucket: float = 0.0,
        reason: str = "",
        scores: Scores | None = None,
    ) -> Finished:
        return Finished(
            trial=order.trial,
            outcome=outcome,
            scores=scores,
            selected_epoch=run.best_epoch if scores else None,
            curve=tuple(run.curve),
            times=run.all_times(wall=wall, step_bucket=step_bucket),
            memory_bytes=process_memory.resident_bytes(),
            reason=reason,
            traces=self.traces,
        )


class _Attempt:
    """One attempt at one trial, from where its last checkpoint left it."""

    def __init__(
        self,
        trainer: Trainer,
        order: Train,
        *,
        bucket: CompiledBucket,
        key: BucketKey,
        run: TrialProgress,
        folder: CheckpointFolder,
        started: float,
    ) -> None:
        self._trainer = trainer
        self._order = order
        self._recipe = order.recipe
        self._steps = bucket.steps
        self._step_seconds = _known(bucket.step_seconds)
        self._run = run
        self._folder = folder
        self._origin = trainer._origin(key)  # noqa: SLF001 - the attempt is the trainer's own
        self._lock = trainer._lock  # noqa: SLF001
        self._batch = key.batch
        self._images = len(trainer.dataset.train)
        self._epoch_steps = steps_per_epoch(self._images, key.batch)
        self._window = max(1, math.ceil(WINDOW_SECONDS / self._step_seconds))
        self._started = started
        self._saved = time.perf_counter()
        self._saving_seconds = 0.0

    @property
    def _wall(self) -> float:
        return time.perf_counter() - self._started

    def train(self, tell: Tell, decide: Decide) -> Finished:
        run = self._run
        while True:
            if run.epoch in self._order.rungs and run.step == 0 and not self._goes_on(decide):
                return self._end("pruned", reason=f"Stopped at epoch {run.epoch}: others do better")
            if run.epoch == self._recipe.epochs:
                return self._complete()
            if not self._train_epoch():
                reason = f"The loss was no number in epoch {run.epoch + 1}"
                return self._end("diverged", reason=reason)
            tell(EpochEnded(trial=self._order.trial, epoch=run.curve[-1], times=self._times()))
            self._save_if_due()

    def _goes_on(self, decide: Decide) -> bool:
        validation = self._run.curve[-1].validation
        return decide(
            RungReached(
                trial=self._order.trial,
                rung=self._order.rungs.index(self._run.epoch),
                epoch=self._run.epoch,
                quality=validation.value_of(self._recipe.quality),
            )
        )

    def _train_epoch(self) -> bool:
        """Train and evaluate one epoch, or what is left of it; whether its numbers are numbers."""
        run = self._run
        self._begin_epoch()
        while run.step < self._epoch_steps:
            with self._lock.training():
                before = time.perf_counter()
                sums = self._steps.run(run.step, min(self._window, self._epoch_steps - run.step))
                seconds = time.perf_counter() - before
            run.count_window(sums, seconds)
            if not math.isfinite(sums.loss):
                return False
            if run.step < self._epoch_steps:
                self._save_if_due()
        with run.timed("evaluate"), self._lock.training():
            counts = self._steps.evaluate("validation")
        if not math.isfinite(counts.loss_sum):
            return False
        run.end_epoch(scores_of(counts), batch=self._batch, learning_rate=self._learning_rate())
        if self._recipe.select != "last" and run.selects_newest:
            run.select(self._steps.evaluated_weights())
        return True

    def _begin_epoch(self) -> None:
        recipe, epoch = self._recipe, self._run.epoch
        self._steps.begin_epoch(
            epoch_order(recipe.seed, epoch, images=self._images, batch=self._batch),
            epoch_mixing(
                recipe.seed,
                epoch,
                steps=self._epoch_steps,
                mixup=recipe.mixup,
                cutmix=recipe.cutmix,
            ),
        )

    def _learning_rate(self) -> float:
        """Of the last step of the present epoch."""
        hyperparameters = optimizer_hyperparameters(
            self._recipe, images=self._images, batch=self._batch
        )
        kind = self._recipe.schedule
        settings = ScheduleSettings(
            kind, {name: hyperparameters[name] for name in SCHEDULE_HYPERPARAMETERS[kind]}
        )
        last = (self._run.epoch + 1) * self._epoch_steps - 1
        return float(learning_rate_at(settings, last))

    def _save_if_due(self) -> None:
        # A large network on a slow disk is saved less often: a twentieth of the time is enough.
        patience = self._trainer._checkpoint_seconds * max(1.0, self._saving_seconds)  # noqa: SLF001
        before = time.perf_counter()
        if before - self._saved < patience:
            return
        with self._run.timed("checkpoint"):
            step = self._run.epoch * self._epoch_steps + self._run.step
            state = self._steps.read()
            self._folder.save(step, self._run.checkpoint(state, self._origin, wall=self._wall))
        self._saved = time.perf_counter()
        self._saving_seconds = self._saved - before

    def _complete(self) -> Finished:
        run = self._run
        if self._recipe.select == "last":
            run.select(self._steps.evaluated_weights())
        with self._lock.training():
            self._steps.finish(run.best)
        scores = run.curve[run.best_epoch - 1].validation
        finished = self._end("complete", scores=scores)
        self._keep_weights(finished, run.best)
        return finished

    def _keep_weights(self, finished: Finished, weights: Weights) -> None:
        """Leave one last, small checkpoint: the selected weights, and what came of the trial."""
        facts = {
            "recipe": self._recipe.model_dump_json(),
            "origin": self._origin,
            "finished": finished.model_dump_json(),
        }
        last = CheckpointFolder(self._order.checkpoint, kept=1)
        last.save(self._recipe.epochs * self._epoch_steps + 1, Checkpoint(weights, facts))

    def _end(
        self,
        outcome: Literal["complete", "pruned", "diverged"],
        *,
        reason: str = "",
        scores: Scores | None = None,
    ) -> Finished:
        if outcome != "complete":
            self._folder.clear()
        return self._trainer._finished(  # noqa: SLF001
            self._order,
            self._run,
            outcome,
            wall=self._wall,
            step_bucket=self._step_seconds,
            reason=reason,
            scores=scores,
        )

    def _times(self) -> Any:
        return self._run.all_times(wall=self._wall, step_bucket=self._step_seconds)


def _known(step_seconds: float | None) -> float:
    if step_seconds is None:
        raise RuntimeError("The step time is measured before it is asked for.")
    return step_seconds


def _notes(recipe: Recipe, bucket: CompiledBucket) -> tuple[str, ...]:
    """What is worth saying of a bucket that was compiled just now."""
    if bucket.features is not None:
        return bucket.features.take_notes()
    changes = ", ".join(image_changes(recipe))
    if recipe.backbone == "frozen" and recipe.features == "auto" and changes:
        sentence = (
            f"features cannot be cached while images change ({changes}): the frozen backbone "
            "runs in every step"
        )
        return (sentence,)
    return ()
