"""Measures what single settings of a recipe are worth, at equal seconds of training.

    python benchmarks/recipes.py --data cifar10.npz [--seeds 3] [--results FOLDER] [--page]

Trains the network `tiny` on 3,200 images of CIFAR-10, on one core: two configs for several lengths
(the baseline), and each with one lever at a time. Accuracy is that of 10,000 test images, and
seconds are processor time of the steps, which the load of the machine hardly changes. A lever that
makes a step cheaper or dearer is compared with the baseline of as many seconds, interpolated over
their logarithm, with the same seed. Each training is a line of ``recipes.csv``: the same command
resumes, and ``--page`` writes recipes.md from as many as there are.
"""

from __future__ import annotations

import argparse
import csv
import math
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from seeds import (
    append,
    complete_rows,
    completed_scores,
    make_trainer,
    train_timed,
    use_one_core,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from effv2_tune.study.recipe import Recipe
    from effv2_tune.training.trainer import Trainer

RESULTS = Path(__file__).parent / "results"
FIELDS = ("config", "lever", "seed", "epochs", "accuracy", "seconds")
TRAIN, VALIDATION, TEST = 3200, 800, 10_000
#: Of the baseline, in epochs; levers have the second one.
LENGTHS = (4, 6, 9, 13)
LENGTH = 6
COMMON: dict[str, Any] = {
    "variant": "tiny",
    "resolution": 48,
    "batch_size": 32,
    "schedule": "cosine",
    "warmup_epochs": 0.5,
    "flip": True,
    "dropout": 0.1,
    "stochastic_depth": 0.02,
}
CONFIGS = {
    "adabelief": {
        "optimizer": "adabelief",
        "maximal_learning_rate": 8e-3,
        "initial_learning_rate": 8e-5,
        "weight_decay": 1e-3,
    },
    "sgd": {
        "optimizer": "sgd",
        "epsilon": 1e-7,
        "maximal_learning_rate": 0.15,
        "initial_learning_rate": 1.5e-3,
        "weight_decay": 5e-4,
    },
}
BASELINE = "baseline"
#: What each lever changes.
LEVERS: dict[str, dict[str, Any]] = {
    "2 stages from 32 px": {"stages": 2, "resolution_from": 32},
    "3 stages from 32 px": {"stages": 3, "resolution_from": 32},
    "2 stages, dropout 0 to 0.2": {
        "stages": 2,
        "resolution_from": 32,
        "dropout": 0.2,
        "dropout_from": 0.0,
    },
    "no flip": {"flip": False},
    "alternating flip": {"flip": "alternating"},
    "evaluation flip": {"evaluation_flip": True},
    "40 px, evaluated at 48": {"resolution": 40, "evaluation_resolution": 48},
    "40 px": {"resolution": 40},
    "EMA 0.99": {"ema": True, "ema_momentum": 0.99},
    "label smoothing 0.1": {"label_smoothing": 0.1},
    "mixup 0.2": {"mixup": 0.2},
}


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        config: Its name.
        lever: Its name, or ``baseline``.
        seed: Of the recipe.
        epochs: How many.
    """

    config: str
    lever: str
    seed: int
    epochs: int

    @property
    def key(self) -> tuple[str, ...]:
        """As in the table."""
        return self.config, self.lever, str(self.seed), str(self.epochs)

    def recipe(self, data: Path) -> Recipe:
        """What is trained."""
        from effv2_tune.study.recipe import DataSpec, Recipe

        images = DataSpec(name="npz", path=str(data.resolve()), train=TRAIN, validation=VALIDATION)
        changes = LEVERS.get(self.lever, {})
        settings = COMMON | CONFIGS[self.config] | {"epochs": self.epochs} | changes
        return Recipe(**settings, seed=self.seed, data=images)


def main() -> None:
    """Train what the table lacks, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="cifar10.npz; nothing is trained without")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--page", action="store_true", help="write recipes.md")
    options = parser.parse_args()
    table = options.results / "recipes.csv"
    if options.data is not None:
        train(options.data, options.seeds, table)
    if options.page:
        text = page(list(csv.DictReader(table.read_text(encoding="utf-8").splitlines())))
        (options.results / "recipes.md").write_text(text, encoding="utf-8")
        print(text)


# --- the trainings --------------------------------------------------------------------------------


def runs(seeds: int) -> Iterator[Run]:
    """All trainings, seed after seed."""
    for seed in range(seeds):
        for config in CONFIGS:
            for epochs in LENGTHS:
                yield Run(config, BASELINE, seed, epochs)
            for lever in LEVERS:
                yield Run(config, lever, seed, LENGTH)


