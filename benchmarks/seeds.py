"""Trains 30 configs with 30 seeds each: the table that the statistics of a front are checked on.

    python benchmarks/seeds.py --data cifar10.npz [--first 0] [--seeds 30] [--results FOLDER]

Trains the network `tiny` on 3,200 images of CIFAR-10 (an ``npz`` with x_train, y_train,
x_test, y_test), on one core: all configs with the first seed, then with the second, and so on. Each
training is a line of ``trainings.csv``, with the curve on 800 other images, its processor time
(which the load of the machine does not change) and the correct images in each of 20 blocks of 500
test images: any of them can be the validation split of a study, and the others the truth. The same
command resumes; two with different --first and folders share the work, and their lines belong in
one table. benchmarks/seeds_analysis.py reads it.
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from effv2_tune.study.recipe import Recipe
    from effv2_tune.study.trial import Scores
    from effv2_tune.training.trainer import Trainer
    from effv2_tune.workers.messages import Finished

RESULTS = Path(__file__).parent / "results" / "seeds"
CONFIGS, SEEDS = 30, 30
SPACE_SEED = 15
TRAIN, VALIDATION = 3200, 800
BATCH = 32
BLOCKS, BLOCK_IMAGES = 20, 500
FIELDS = (
    "config",
    "seed",
    "accuracy",
    "loss",
    "test_correct",
    "curve_accuracy",
    "curve_loss",
    "train_loss",
    "step_ms",
    "epoch_step_ms",
    "evaluate_ms",
)


def main() -> None:
    """Train what the table lacks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="cifar10.npz")
    parser.add_argument("--first", type=int, default=0, metavar="SEED")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="up to this one, exclusively")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    options.results.mkdir(parents=True, exist_ok=True)
    train(options)


# --- the configs ----------------------------------------------------------------------------------


def configs() -> list[dict[str, Any]]:
    """The configs, drawn at random: a range such as the later part of a search has."""
    rng = np.random.default_rng(SPACE_SEED)
    return [_config(rng) for _ in range(CONFIGS)]


def _config(rng: np.random.Generator) -> dict[str, Any]:
    optimizer = str(rng.choice(["adabelief", "adamw", "sgd"]))
    low, high = (0.05, 0.4) if optimizer == "sgd" else (3e-3, 2e-2)
    maximal = float(np.exp(rng.uniform(np.log(low), np.log(high))))
    return {
        "optimizer": optimizer,
        "resolution": int(rng.choice([32, 36, 40])),
        "epochs": int(rng.choice([3, 4, 5])),
        "maximal_learning_rate": float(f"{maximal:.3g}"),
        "initial_learning_rate": float(f"{maximal * 10 ** rng.uniform(-3, -1):.3g}"),
        "weight_decay": float(f"{10 ** rng.uniform(-5, -2):.3g}"),
        "dropout": round(float(rng.uniform(0, 0.2)), 3),
        "stochastic_depth": round(float(rng.uniform(0, 0.05)), 3),
        "label_smoothing": round(float(rng.uniform(0, 0.1)), 3),
    }


def recipe_of(config: Mapping[str, Any], *, seed: int, data: Path) -> Recipe:
    """The recipe of one training; the split is the same in all."""
    from effv2_tune.study.recipe import DataSpec, Recipe

    return Recipe(
        variant="tiny",
        batch_size=BATCH,
        epsilon=1e-14 if config["optimizer"] == "adabelief" else 1e-7,
        schedule="cosine",
        warmup_epochs=0.5,
        flip=True,
        seed=seed,
        data=DataSpec(name="npz", path=str(data.resolve()), train=TRAIN, validation=VALIDATION),
        **config,
    )


# --- the trainings --------------------------------------------------------------------------------


class TimedSteps:
    """The steps of a bucket, with the processor time of each window.

    Args:
        steps: Of the bucket.
        correct: Which test images the bucket's network classifies correctly.
    """

    def __init__(self, steps: Any, correct: Callable[[], Any]) -> None:
        self._steps = steps
        self.correct = correct
        self.windows: list[tuple[int, float]] = []

    def __getattr__(self, name: str) -> Any:
        """Everything else is unchanged."""
        return getattr(self._steps, name)

    def run(self, first: int, steps: int) -> Any:
        """As the steps of the backend."""
        before = time.process_time()
        sums = self._steps.run(first, steps)
        self.windows.append((steps, time.process_time() - before))
        return sums

    def take_step_seconds(self) -> float:
        """Mean processor time of a step since the last call."""
        steps, seconds = (sum(column) for column in zip(*self.windows, strict=True))
        self.windows.clear()
        return seconds / steps


def train(options: argparse.Namespace) -> None:
    """Train what the table lacks, seed after seed."""
    use_one_core()
    drawn = configs()
    write_configs(options.results / "configs.csv", drawn)
    table = options.results / "trainings.csv"
    known = {(row["config"], row["seed"]) for row in complete_rows(table, FIELDS)}
    trainer = make_trainer(recipe_of(drawn[0], seed=0, data=options.data))
    for seed in range(options.first, options.seeds):
        for number, config in enumerate(drawn):
            if (str(number), str(seed)) in known:
                continue
            before = time.process_time()
            recipe = recipe_of(config, seed=seed, data=options.data)
            row = {"config": number, "seed": seed} | train_once(trainer, recipe)
            append(table, row, FIELDS)
            seconds = time.process_time() - before
            print(f"{number} {seed}: {row['accuracy']}, {seconds:.1f} s", file=sys.stderr)


def use_one_core() -> None:
    """Train with TensorFlow, on one core; called before it is imported."""
    os.environ |= {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "2"}
    os.environ |= {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}


