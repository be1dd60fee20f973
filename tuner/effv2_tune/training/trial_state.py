"""Holds the progress of a trial, saves it in a checkpoint and restores it."""

from __future__ import annotations

import math
import statistics
import time
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from effv2_tune.errors import TuneError
from effv2_tune.files.checkpoint import Checkpoint, CheckpointFolder
from effv2_tune.study.recipe import Recipe, quality_direction
from effv2_tune.study.trial import Epoch, Scores, Times
from effv2_tune.training.scores import Counts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from effv2_tune.training.backends.base import Sums

Weights = dict[str, np.ndarray[Any, Any]]
Provenance = dict[str, str | int]
"""What a checkpoint depends on beside its recipe, by the name that messages use."""

#: Windows kept of a trial: of more, every second one is dropped; and of the undisturbed ones.
_MOST_WINDOWS, _MOST_UNDISTURBED = 256, 64

_SELECTED = "selected/"
_FIRST_FOLD = "first_fold/"


@dataclass(frozen=True)
class FirstFold:
    """What a trial on several folds keeps of its first one.

    Attributes:
        curve: Of its training.
        best_epoch: Epoch of the selected weights.
        best: Those weights.
    """

    curve: list[Epoch]
    best_epoch: int
    best: Weights


@dataclass
class TrialProgress:
    """A trial's progress; all of it is in its checkpoint.

    Attributes:
        recipe: Of the trial.
        epoch: Completed epochs.
        step: Completed steps of the present epoch.
        in_head: Whether the state of the steps is that of the classifier alone, with more layers
            to be trained after it.
        loss: Sum of the present epoch's step losses.
        correct: Training images of the present epoch that were classified correctly.
        seconds: Time of the present epoch's steps.
        step_times: Seconds per step of the present epoch's windows.
        epoch_step_times: Median of these, for each completed epoch.
        least_step_time: The least of all; 0 before the first window.
        windows: How many there were.
        works: Processor seconds per step, of every ``2^n``-th window; empty where the device is not
            the processors.
        undisturbed: Seconds per step of windows in which others used hardly any of them.
        references: Times of the reference kernel between epochs, in seconds.
        curve: One entry for each completed epoch.
        best_epoch: Epoch of the weights that are selected so far, from 1; 0 for none.
        best: Those weights; empty where the last ones are selected.
        times: Seconds by the field of `Times`, over all attempts.
        out_of_fold: With folds, the counts over the validation images of each completed one, as
            plain data; the fields above are those of the fold in training.
        first_fold: The curve, the best epoch and its weights of the first fold, once that is
            complete: the trial's own.
    """

    recipe: Recipe
    epoch: int = 0
    step: int = 0
    in_head: bool = False
    loss: float = 0.0
    correct: float = 0.0
    seconds: float = 0.0
    step_times: list[float] = field(default_factory=list)
    epoch_step_times: list[float] = field(default_factory=list)
    least_step_time: float = 0.0
    windows: int = 0
    works: list[float] = field(default_factory=list)
    undisturbed: list[float] = field(default_factory=list)
    references: list[float] = field(default_factory=list)
    curve: list[Epoch] = field(default_factory=list)
    best_epoch: int = 0
    best: Weights = field(default_factory=dict)
    times: dict[str, float] = field(default_factory=dict)
    out_of_fold: list[dict[str, Any]] = field(default_factory=list)
    first_fold: FirstFold | None = None

    @property
    def fold(self) -> int:
        """The fold in training, from 0."""
        return len(self.out_of_fold)

    def end_fold(self, counts: Counts) -> Counts:
        """Close a fold whose best weights have been selected; the next one starts anew.

        Args:
            counts: Over the validation images of the fold.

        Returns:
            Those over the validation images of all folds so far.
        """
        self.out_of_fold.append(counts.as_data())
        if self.first_fold is None:
            self.first_fold = FirstFold(self.curve, self.best_epoch, self.best)
        self.epoch, self.curve, self.best_epoch, self.best = 0, [], 0, {}
        return reduce(add, map(Counts.from_data, self.out_of_fold))

    def return_to_first_fold(self) -> None:
        """Make curve and selected weights those of the first fold again, after the last one."""
        if self.first_fold is None:
            raise RuntimeError("The first fold is not complete.")
        first = self.first_fold
        self.curve, self.best_epoch, self.best = first.curve, first.best_epoch, first.best

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Add the time that passes to ``times``."""
        before = time.perf_counter()
        try:
            yield
        finally:
            self.add_time(what, time.perf_counter() - before)

    def add_time(self, what: str, seconds: float) -> None:
        """Add to one entry of ``times``."""
        self.times[what] = self.times.get(what, 0.0) + seconds

    def count_window(self, sums: Sums, seconds: float) -> None:
        """Add a window of training steps."""
        self.step += sums.steps
        self.loss += sums.loss
        self.correct += sums.correct
        self.seconds += seconds
        self.step_times.append(seconds / sums.steps)
        self.least_step_time = min(self.least_step_time or math.inf, self.step_times[-1])
        self.add_time("train", seconds)

    def count_work(self, seconds: float, *, is_undisturbed: bool) -> None:
        """Add the processor time of the newest window.

        Args:
            seconds: Of a step, over all processors.
            is_undisturbed: Whether others used hardly any.
        """
        if len(self.works) == _MOST_WINDOWS:
            self.works = self.works[::2]
        if self.windows % 2 ** (self.windows // _MOST_WINDOWS).bit_length() == 0:
            self.works.append(seconds)
        self.windows += 1
        if is_undisturbed and len(self.undisturbed) < _MOST_UNDISTURBED:
            self.undisturbed.append(self.step_times[-1])

    def end_epoch(
        self,
        validation: Scores | None,
        standard_errors: Scores | None,
        *,
        batch: int,
        learning_rate: float,
    ) -> Epoch:
        """Close the present epoch; its scores, if it was validated, become the newest."""
        epoch = Epoch(
            epoch=self.epoch + 1,
            learning_rate=learning_rate,
            train_loss=self.loss / self.step,
            train_accuracy=self.correct / (self.step * batch),
            validation=validation,
            standard_errors=standard_errors,
            seconds=self.seconds,
        )
        self.curve.append(epoch)
        self.epoch_step_times.append(statistics.median(self.step_times))
        self.epoch, self.step = self.epoch + 1, 0
        self.loss, self.correct, self.seconds, self.step_times = 0.0, 0.0, 0.0, []
        return epoch

    @property
    def selects_newest(self) -> bool:
        """Whether the newest epoch's weights are the ones that the recipe selects so far.

        Those of an epoch before the last stage never are: its images are smaller.
        """
        first = self.recipe.epochs - self.recipe.stage_epochs[-1] + 1
        if self.epoch < first:
            return False
        if self.recipe.select == "last" or not self.best_epoch:
            return True
        newest, best = self.curve[-1].scores, self.curve[self.best_epoch - 1].scores
        name = "loss" if self.recipe.select == "val_loss" else self.recipe.quality
        now, before = newest.value_of(name), best.value_of(name)
        return bool(now > before if quality_direction(name) == "maximize" else now < before)

    def select(self, weights: Weights) -> None:
        """Keep these weights as those of the newest epoch."""
        self.best_epoch, self.best = self.epoch, weights

    def all_times(self, *, wall: float, step_bucket: float, speed: float) -> Times:
        """The times so far.

        Args:
            wall: That of this attempt alone.
            step_bucket: The step time of the bucket.
            speed: Of the machine, relative to the one that the bucket is timed for.
        """
        medians = self.epoch_step_times or self.step_times
        return Times(
            **(self.times | {"wall": self.times.get("wall", 0.0) + wall}),
            step_median=statistics.median(medians) if medians else 0.0,
            step_least=self.least_step_time,
            step_work=statistics.median(self.works) if self.works else 0.0,
            step_undisturbed=statistics.median(self.undisturbed) if self.undisturbed else 0.0,
            undisturbed=len(self.undisturbed),
            speed=speed,
            step_bucket=step_bucket,
        )

    def checkpoint(
        self, state: Mapping[str, np.ndarray[Any, Any]], provenance: Provenance, *, wall: float
    ) -> Checkpoint:
        """A checkpoint of it, with the state of the steps and its provenance."""
        best = {_SELECTED + name: array for name, array in self.best.items()}
        facts = {field.name: getattr(self, field.name) for field in fields(self)}
        del facts["best"], facts["first_fold"]
        first = self.first_fold
        if first is not None:
            best |= {_FIRST_FOLD + name: array for name, array in first.best.items()}
            facts["first_fold"] = {
                "curve": [epoch.model_dump_json() for epoch in first.curve],
                "best_epoch": first.best_epoch,
            }
        facts |= {
            "recipe": self.recipe.model_dump_json(),
            "origin": dict(provenance),
            "curve": [epoch.model_dump_json() for epoch in self.curve],
            "times": self.times | {"wall": self.times.get("wall", 0.0) + wall},
        }
        return Checkpoint({**state, **best}, facts)


def newest_checkpoint(folder: Path, recipe: Recipe, provenance: Provenance) -> Checkpoint | None:
    """The newest checkpoint in a folder; None where there is none.

    Raises:
        TuneError: It is one of another recipe, or cannot be resumed with this provenance.
    """
    checkpoint = CheckpointFolder(folder).latest()
    if checkpoint is None:
        return None
    if not belongs_to(checkpoint, recipe):
        raise TuneError(
            f"The checkpoints in {folder} are of another recipe.",
            hint="Remove them, or train into another folder.",
        )
    difference = incompatibility(checkpoint, provenance)
    if difference:
        raise TuneError(
            f"The checkpoints in {folder} cannot be resumed here ({difference}).",
            hint="Resume them where they were written, or remove them to start over.",
        )
    return checkpoint


def restore(checkpoint: Checkpoint, recipe: Recipe) -> TrialProgress:
    """The progress that a checkpoint holds; its other arrays are the state of the steps."""
    facts: dict[str, Any] = dict(checkpoint.facts)
    del facts["recipe"]
    facts.pop("origin", None)
    facts["curve"] = [Epoch.model_validate_json(text) for text in facts["curve"]]
    if "first_fold" in facts:
        first = facts["first_fold"]
        curve = [Epoch.model_validate_json(text) for text in first["curve"]]
        weights = _with_prefix(_FIRST_FOLD, checkpoint)
        facts["first_fold"] = FirstFold(curve, first["best_epoch"], weights)
    return TrialProgress(recipe=recipe, best=_with_prefix(_SELECTED, checkpoint), **facts)


def _with_prefix(prefix: str, checkpoint: Checkpoint) -> Weights:
    return {
        name.removeprefix(prefix): array
        for name, array in checkpoint.arrays.items()
        if name.startswith(prefix)
    }


def belongs_to(checkpoint: Checkpoint, recipe: Recipe) -> bool:
    """Whether a checkpoint was written by a trial of this recipe.

    A setting that was added after the checkpoint was written counts as at its default.
    """
    try:
        return Recipe.model_validate_json(checkpoint.facts["recipe"]) == recipe
    except ValidationError:
        return False


def incompatibility(checkpoint: Checkpoint, provenance: Provenance) -> str:
    """How the provenance of a checkpoint differs from this one; empty where it does not.

    What an earlier version did not record counts as equal.
    """
    before = checkpoint.facts.get("origin", {})
    return ", ".join(
        f"{name}: {before[name]} then, {now} now"
        for name, now in provenance.items()
        if name in before and before[name] != now
    )