def train(data: Path, seeds: int, table: Path) -> None:
    """Append the trainings that the table lacks."""
    use_one_core()
    known = {tuple(row[name] for name in FIELDS[:4]) for row in complete_rows(table, FIELDS)}
    trainer = None
    for run in runs(seeds):
        if run.key in known:
            continue
        recipe = run.recipe(data)
        trainer = trainer or make_trainer(recipe)
        before = time.process_time()
        scores = train_once(trainer, recipe)
        append(table, dict(zip(FIELDS, run.key, strict=False)) | scores, FIELDS)
        took = time.process_time() - before
        print(f"{run}: {scores}, {took:.0f} s in all", file=sys.stderr)


def train_once(trainer: Trainer, recipe: Recipe) -> dict[str, str]:
    """Accuracy on the test images, and processor seconds of the steps."""
    with tempfile.TemporaryDirectory() as folder:
        finished, _, epoch_seconds = train_timed(trainer, recipe, Path(folder))
        completed_scores(finished, recipe)
        counts = trainer.test(recipe, Path(folder))
    return {
        "accuracy": f"{float(counts.correct.sum()) / counts.images:.4f}",
        "seconds": f"{sum(epoch_seconds) * (TRAIN // COMMON['batch_size']):.3f}",
    }


# --- the page -------------------------------------------------------------------------------------

ABOUT = (
    f"`python benchmarks/recipes.py`: `tiny` at 48 px, {TRAIN:,} images of CIFAR-10, batch 32, "
    f"{LENGTH} epochs, tested on {TEST:,} images; {{seeds}} seeds; one CPU core. Points of test "
    "accuracy above the baseline that was trained for as many seconds with the same seed (of "
    "several lengths, interpolated over log seconds), with the 90 % interval over the seeds; in "
    "brackets the seconds of training, relative to the baseline of as many epochs."
)


def page(lines: list[dict[str, str]]) -> str:
    """The table of the levers."""
    found = {tuple(line[name] for name in FIELDS[:4]): line for line in lines}
    seeds = 1 + max(int(line["seed"]) for line in lines)
    heads = "".join(f" {config} |" for config in CONFIGS)
    text = [
        "# What single settings are worth",
        "",
        ABOUT.format(seeds=seeds),
        "",
        f"| lever |{heads} both |",
        "|---|" + "---:|" * (len(CONFIGS) + 1),
    ]
    for lever in LEVERS:
        cells, pooled = [], []
        for config in CONFIGS:
            gains, ratios = gains_of(found, config, lever, seeds)
            pooled += gains
            ratio = f" ({statistics.fmean(ratios):.2f})" if ratios else ""
            cells.append(interval(gains) + ratio)
        text.append(f"| {lever} | {' | '.join(cells)} | {interval(pooled)} |")
    text += ["", "The baseline, mean over the seeds:", "", "| epochs |" + heads, "|---|---:|---:|"]
    for epochs in LENGTHS:
        cells = []
        for config in CONFIGS:
            known = [
                float(found[key]["accuracy"])
                for seed in range(seeds)
                if (key := Run(config, BASELINE, seed, epochs).key) in found
            ]
            cells.append(f"{100 * statistics.fmean(known):.1f} %" if known else "")
        text.append(f"| {epochs} | {' | '.join(cells)} |")
    return "\n".join(text) + "\n"


def gains_of(
    found: dict[tuple[str, ...], dict[str, str]], config: str, lever: str, seeds: int
) -> tuple[list[float], list[float]]:
    """By seed: points above the baseline of equal seconds, and seconds relative to equal epochs."""
    gains, ratios = [], []
    for seed in range(seeds):
        line = found.get(Run(config, lever, seed, LENGTH).key)
        known = [found.get(Run(config, BASELINE, seed, epochs).key) for epochs in LENGTHS]
        curve = [one for one in known if one is not None]
        if line is None or len(curve) < len(LENGTHS):
            continue
        # The step time of the baseline is one: that of all its lengths.
        step = sum(float(one["seconds"]) for one in curve) / sum(LENGTHS)
        seconds = float(line["seconds"])
        expected = np.interp(
            math.log(seconds),
            [math.log(step * epochs) for epochs in LENGTHS],
            [float(one["accuracy"]) for one in curve],
        )
        gains.append(100 * (float(line["accuracy"]) - float(expected)))
        ratios.append(seconds / (step * LENGTH))
    return gains, ratios


#: Of Student's distribution: half of a 90 % interval, by degrees of freedom.
_T90 = (math.inf, 6.31, 2.92, 2.35, 2.13, 2.02, 1.94, 1.89, 1.86, 1.83)


def interval(gains: Iterable[float]) -> str:
    """Mean and 90 % interval."""
    known = list(gains)
    if not known:
        return ""
    if len(known) == 1:
        return f"{known[0]:+.1f}"
    width = _T90[min(len(known) - 1, len(_T90) - 1)]
    half = width * statistics.stdev(known) / math.sqrt(len(known))
    return f"{statistics.fmean(known):+.1f} ± {half:.1f}"


if __name__ == "__main__":
    main()
