"""Compares trainings on a part of the images with rungs as predictors of the end of training.

    python benchmarks/image_shares.py --data cifar10.npz [--configs 60] [--results FOLDER]
    python benchmarks/image_shares.py --report

Trains the network `tiny` at 32 px on 1,600 images of CIFAR-10 (an ``npz`` with x_train, y_train,
x_test, y_test), on one core: each config on all images, on a quarter and on a tenth of them, for
the same number of epochs. So a training on a share of the images takes that share of the steps, as
a rung at that share of the epochs does; all are validated on the same 1,000 images. The configs are
drawn at random from `SPACE`. Each training is a line of ``trainings.csv``; the same command
resumes. --report writes results/image_shares.md: the rank correlation (Spearman) of each kind of
cheap training with the end of the whole one.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import rankdata
from seeds import append, complete_rows, make_trainer, train_timed, use_one_core

from effv2_tune.search.engines.unit_cube import UnitCube
from effv2_tune.study.space import Space

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from effv2_tune.study.recipe import Recipe
    from effv2_tune.study.space import Config
    from effv2_tune.training.trainer import Trainer

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "image_shares"
PAGE = HERE / "results" / "image_shares.md"
CONFIGS = 60
SPACE_SEED = 17
TRAIN, VALIDATION, BATCH = 1600, 1000, 32
#: Of the training images; the first is the whole training.
IMAGE_SHARES = (1.0, 0.25, 0.1)
#: Of the epochs: the rungs of the default, and the costs of the shares of the images.
EPOCH_SHARES = (0.1, 0.22, 0.25, 0.4)
CHANCE = 0.1
SPACE = Space.model_validate(
    {
        "maximal_learning_rate": {"type": "float", "low": 3e-4, "high": 5e-2, "scale": "log"},
        "initial_learning_rate": {"type": "float", "low": 1e-6, "high": 3e-4, "scale": "log"},
        "weight_decay": {"type": "float", "low": 1e-5, "high": 1.0, "scale": "log"},
        "epochs": {"type": "int", "low": 5, "high": 15, "scale": "log"},
        "mixup": {"type": "float", "low": 0.01, "high": 0.5},
        "rand_augment": {"type": "float", "low": 0.1, "high": 10.0},
    }
)
FIELDS = ("number", "images", *SPACE.parameters, "outcome", "curve_accuracy", "process_seconds")


def main() -> None:
    """Train what the table lacks, or write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="cifar10.npz")
    parser.add_argument("--configs", type=int, default=CONFIGS)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--report", action="store_true", help="train nothing, write the page")
    options = parser.parse_args()
    if options.report:
        PAGE.write_text(page(options.results / "trainings.csv"), encoding="utf-8")
        return
    if options.data is None:
        parser.error("--data is needed to train")
    options.results.mkdir(parents=True, exist_ok=True)
    train(options)


# --- the trainings --------------------------------------------------------------------------------


def configs(count: int) -> list[Config]:
    """The first configs of a fixed random sequence."""
    cube = UnitCube(SPACE)
    return cube.configs(np.random.default_rng(SPACE_SEED).random((count, cube.dimensions)))


def recipe_of(config: Mapping[str, Any], *, seed: int, data: Path, images: float) -> Recipe:
    """The recipe of one training; the validation split is the same in all."""
    from effv2_tune.study.recipe import DataSpec, Recipe

    return Recipe(
        variant="tiny",
        resolution=32,
        batch_size=BATCH,
        optimizer="adamw",
        epsilon=1e-7,
        schedule="cosine",
        warmup_epochs=0.5,
        flip=True,
        dropout=0.0,
        stochastic_depth=0.0,
        seed=seed,
        data=DataSpec(
            name="npz",
            path=str(data.resolve()),
            train=round(images * TRAIN),
            validation=VALIDATION,
        ),
        **config,
    )


def train(options: argparse.Namespace) -> None:
    """Train what the table lacks, config after config."""
    use_one_core()
    table = options.results / "trainings.csv"
    known = {(row["number"], float(row["images"])) for row in complete_rows(table, FIELDS)}
    trainers: dict[float, Trainer] = {}
    for number, config in enumerate(configs(options.configs)):
        for images in IMAGE_SHARES:
            if (str(number), images) in known:
                continue
            recipe = recipe_of(config, seed=number, data=options.data, images=images)
            if images not in trainers:
                trainers[images] = make_trainer(recipe)
            before = time.process_time()
            found = train_once(trainers[images], recipe)
            seconds = f"{time.process_time() - before:.2f}"
            row = {"number": number, "images": images} | config | found
            append(table, row | {"process_seconds": seconds}, FIELDS)
            print(number, images, found["curve_accuracy"], f"{seconds} s", file=sys.stderr)