def make_trainer(recipe: Recipe, wrap_backend: Callable[[Any], Any] | None = None) -> Trainer:
    """A trainer on this machine's CPU.

    Args:
        recipe: With the images.
        wrap_backend: Returns a backend that does the same as the given one, and times it.
    """
    from effv2_tune.data import load_dataset
    from effv2_tune.training.devices import open_device
    from effv2_tune.training.trainer import Trainer

    dataset = load_dataset(recipe.data, base=Path())
    device = open_device("tensorflow", hardware="cpu")
    if wrap_backend is not None:
        device = replace(device, backend=wrap_backend(device.backend))
    return Trainer(dataset, device)


def timed_steps(trainer: Trainer, recipe: Recipe) -> TimedSteps:
    """The steps of the recipe's bucket, which are timed from now on."""
    bucket: Any = trainer.bucket(recipe)
    if not isinstance(bucket.steps, TimedSteps):
        bucket.steps = TimedSteps(bucket.steps, correct_images(trainer, recipe))
    return bucket.steps


def train_timed(
    trainer: Trainer, recipe: Recipe, folder: Path
) -> tuple[Finished, TimedSteps, list[float]]:
    """Train a recipe, with the processor time of its steps.

    Args:
        trainer: On this machine's CPU.
        recipe: Of one stage or several.
        folder: Of the checkpoints, the last of which holds the weights; empty.

    Returns:
        The result, the steps of the last stage, and the mean processor seconds of a step in each
        epoch.
    """
    from effv2_tune.workers.messages import EpochEnded, Train

    stages = [timed_steps(trainer, stage) for stage in recipe.stage_recipes()]
    steps = stages[-1]
    steps.windows.clear()
    for stage in stages:
        stage.windows = steps.windows
    epoch_seconds: list[float] = []

    def on_event(event: Any) -> None:
        if isinstance(event, EpochEnded):
            epoch_seconds.append(steps.take_step_seconds())

    order = Train(
        trial=0,
        recipe=recipe,
        rungs=(),
        step_seconds=0.01,
        stage_seconds=(0.01,) * (len(stages) - 1),
        checkpoint=folder,
    )
    finished = trainer.train_trial(order, on_event=on_event, should_continue=lambda _: True)
    return finished, steps, epoch_seconds


def completed_scores(finished: Finished, recipe: Recipe) -> Scores:
    """The validation scores of a training, which has to be complete."""
    if finished.scores is None:
        raise RuntimeError(f"A config of the benchmark ended {finished.outcome}: {recipe}")
    return finished.scores


def train_once(trainer: Trainer, recipe: Recipe) -> dict[str, Any]:
    """One training, as a row of the table."""
    with tempfile.TemporaryDirectory() as folder:
        finished, steps, epoch_seconds = train_timed(trainer, recipe, Path(folder))
    scores = completed_scores(finished, recipe)
    before = time.process_time()
    blocks = steps.correct().reshape(BLOCKS, BLOCK_IMAGES).sum(1)
    curve = finished.curve
    return {
        "accuracy": f"{scores.accuracy:.3f}",
        "loss": f"{scores.loss:.4f}",
        "test_correct": " ".join(str(int(count)) for count in blocks),
        "curve_accuracy": " ".join(f"{epoch.validation.accuracy:.3f}" for epoch in curve),
        "curve_loss": " ".join(f"{epoch.validation.loss:.3f}" for epoch in curve),
        "train_loss": " ".join(f"{epoch.train_loss:.3f}" for epoch in curve),
        "step_ms": f"{1000 * statistics.median(epoch_seconds):.3f}",
        "epoch_step_ms": " ".join(f"{1000 * seconds:.2f}" for seconds in epoch_seconds),
        "evaluate_ms": f"{1000 * (time.process_time() - before):.0f}",
    }


def correct_images(trainer: Trainer, recipe: Recipe) -> Callable[[], Any]:
    """A function that finds which test images the bucket's network classifies correctly."""
    import tensorflow as tf

    from effv2_tune.network import preprocess

    bucket, test = trainer.bucket(recipe), trainer.dataset.test
    images = np.asarray(test.images)
    labels = np.asarray(test.labels)

    @tf.function(autograph=False, jit_compile=False)
    def predict(batch: Any) -> Any:
        inputs = preprocess(batch, recipe.pixels, scaling=bucket.scaling)
        return tf.argmax(bucket.network(inputs, training=False), axis=-1)

    def correct() -> Any:
        batches = np.split(images, len(images) // BLOCK_IMAGES)
        predicted = np.concatenate([predict(tf.constant(batch)).numpy() for batch in batches])
        return predicted == labels

    return correct


# --- the table ------------------------------------------------------------------------------------


def write_configs(path: Path, drawn: list[dict[str, Any]]) -> None:
    """Write the configs, for those who read the table."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["config", *drawn[0]], lineterminator="\n")
        writer.writeheader()
        writer.writerows({"config": number} | config for number, config in enumerate(drawn))


def complete_rows(path: Path, fields: Sequence[str]) -> list[dict[str, str]]:
    """The trainings so far; a line that a kill has torn is removed from the file."""
    if not path.exists():
        path.write_text(",".join(fields) + "\n", encoding="utf-8")
    text = path.read_text(encoding="utf-8")
    end = text.rfind("\n") + 1
    if end < len(text):
        os.truncate(path, len(text[:end].encode()))
    return list(csv.DictReader(text[:end].splitlines()))


def append(path: Path, row: Mapping[str, Any], fields: Sequence[str]) -> None:
    """Append one line, in one write."""
    with path.open("a", encoding="utf-8") as file:
        file.write(",".join(str(row[name]) for name in fields) + "\n")


if __name__ == "__main__":
    main()
