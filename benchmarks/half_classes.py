"""Compares ways to finetune: pretrained on one half of the classes, finetuned on the other.

    python benchmarks/half_classes.py --data cifar10.npz [--seeds 3] [--work FOLDER] [--page]

Trains EfficientNetV2-B0 at 32 px on one core, on CIFAR-10 (an ``npz`` with x_train, y_train,
x_test, y_test): from scratch on 20,000 images of classes 0 to 4, and from these weights on 1,024
images of classes 5 to 9, with each method at two or three learning rates. Accuracy is that of 5,000
test images. Seconds are processor time, which the load of the machine hardly changes: of the steps,
and of the passes of the backbone over the training images whose features the classifier alone is
trained on. Epochs of the classifier alone take the place of an epoch of all layers.

Each training is a line of ``half_classes.csv``. The same command resumes, the pretraining too;
--work keeps the pretrained weights, and those of the trainings, of which the soups of
``half_classes_soups.csv`` are made. ``--page`` writes half_classes.md from as many as there are.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from half_classes_methods import (
    BATCH,
    CLASSES,
    COMMON,
    EPOCHS,
    EVERYTHING,
    FIELDS,
    KEY,
    METHODS,
    PRETRAINED,
    PRETRAINING,
    PRETRAINING_IMAGES,
    SEEDS,
    SOUP_RANGE,
    TRAIN,
    VALIDATION,
    runs,
)
from half_classes_report import page
from pretraining import pretrain
from seeds import (
    append,
    complete_rows,
    completed_scores,
    make_trainer,
    train_timed,
    use_one_core,
)
from soups import averaged, greedy_soup

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from half_classes_methods import Run

    from effv2_tune.study.recipe import DataSpec, Recipe
    from effv2_tune.training.trainer import Trainer
    from effv2_tune.training.trial_state import Weights

RESULTS = Path(__file__).parent / "results"
SOUP_FIELDS = (
    "weights",
    "pool",
    "seeds",
    "trainings",
    "candidates",
    "ingredients",
    "best_validation",
    "best_test",
    "mean_test",
    "soup_validation",
    "soup_test",
    "uniform_test",
)


def main() -> None:
    """Train what the tables lack, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="cifar10.npz; nothing is trained without")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--work", type=Path, default=Path("runs/benchmark-half-classes"))
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--page", action="store_true", help="write half_classes.md")
    options = parser.parse_args()
    if options.data is not None:
        Benchmark(options).train()
    if options.page:
        trained = complete_rows(options.results / "half_classes.csv", FIELDS)
        soups = complete_rows(options.results / "half_classes_soups.csv", SOUP_FIELDS)
        text = page(trained, soups)
        (options.results / "half_classes.md").write_text(text, encoding="utf-8")
        print(text)