def train_once(trainer: Trainer, recipe: Recipe) -> dict[str, str]:
    """One training, as columns of the table."""
    with tempfile.TemporaryDirectory() as folder:
        finished, _, _ = train_timed(trainer, recipe, Path(folder))
    if finished.outcome not in ("complete", "diverged"):
        raise RuntimeError(f"A config of the benchmark ended {finished.outcome}: {recipe}")
    accuracies = [epoch.scores.accuracy for epoch in finished.curve]
    return {
        "outcome": finished.outcome,
        "curve_accuracy": " ".join(f"{one:.3f}" for one in accuracies),
    }


# --- the page -------------------------------------------------------------------------------------


def curves(table: Path) -> dict[int, dict[float, list[float]]]:
    """The accuracies of each config by share of the images; chance where it diverged."""
    found: dict[int, dict[float, list[float]]] = {}
    for row in complete_rows(table, FIELDS):
        epochs = int(row["epochs"])
        curve = [float(one) for one in row["curve_accuracy"].split()]
        curve = curve if row["outcome"] == "complete" else [CHANCE] * epochs
        found.setdefault(int(row["number"]), {})[float(row["images"])] = curve
    return {number: one for number, one in found.items() if len(one) == len(IMAGE_SHARES)}


def page(table: Path) -> str:
    """The rank correlations of cheap trainings with the ends of the whole ones."""
    found = curves(table)
    ends = np.array([one[1.0][-1] for one in found.values()])
    epochs = np.array([len(one[1.0]) for one in found.values()])
    rows = [
        (
            f"rung at {share:.0%} of the epochs",
            float(np.maximum(share, 1 / epochs).mean()),
            np.array([_at(one[1.0], share) for one in found.values()]),
        )
        for share in EPOCH_SHARES
    ]
    rows += [
        (
            f"{images:.0%} of the images",
            images,
            np.array([one[images][-1] for one in found.values()]),
        )
        for images in IMAGE_SHARES[1:]
    ]
    lines = [
        "# Which predicts the end better: a rung, or a training on fewer images",
        "",
        (
            f"Made by `python benchmarks/image_shares.py --data cifar10.npz`: {len(found)} random "
            f"configs of `tiny` at 32 px, each trained on all {TRAIN:,} images and on parts of "
            "them. Spearman's rank correlation of the accuracy on the same "
            f"{VALIDATION:,} images with that at the end of the whole training (90 % interval, "
            "resampled configs). A rung in the middle of an epoch is linear between its ends."
        ),
        "",
        "| cheap training | steps, as a share of the whole training | rank correlation |",
        "|---|---:|---|",
    ]
    lines += [f"| {name} | {cost:.0%} | {_interval(early, ends)} |" for name, cost, early in rows]
    return "\n".join(lines) + "\n"


def _at(curve: Sequence[float], share: float) -> float:
    """The accuracy after a share of the epochs; before the end of the first, that at its end."""
    return float(np.interp(share * len(curve), np.arange(1, len(curve) + 1), curve))


def _interval(early: np.ndarray, ends: np.ndarray) -> str:
    """Spearman's correlation, with the interval over 1,000 resamples of the configs."""
    rng = np.random.default_rng(0)
    places = rng.integers(len(ends), size=(1000, len(ends)))
    low, high = np.quantile(_correlations(early[places], ends[places]), (0.05, 0.95))
    found = _correlations(early[None], ends[None])[0]
    return f"{found:.2f} ({low:.2f} to {high:.2f})"


def _correlations(early: np.ndarray, late: np.ndarray) -> np.ndarray:
    """Spearman's of rows [m, n]: [m]."""
    ranks = [rankdata(one, axis=1) for one in (early, late)]
    a, b = (one - one.mean(axis=1, keepdims=True) for one in ranks)
    return np.asarray((a * b).sum(axis=1) / np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1)))


if __name__ == "__main__":
    main()
