"""Defines the training run that ``export`` writes and ``train`` runs: a recipe and its source."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, ValidationError

from effv2_tune.errors import MistakesError, TuneError
from effv2_tune.study.base import Value
from effv2_tune.study.mistakes import mistakes_of
from effv2_tune.study.recipe import (
    DataSpec,
    Quality,
    Recipe,
    Settings,
    contradictions,
    data_contradictions,
)
from effv2_tune.study.trial import Environment, Scores
from effv2_tune.study.yaml_file import YamlFile, dump_yaml, read_yaml

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

#: Files of a final training: what is trained, its learning curve, its model, the names of the
#: model's classes, and what it came to, which is written last.
RECIPE_FILE, HISTORY_FILE, MODEL_FILE = "recipe.json", "history.csv", "model.keras"
CLASSES_FILE, METRICS_FILE = "classes.txt", "metrics.json"
#: The learning rate within epochs, and the test images of each class by their predicted class.
SCHEDULE_FILE, CONFUSION_FILE = "schedule.csv", "confusion.csv"
#: Written after the metrics, from all of these; a rerun writes them where they are missing.
CARD_FILE, PAGE_FILE = "model_card.md", "training.html"

_CONFUSION_COLUMNS = ("class_number", "class", "predicted_number", "predicted", "images")


def confusion_text(counts: Mapping[tuple[int, int], int], classes: Sequence[str]) -> str:
    """The text of ``confusion.csv``: a line for each pair of classes that occurs.

    Args:
        counts: Images by the positions of their class and of the predicted one in ``classes``.
        classes: Their names.
    """
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(_CONFUSION_COLUMNS)
    for (actual, predicted), images in sorted(counts.items()):
        if images:
            table.writerow([actual, classes[actual], predicted, classes[predicted], images])
    return text.getvalue()


def read_confusion(path: Path) -> dict[tuple[int, int], int]:
    """The counts that :func:`confusion_text` took, from a file."""
    with path.open(encoding="utf-8", newline="") as file:
        return {
            (int(row["class_number"]), int(row["predicted_number"])): int(row["images"])
            for row in csv.DictReader(file)
        }


def seed_folder(seed: int | str) -> str:
    """The folder of the training with this seed, of several with different ones."""
    return f"seed-{seed}"


class Promise(Value):
    """What the search expects of a training of the recipe with any seed, judged on all images.

    Attributes:
        quality: The shrunken estimate of the study's quality.
        standard_error: Of that estimate.
        low: Lower end of its 90 % interval.
        high: Upper end.
        raw: The quality as measured; with replicates their mean.
        raw_standard_error: Of the measured quality of one training, as an estimate for all images.
        seed_deviation: Standard deviation between trainings with other seeds on the same images,
            pooled over the replicates of the study; what is usual where it has none.
        replicates: Trainings of the recipe that were measured.
    """

    quality: float
    standard_error: float
    low: float
    high: float
    raw: float
    raw_standard_error: float
    seed_deviation: float
    replicates: int = 1


class FrontPoint(Value):
    """A trial of the Pareto front.

    Attributes:
        trial: Its number.
        variant: The network.
        resolution: In pixels.
        quality: As measured on the validation split.
        train_seconds: As measured.
    """

    trial: int
    variant: str
    resolution: int
    quality: float
    train_seconds: float


class Provenance(Value):
    """Where a training run's recipe was found.

    Attributes:
        study: Name of the study.
        trial: Number of the trial.
        pick: How it was picked from the front.
        validation: What the search measured on the validation split.
        validation_count: How many images that was.
        train_seconds: Seconds that the search measured this run to take on its device.
        seconds_low: Lower end of their 90 % interval; absent where it is not known.
        seconds_high: Upper end.
        environment: What the trial ran on; the number of devices is that of its seconds.
        data_digest: Of the images and splits that the trial saw.
        promise: What the search expects of it; absent in files of earlier versions.
        front: The Pareto front on the trial's kind of device when it was exported, fastest first;
            empty in files of earlier versions.
        learning_rates: The bounds that range tests had set in the search space; absent without any.
    """

    study: str
    trial: int
    pick: str
    validation: Scores
    validation_count: int
    train_seconds: float
    seconds_low: float | None = None
    seconds_high: float | None = None
    environment: Environment
    data_digest: str
    promise: Promise | None = None
    front: tuple[FrontPoint, ...] = ()
    learning_rates: dict[str, tuple[float, float]] | None = None


class TrainingRun(Value):
    """The final training of one recipe, with every setting.

    Attributes:
        name: What its folder is called.
        data: Which images, and how they are split.
        recipe: Every setting.
        quality: What ``select: best`` compares.
        hardware: The kind of device that must be used.
        backend: The Keras backend.
        provenance: Where the recipe was found; absent in a file written by hand.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=80)]
    data: DataSpec = DataSpec()
    recipe: Settings = Settings()
    quality: Quality = "accuracy"
    hardware: Literal["auto", "cpu", "gpu", "tpu"] = "auto"
    backend: Literal["auto", "tensorflow", "jax"] = "auto"
    provenance: Provenance | None = None

    def with_seed(self, seed: int) -> TrainingRun:
        """The same training with another seed."""
        recipe = Settings.model_validate(self.recipe.model_dump() | {"seed": seed})
        return self.model_copy(update={"recipe": recipe})

    def full_recipe(self) -> Recipe:
        """Settings, data and quality as one recipe."""
        return Recipe.of(self.recipe.model_dump(), self.data, self.quality)

    def to_yaml(self) -> str:
        """The file's text; :func:`load_training_run` reads it back equal."""
        header = f"effv2-tune train <this file>\nFinal training of {self.name}."
        if self.provenance is not None:
            found = self.provenance
            header += (
                f"\nTrial {found.trial} of study {found.study} ({found.pick}): validation "
                f"{self.quality} {found.validation.value_of(self.quality):.4f}, "
                f"{found.train_seconds:.1f} s of training on {found.environment.device_kind}."
            )
            if found.promise is not None:
                promise = found.promise
                header += (
                    f"\nExpected with another seed, on other images: {promise.quality:.4f} (90 % "
                    f"interval {promise.low:.4f} to {promise.high:.4f})."
                )
        return dump_yaml(json.loads(self.model_dump_json(exclude_none=True)), header=header)