class Benchmark:
    """The trainings, and the files that they need.

    Args:
        options: Of the command line.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._work: Path = options.work.resolve()
        self._weights = self._work / "b0.weights.h5"
        self._table: Path = options.results / "half_classes.csv"
        self._trainer: Trainer | None = None

    def train(self) -> None:
        """Append the lines that the tables lack."""
        use_one_core()
        self._work.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as cache:
            # Features that an earlier run left would cost nothing.
            os.environ["EFFV2_TUNE_CACHE"] = cache
            self._pretrain()
            for run in runs(self._options.seeds):
                if self._key(run) not in self._found():
                    self._train_one(run)
            self._make_soups()

    def _half(self, name: str, low: int) -> str:
        """An npz of a half of the classes: those from ``low`` on, from 0 again."""
        path = self._work / f"{name}.npz"
        if not path.exists():
            arrays = {}
            with np.load(self._options.data) as data:
                for split in ("train", "test"):
                    labels = data[f"y_{split}"].reshape(-1) - low
                    chosen = (labels >= 0) & (labels < CLASSES)
                    arrays[f"x_{split}"] = data[f"x_{split}"][chosen]
                    arrays[f"y_{split}"] = labels[chosen]
            writing = path.with_name(f"writing-{path.name}")
            np.savez(writing, **arrays)
            writing.replace(path)
        return str(path)

    def _images(self, name: str, low: int, train: int) -> DataSpec:
        from effv2_tune.study.recipe import DataSpec

        path = self._half(name, low)
        return DataSpec(name="npz", path=path, train=train, validation=VALIDATION)

    def _pretrain(self) -> None:
        """Train on the first half of the classes, unless weights and line are there."""
        from effv2_tune.study.recipe import Recipe

        if self._weights.exists() and any(
            key[:2] == (self._digest, PRETRAINED) for key in self._found()
        ):
            return
        images = self._images("first", 0, PRETRAINING_IMAGES)
        recipe = Recipe(**COMMON, **PRETRAINING, data=images)
        metrics = pretrain(recipe, self._work / "pretraining", self._weights)
        steps = recipe.epochs * (PRETRAINING_IMAGES // PRETRAINING["batch_size"])
        row = {
            "weights": self._digest,
            "method": PRETRAINED,
            "seed": recipe.seed,
            "rate": recipe.maximal_learning_rate,
            "validation": f"{metrics['validation']['accuracy']:.4f}",
            "test": f"{metrics['test']['accuracy']:.4f}",
            "seconds": f"{metrics['times']['step_work'] * steps:.1f}",
            "extraction_seconds": "0.0",
        }
        append_new(self._table, row, FIELDS)

    @functools.cached_property
    def _digest(self) -> str:
        """Of the pretrained weights: trainings from others are not compared with each other."""
        return hashlib.sha256(self._weights.read_bytes()).hexdigest()[:8]

    def _key(self, run: Run) -> tuple[str, ...]:
        return self._digest, run.method, str(run.seed), f"{run.rate:g}"

    def _found(self) -> dict[tuple[str, ...], dict[str, str]]:
        """The lines so far."""
        return {tuple(row[name] for name in KEY): row for row in complete_rows(self._table, FIELDS)}

    def _recipe(self, run: Run) -> Recipe:
        from effv2_tune.study.recipe import Recipe

        settings = COMMON | {
            "backbone": "finetune",
            "weights": str(self._weights),
            "epochs": EPOCHS,
            "batch_size": BATCH,
            "maximal_learning_rate": run.rate,
        }
        changes = dict(METHODS[run.method].changes)
        return Recipe(
            **settings | changes, seed=run.seed, data=self._images("second", CLASSES, TRAIN)
        )

    def _folder(self, run: Run) -> Path:
        return self._work / "trainings" / run.folder_name

    def _open_trainer(self, recipe: Recipe) -> Trainer:
        if self._trainer is None:
            self._trainer = make_trainer(recipe, TimedExtractions)
        return self._trainer

    def _train_one(self, run: Run) -> None:
        """Train, and append the line."""
        recipe = self._recipe(run)
        trainer = self._open_trainer(recipe)
        before = time.process_time()
        folder = self._folder(run)
        clear(folder)
        finished, _, epoch_seconds = train_timed(trainer, recipe, folder)
        scores = completed_scores(finished, recipe)
        counts = trainer.test(recipe, folder)
        takes_features = trainer.bucket_key(recipe.stage_recipes()[0]).takes_features
        timed: Any = trainer.device.backend
        extraction = timed.seconds if takes_features else 0.0
        row = dict(zip(KEY, self._key(run), strict=True)) | {
            "validation": f"{scores.accuracy:.4f}",
            "test": f"{counts.correct.sum() / counts.images:.4f}",
            "seconds": f"{sum(epoch_seconds) * (TRAIN // BATCH) + extraction:.2f}",
            "extraction_seconds": f"{extraction:.2f}",
        }
        append_new(self._table, row, FIELDS)
        if not METHODS[run.method].in_soups:
            clear(folder)
        took = time.process_time() - before
        print(f"{run}: {row['test']}, {row['seconds']} s, {took:.0f} s in all", file=sys.stderr)

    # --- soups

    def _make_soups(self) -> None:
        """Append the soups that the table lacks, of pools whose weights are all here."""
        table, seeds = self._table.with_name("half_classes_soups.csv"), self._options.seeds
        known = {
            (row["weights"], row["pool"], row["seeds"]) for row in complete_rows(table, SOUP_FIELDS)
        }
        methods = [name for name, method in METHODS.items() if method.in_soups]
        for pool, names in [*((name, [name]) for name in methods), (EVERYTHING, methods)]:
            here = [run for run in runs(seeds) if run.method in names]
            is_complete = all(self._folder(run).exists() for run in here)
            if is_complete and (self._digest, pool, str(seeds)) not in known:
                row = {"weights": self._digest, "pool": pool, "seeds": seeds} | self._soup(here)
                append_new(table, row, SOUP_FIELDS)
                print(row, file=sys.stderr)

    def _soup(self, pool: Sequence[Run]) -> dict[str, Any]:
        """The greedy soup of a pool, tested once, beside its best training by validation."""
        from effv2_tune.files.checkpoint import CheckpointFolder

        found = self._found()
        # Of equal ones, the first.
        ranked = sorted(pool, key=lambda run: -float(found[self._key(run)]["validation"]))
        rows = [found[self._key(run)] for run in ranked]
        best = float(rows[0]["validation"])
        near = [
            run
            for run, row in zip(ranked, rows, strict=True)
            if float(row["validation"]) >= round(best - SOUP_RANGE, 4)
        ]
        evaluate = self._evaluation(self._recipe(ranked[0]))

        def weights_of(run: Run) -> Weights:
            checkpoint = CheckpointFolder(self._folder(run)).latest()
            if checkpoint is None:
                raise RuntimeError(f"The weights of {run} are missing.")
            return dict(checkpoint.arrays)

        candidates = [weights_of(run) for run in near]
        chosen = greedy_soup(candidates, lambda weights: evaluate(weights, "validation"))
        soup = averaged([candidates[position] for position in chosen])
        return {
            "trainings": len(ranked),
            "candidates": len(candidates),
            "ingredients": len(chosen),
            "best_validation": f"{best:.4f}",
            "best_test": rows[0]["test"],
            "mean_test": f"{statistics.fmean(float(row['test']) for row in rows[: len(near)]):.4f}",
            "soup_validation": f"{evaluate(soup, 'validation'):.4f}",
            "soup_test": f"{evaluate(soup, 'test'):.4f}",
            "uniform_test": f"{evaluate(averaged(candidates), 'test'):.4f}",
        }

    def _evaluation(self, recipe: Recipe) -> Callable[[Weights, Any], float]:
        """The accuracy of weights on a split."""
        # The same network is evaluated after epochs of the classifier alone and without.
        trainer = self._open_trainer(recipe)
        steps = trainer.bucket(recipe.stage_recipes()[-1]).steps

        def evaluate(weights: Weights, split: Any) -> float:
            steps.finish(weights)
            counts = steps.evaluate(split)
            return float(counts.correct.sum()) / counts.images

        return evaluate


class TimedExtractions:
    """A backend that times the passes of frozen backbones over the training images.

    Args:
        backend: That computes.

    Attributes:
        seconds: Processor time of all passes so far, without compilation.
    """

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self.seconds = 0.0

    def __getattr__(self, name: str) -> Any:
        """Everything else is unchanged."""
        return getattr(self._backend, name)

    def make_extractor(self, *arguments: Any) -> Any:
        """As the backend."""
        extractor = self._backend.make_extractor(*arguments)
        run = extractor.run

        def timed(split: str, order: Any, *, mirrored: bool) -> Any:
            before = time.process_time()
            features = run(split, order, mirrored=mirrored)
            # The first call of all is one batch, and includes the compilation.
            if split == "train" and len(order) > 1:
                self.seconds += time.process_time() - before
            return features

        extractor.run = timed
        return extractor


def clear(folder: Path) -> None:
    """Remove the checkpoints of a training."""
    from effv2_tune.files.checkpoint import CheckpointFolder

    if folder.exists():
        CheckpointFolder(folder).clear()


def append_new(path: Path, row: Mapping[str, Any], fields: Sequence[str]) -> None:
    """Append one line to a table, which may not exist yet or have a torn last line."""
    complete_rows(path, fields)
    append(path, row, fields)


if __name__ == "__main__":
    main()
