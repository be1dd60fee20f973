"""The standard training run of a recipe: from the first epoch to a model and its test accuracy."""

from __future__ import annotations

import csv
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from effv2_tune.data import load_dataset
from effv2_tune.errors import EXIT_FAILED, TuneError
from effv2_tune.host import choose_hardware, probe_host, probe_packages
from effv2_tune.network import stock_model
from effv2_tune.study.steps import planned_steps
from effv2_tune.study.trial import Scores
from effv2_tune.training.devices import open_device
from effv2_tune.training.scores import scores_of, standard_error
from effv2_tune.training.trainer import Trainer
from effv2_tune.workers.messages import Noted, Train

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from effv2_tune.host import Kind
    from effv2_tune.study.recipe import Recipe
    from effv2_tune.training.scores import Counts
    from effv2_tune.workers.messages import Compiled, EpochEnded, Finished

_METRICS, _HISTORY, _MODEL, _RECIPE = "metrics.json", "history.csv", "model.keras", "recipe.json"
#: Characters of a digest that a person is shown.
_SHOWN = 12


@dataclass(frozen=True)
class TrainResult:
    """What a standard training run leaves.

    Attributes:
        out: The folder that holds ``history.csv``, ``metrics.json`` and ``model.keras``.
        test: Scores on the test images.
        metrics: What ``metrics.json`` says.
    """

    out: Path
    test: Scores
    metrics: dict[str, Any]

    @property
    def model_path(self) -> Path:
        """The Keras model: stock layers, uint8 images in, probabilities out."""
        return self.out / _MODEL


def run(
    recipe: Recipe,
    *,
    out: Path,
    base: Path,
    hardware: Kind | None,
    on_event: Callable[[Compiled | EpochEnded | Noted], None] | None,
    data_digest: str | None,
) -> TrainResult:
    """See :func:`effv2_tune.training.train`."""
    done = _what_is_done(recipe, out)
    if done is not None:
        return done
    import keras

    backend = keras.backend.backend()
    if hardware is None:
        hardware = choose_hardware("auto", backend, probe_host(), probe_packages()).kind
    dataset = load_dataset(recipe.data, base=base, storage_size=recipe.pixels)
    if data_digest is not None and dataset.digest != data_digest:
        raise TuneError(
            f"These are not the images that the recipe was found on: their digest is "
            f"{dataset.digest[:_SHOWN]}..., and {data_digest[:_SHOWN]}... is asked for.",
            hint="Put the images and the 'data:' section of the study back; or, to train on these "
            "images, remove the 'provenance:' section from the file.",
        )
    device = open_device(backend, hardware=hardware, precision=recipe.precision)
    trainer = Trainer(dataset, device, base=base)
    _write(out / _RECIPE, recipe.model_dump_json(indent=2) + "\n")
    order = Train(
        trial=0, recipe=recipe, rungs=(), step_seconds=None, checkpoint=out / "checkpoints"
    )
    told = on_event or _nothing
    finished = trainer.train_trial(order, tell=told, decide=_go_on)
    if finished.outcome != "complete":
        raise TuneError(
            f"The training ended {finished.outcome}: {finished.reason}.",
            hint="Another recipe is needed: a lower learning rate where the loss was no number, "
            "a smaller batch or resolution where memory did not suffice.",
            exit_code=EXIT_FAILED,
        )
    counts = trainer.test(recipe, out / "checkpoints")
    bucket = trainer.bucket(recipe)
    notes = () if bucket.features is None else bucket.features.take_notes()
    if notes:
        told(Noted(notes=notes))
    steps = planned_steps(recipe, dataset.facts(), device.placement.device_count)
    metrics = _metrics(finished, counts, steps, device.environment.model_dump())
    metrics["train_seconds"] += bucket.extraction_seconds
    metrics["extraction_seconds"] = bucket.extraction_seconds
    metrics["data_digest"] = dataset.digest
    _save_model(trainer, recipe, out / _MODEL)
    _write_history(finished, out / _HISTORY)
    # Last: a folder with metrics is a finished run.
    _write(out / _METRICS, json.dumps(metrics, indent=2) + "\n")
    return TrainResult(out, scores_of(counts), metrics)


def _what_is_done(recipe: Recipe, out: Path) -> TrainResult | None:
    """The result of a finished run of this recipe in ``out``; None where there is none.

    Raises:
        TuneError: ``out`` belongs to a run of another recipe.
    """
    written = out / _RECIPE
    if not written.exists():
        return None
    if written.read_text(encoding="utf-8") != recipe.model_dump_json(indent=2) + "\n":
        raise TuneError(
            f"The folder {out} holds a training run of another recipe.",
            hint="Give another folder with --out, or remove this one.",
        )
    if not (out / _METRICS).exists():
        return None
    metrics = json.loads((out / _METRICS).read_text(encoding="utf-8"))
    return TrainResult(out, Scores.model_validate(metrics["test"]), metrics)


def _metrics(
    finished: Finished, counts: Counts, steps: int, environment: dict[str, Any]
) -> dict[str, Any]:
    test = scores_of(counts)
    validation = finished.scores
    return {
        "test": test.model_dump(),
        "test_count": counts.images,
        "test_correct": int(counts.correct.sum()),
        "test_standard_error": standard_error(test.accuracy, counts.images),
        "validation": None if validation is None else validation.model_dump(),
        "selected_epoch": finished.selected_epoch,
        "train_seconds": steps * finished.times.step_bucket,
        "steps": steps,
        "times": finished.times.model_dump(),
        "environment": environment,
    }


def _save_model(trainer: Trainer, recipe: Recipe, path: Path) -> None:
    """Save the model in stock layers; it is at every moment absent or whole."""
    bucket = trainer.bucket(recipe)
    model = stock_model(
        *bucket.whole_network(recipe),
        image_shape=trainer.dataset.facts().image_shape,
        resolution=recipe.pixels,
        scaling=bucket.scaling,
        interpolation=recipe.resize,
    )
    writing = path.with_name("writing-" + path.name)
    model.save(writing)
    writing.replace(path)


def _write_history(finished: Finished, path: Path) -> None:
    names = list(Scores.model_fields)
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        header = ["epoch", "learning_rate", "train_loss", "train_accuracy", "seconds"]
        table.writerow([*header, *(f"validation_{name}" for name in names)])
        for epoch in finished.curve:
            own = [getattr(epoch, name) for name in header]
            table.writerow([*own, *(getattr(epoch.validation, name) for name in names)])


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    writing = path.with_name(path.name + ".writing")
    with writing.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    writing.replace(path)


def _go_on(_: object) -> bool:
    return True


def _nothing(_: object) -> None:
    pass