@dataclass(frozen=True)
class LoadedTrainingRun:
    """A training run with the parsed file that it was read from.

    Attributes:
        run: The training run.
        base: Folder that its relative paths start from.
        source: The file.
    """

    run: TrainingRun
    base: Path
    source: YamlFile


def load_training_run(path: Path, *, train_on: str | None = None) -> LoadedTrainingRun:
    """Read a training run.

    Args:
        path: The file.
        train_on: The splits to train on, in place of those in the file.

    Raises:
        MistakesError: With everything that is wrong.
        TuneError: There is no such file, or it is a study file.
    """
    source = read_yaml(path, hint="Write one with: effv2-tune export FOLDER")
    if "search_space" in source.data:
        raise TuneError(
            f"{path} is a study file, not a training run.",
            hint=f"Run the study with: effv2-tune run {path}",
        )
    try:
        run = TrainingRun.from_plain(source.data)
        if train_on is not None:
            data = DataSpec.model_validate(run.data.model_dump() | {"train_on": train_on})
            run = run.model_copy(update={"data": data})
    except ValidationError as error:
        raise MistakesError(mistakes_of(error, source, TrainingRun)) from None
    found = [*contradictions(run.recipe), *data_contradictions(run.recipe, run.data)]
    if found:
        raise MistakesError(source.mistake(["recipe"], f"recipe: {text}") for text in found)
    return LoadedTrainingRun(run, path.parent.resolve(), source)
