"""Runs the final training of a recipe and evaluates it on the test images."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from functools import reduce
from operator import add
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from pydantic import ValidationError

from effv2_tune.data import load_dataset
from effv2_tune.errors import EXIT_FAILED, TuneError
from effv2_tune.files.atomic import replacing, write_text
from effv2_tune.host import choose_hardware, probe_host, probe_packages
from effv2_tune.network import stock_model
from effv2_tune.optimizers.curves import learning_rate_at
from effv2_tune.pareto.promise import FinalResult, compare
from effv2_tune.study.batches import planned_steps, steps_per_epoch
from effv2_tune.study.model_facts import ModelFacts, add_facts, class_lines
from effv2_tune.study.recipe import Recipe
from effv2_tune.study.training_run import (
    CLASSES_FILE,
    CONFUSION_FILE,
    HISTORY_FILE,
    METRICS_FILE,
    MODEL_FILE,
    RECIPE_FILE,
    SCHEDULE_FILE,
    confusion_text,
)
from effv2_tune.study.trial import Environment, Scores
from effv2_tune.training.attempt import never_stop
from effv2_tune.training.devices import open_device
from effv2_tune.training.recipe_mapping import schedule_settings
from effv2_tune.training.scores import scores_of, standard_errors_of
from effv2_tune.training.stages import TrialStages
from effv2_tune.training.trainer import Trainer
from effv2_tune.workers.messages import Noted, Train

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from effv2_tune.host import Kind
    from effv2_tune.study.training_run import Provenance
    from effv2_tune.training.scores import Counts
    from effv2_tune.workers.messages import Compiled, EpochEnded, Finished

#: Learning rates in the file of the schedule: of an epoch, and about so many of all.
_MOST_EPOCH_RATES, _MOST_RATES = 40, 1000
#: Characters of a digest in messages.
_SHOWN = 12


@dataclass(frozen=True)
class TrainResult:
    """The result of a final training.

    Attributes:
        out: The folder that holds ``history.csv``, ``schedule.csv``, ``confusion.csv``,
            ``metrics.json``, ``model.keras`` and ``classes.txt``.
        test: Scores on the test images.
        metrics: The content of ``metrics.json``.
    """

    out: Path
    test: Scores
    metrics: dict[str, Any]

    @property
    def model_path(self) -> Path:
        """The Keras model: stock layers, uint8 images of any size in, probabilities out."""
        return self.out / MODEL_FILE


class FinalTrainings:
    """Final trainings in one process; what one has loaded and compiled, the next ones use.

    Args:
        base: Folder that relative paths of the recipes start from.
        hardware: The kind of device to use; the best of this machine if left out.
        data_digest: Expected digest of images and splits; not checked if left out.
    """

    def __init__(
        self,
        *,
        base: str | Path = ".",
        hardware: Kind | None = None,
        data_digest: str | None = None,
    ) -> None:
        self._base = Path(base)
        self._hardware = hardware
        self._data_digest = data_digest
        self._data: tuple[Any, ...] | None = None
        self._trainer: Trainer | None = None

    def train(
        self,
        recipe: Recipe,
        *,
        out: str | Path,
        on_event: Callable[[Compiled | EpochEnded | Noted], None] | None = None,
        provenance: Provenance | None = None,
        should_stop: Callable[[float], bool] = never_stop,
    ) -> TrainResult:
        """Run the final training of a recipe, or resume it; see :func:`train`."""
        out = Path(out)
        previous = _previous_result(recipe, out)
        if previous is not None:
            return previous
        trainer = self._opened(recipe)
        out.mkdir(parents=True, exist_ok=True)
        write_text(out / RECIPE_FILE, recipe.model_dump_json(indent=2) + "\n")
        notify = on_event or (lambda _: None)
        finished = _trained(trainer, recipe, out, notify, should_stop)
        by_class = trainer.test_by_class(recipe, out / "checkpoints")
        counts = reduce(add, by_class.values())
        bucket = trainer.bucket(recipe)
        notes = () if bucket.features is None else bucket.features.take_notes()
        if notes:
            notify(Noted(notes=notes))
        metrics = _metrics(finished, counts, trainer, recipe)
        if provenance is not None:
            metrics["trial"] = {"study": provenance.study, "number": provenance.trial}
            metrics["promise"] = _compared(provenance, recipe, metrics, trainer)
        classes = _save_model(trainer, recipe, out)
        metrics["classes"] = list(classes)
        _write_history(finished, out / HISTORY_FILE)
        _write_schedule(trainer, recipe, out / SCHEDULE_FILE)
        write_text(out / CONFUSION_FILE, confusion_text(_confusion(by_class), classes))
        # Last: metrics mark a finished run.
        write_text(out / METRICS_FILE, json.dumps(metrics, indent=2) + "\n")
        return TrainResult(out, scores_of(counts), metrics)

    def _opened(self, recipe: Recipe) -> Trainer:
        """The trainer of these data; that of other data, or another precision, is dropped."""
        data = (recipe.data, recipe.precision, _storage_size(recipe))
        if self._trainer is None or self._data != data:
            self._trainer = None  # before another one takes memory
            self._trainer = _open_trainer(
                recipe, base=self._base, hardware=self._hardware, data_digest=self._data_digest
            )
            self._data = data
        return self._trainer


def train(
    recipe: Recipe,
    *,
    out: str | Path,
    base: str | Path = ".",
    hardware: Kind | None = None,
    on_event: Callable[[Compiled | EpochEnded | Noted], None] | None = None,
    data_digest: str | None = None,
    provenance: Provenance | None = None,
    should_stop: Callable[[float], bool] = never_stop,
) -> TrainResult:
    """Run the final training of a recipe, or resume it.

    The test images are used once, at the end, with the weights that the recipe selects. The Keras
    backend is that of this process (KERAS_BACKEND).

    Args:
        recipe: With the data that it is trained on.
        out: Folder for ``history.csv`` (the learning curve), ``schedule.csv`` (the learning rate
            within epochs), ``confusion.csv`` (test images by class and predicted class),
            ``metrics.json`` (test accuracy and all other figures), ``model.keras`` (stock Keras
            layers; takes uint8 images of any size) and ``classes.txt`` (the classes in the order of
            its outputs); and for the checkpoints from which an interrupted run is resumed.
        base: Folder that relative paths of the recipe start from.
        hardware: The kind of device to use; the best of this machine if left out.
        on_event: Called after compilation, after every epoch, and with notes for the user.
        data_digest: Expected digest of images and splits; not checked if left out.
        provenance: Where the recipe was found; ``metrics.json`` then says, under ``promise``,
            whether quality and seconds are those that the search expected.
        should_stop: Called between windows of steps, with the longest time in seconds that it has
            taken so far to write a checkpoint and stop; whether to do so now.

    Returns:
        The test scores and the paths of all files. A finished run is not repeated.

    Raises:
        TuneError: The device, the data or the weights are not available; ``data_digest`` differs;
            ``out`` holds a run of another recipe; or the recipe diverged or does not fit the
            device.
        TrainingStoppedError: ``should_stop`` returned True; the same call resumes.
    """
    trainings = FinalTrainings(base=base, hardware=hardware, data_digest=data_digest)
    return trainings.train(
        recipe, out=out, on_event=on_event, provenance=provenance, should_stop=should_stop
    )


def _trained(
    trainer: Trainer,
    recipe: Recipe,
    out: Path,
    notify: Callable[[Compiled | EpochEnded | Noted], None],
    should_stop: Callable[[float], bool],
) -> Finished:
    """Train to the end; raises as :func:`train`."""
    request = Train(
        trial=0, recipe=recipe, rungs=(), step_seconds=None, checkpoint=out / "checkpoints"
    )
    finished = trainer.train_trial(
        request, on_event=notify, should_continue=lambda _: True, should_stop=should_stop
    )
    if finished.outcome != "complete":
        raise TuneError(
            f"The training ended {finished.outcome}: {finished.reason}.",
            hint="Use another recipe: a lower learning rate if the loss became NaN, a smaller "
            "batch or resolution if it ran out of memory.",
            exit_code=EXIT_FAILED,
        )
    return finished


def _previous_result(recipe: Recipe, out: Path) -> TrainResult | None:
    """The result of a finished run of this recipe in ``out``; None where there is none.

    Raises:
        TuneError: ``out`` belongs to a run of another recipe.
    """
    written = out / RECIPE_FILE
    if not written.exists():
        return None
    if not _is_recipe(written.read_text(encoding="utf-8"), recipe):
        raise TuneError(
            f"The folder {out} holds a training run of another recipe.",
            hint="Choose another folder with --out, or remove this one.",
        )
    if not (out / METRICS_FILE).exists():
        return None
    metrics = json.loads((out / METRICS_FILE).read_text(encoding="utf-8"))
    return TrainResult(out, Scores.model_validate(metrics["test"]), metrics)


def _is_recipe(text: str, recipe: Recipe) -> bool:
    """Whether a file holds a recipe; settings that are newer than it have their defaults."""
    try:
        return Recipe.model_validate_json(text) == recipe
    except ValidationError:
        return False


def _storage_size(recipe: Recipe) -> int:
    """Side in pixels at which images of mixed sizes are stored."""
    return max(recipe.pixels, recipe.evaluation_pixels)


def _open_trainer(
    recipe: Recipe, *, base: Path, hardware: Kind | None, data_digest: str | None
) -> Trainer:
    backend = keras.backend.backend()
    if hardware is None:
        hardware = choose_hardware("auto", backend, probe_host(), probe_packages()).kind
    dataset = load_dataset(recipe.data, base=base, storage_size=_storage_size(recipe))
    digest = dataset.split_digest or dataset.digest
    if data_digest is not None and digest != data_digest:
        raise TuneError(
            f"These are not the images that the recipe was found on: their digest is "
            f"{digest[:_SHOWN]}..., expected {data_digest[:_SHOWN]}....",
            hint="Restore the images and the 'data:' section of the study; or, to train on these "
            "images, remove the 'provenance:' section from the file.",
        )
    device = open_device(backend, hardware=hardware, precision=recipe.precision)
    return Trainer(dataset, device, base=base)


def _metrics(
    finished: Finished, counts: Counts, trainer: Trainer, recipe: Recipe
) -> dict[str, Any]:
    test, test_errors = scores_of(counts), standard_errors_of(counts)
    validation, errors = finished.scores, finished.standard_errors
    device, dataset = trainer.device, trainer.dataset
    steps = planned_steps(recipe, dataset.facts(), device.placement.device_count)
    extraction_seconds, time = trainer.extraction_seconds(recipe), trainer.bucket(recipe).time
    return {
        "test": test.model_dump(),
        "test_count": counts.images,
        "test_correct": int(counts.correct.sum()),
        "test_standard_error": test_errors.accuracy,
        "test_standard_errors": test_errors.model_dump(),
        "validation": None if validation is None else validation.model_dump(),
        "validation_count": len(dataset.validation),
        "validation_standard_errors": None if errors is None else errors.model_dump(),
        "selected_epoch": finished.selected_epoch,
        "train_seconds": steps * finished.times.step_bucket + extraction_seconds,
        "step_time": None if time is None else time.model_dump(),
        "steps": steps,
        "times": finished.times.model_dump(),
        "environment": device.environment.model_dump(),
        "extraction_seconds": extraction_seconds,
        "data_digest": dataset.split_digest or dataset.digest,
        "trained_on": recipe.data.train_on,
        "train_count": len(dataset.train),
    }


def _compared(
    provenance: Provenance, recipe: Recipe, metrics: Mapping[str, Any], trainer: Trainer
) -> dict[str, Any]:
    """Whether the promise of the search was kept, as plain data."""
    validation = metrics["validation"]
    time, errors = metrics["step_time"], metrics["validation_standard_errors"]
    has_folds = recipe.data.folds is not None
    result = FinalResult(
        validation=None if validation is None else Scores.model_validate(validation),
        validation_errors=Scores.model_validate(errors) if has_folds else None,
        test=Scores.model_validate(metrics["test"]),
        test_errors=Scores.model_validate(metrics["test_standard_errors"]),
        train_seconds=metrics["train_seconds"],
        seconds_error=0.0 if time is None else (time["high"] - time["low"]) / 2 / time["seconds"],
        environment=Environment.model_validate(metrics["environment"]),
        steps_ratio=_steps_ratio(trainer, recipe),
    )
    return compare(provenance, recipe.quality, result).model_dump()


def _steps_ratio(trainer: Trainer, recipe: Recipe) -> float:
    """Steps of an epoch relative to those without the validation images."""
    images, batch = len(trainer.dataset.train), trainer.bucket_key(recipe).batch
    return (images // batch) / max(1, (images - trainer.dataset.added) // batch)


def _save_model(trainer: Trainer, recipe: Recipe, out: Path) -> tuple[str, ...]:
    """Save the model in stock layers with its facts, atomically; returns the classes."""
    dataset, bucket, path = trainer.dataset, trainer.bucket(recipe), out / MODEL_FILE
    facts = ModelFacts.of(
        recipe,
        classes=dataset.classes,
        image_shape=dataset.facts().image_shape,
        data_digest=dataset.digest,
    )
    model = stock_model(
        *bucket.whole_network(recipe),
        image_shape=facts.image_shape,
        resolution=facts.resolution,
        scaling=bucket.scaling,
        interpolation=recipe.resize,
        fit=facts.fit,
        evaluation_flip=recipe.evaluation_flip,
    )
    with replacing(path, suffix=path.suffix) as file:
        model.save(file.name)
        add_facts(file.name, facts)
    write_text(out / CLASSES_FILE, class_lines(facts.classes))
    return facts.classes


def _confusion(by_class: Mapping[int, Counts]) -> dict[tuple[int, int], int]:
    """Test images by the positions of their class and of the predicted one."""
    return {
        (actual, predicted): int(images)
        for actual, counts in by_class.items()
        for predicted, images in enumerate(counts.predicted)
    }


def _write_schedule(trainer: Trainer, recipe: Recipe, path: Path) -> None:
    """Write the learning rate at some steps of each epoch; epochs are counted as they pass."""
    request = Train(trial=0, recipe=recipe, rungs=(), step_seconds=None, checkpoint=path)
    stages, images = TrialStages(request), len(trainer.dataset.train)
    batch = trainer.bucket_key(recipe).batch
    steps = steps_per_epoch(images, batch)
    shown = max(1, min(steps, _MOST_EPOCH_RATES, _MOST_RATES // recipe.epochs))
    chosen = np.unique(np.linspace(0, steps - 1, shown + 1).round())
    text = io.StringIO(newline="")
    table = csv.writer(text)
    table.writerow(["epoch", "learning_rate"])
    for epoch in range(recipe.epochs):
        settings = schedule_settings(stages.recipes[stages.at(epoch)], images=images, batch=batch)
        rates = learning_rate_at(settings, stages.own_epoch(epoch) * steps + chosen)
        for step, rate in zip(chosen, rates, strict=True):
            table.writerow([f"{epoch + (step + 1) / steps:.6g}", f"{rate:.6g}"])
    write_text(path, text.getvalue())


def _write_history(finished: Finished, path: Path) -> None:
    names = list(Scores.model_fields)
    text = io.StringIO(newline="")
    table = csv.writer(text)
    header = ["epoch", "learning_rate", "train_loss", "train_accuracy", "seconds"]
    table.writerow([*header, *(f"validation_{name}" for name in names)])
    for epoch in finished.curve:
        row = [getattr(epoch, name) for name in header]
        # Empty where no epoch was validated.
        table.writerow([*row, *(getattr(epoch.validation, name, None) for name in names)])
    write_text(path, text.getvalue())
