"""Trains several hundred random configs: a table of real learning curves, to simulate searches on.

    python benchmarks/trainings.py --data cifar10.npz [--configs 400] [--results FOLDER]

Trains the network `tiny` on 1,600 images of CIFAR-10 (an ``npz`` with x_train, y_train, x_test,
y_test), on one core, each config once and with a seed of its own. The configs are drawn at random
from `SPACE`: learning rates, weight decay, resolution, epochs, flips, mixup and RandAugment. Each
training is a line of ``trainings.csv``: its config, the curve on 1,000 other images, and the
processor time of its steps and of all of it, which the load of the machine does not change. The
first training of a bucket in a process compiles it (``is_compiled`` is False). The same command
resumes; with more --configs it goes on, as the first ones stay the same. With --first, another
process can train the later ones into another folder, and the lines belong in one table.

benchmarks/trainings_replay.py simulates searches on the table.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from seeds import append, complete_rows, make_trainer, train_timed, use_one_core

from effv2_tune.search.engines.unit_cube import UnitCube
from effv2_tune.study.space import Space

if TYPE_CHECKING:
    from collections.abc import Mapping

    from effv2_tune.study.recipe import Recipe
    from effv2_tune.study.space import Config
    from effv2_tune.training.trainer import Trainer

RESULTS = Path(__file__).parent / "results" / "trainings"
CONFIGS = 400
SPACE_SEED = 16
TRAIN, VALIDATION = 1600, 1000
BATCH = 32
STEPS_PER_EPOCH = TRAIN // BATCH
SPACE = Space.model_validate(
    {
        "maximal_learning_rate": {"type": "float", "low": 3e-4, "high": 5e-2, "scale": "log"},
        "initial_learning_rate": {"type": "float", "low": 1e-6, "high": 3e-4, "scale": "log"},
        "weight_decay": {"type": "float", "low": 1e-5, "high": 1.0, "scale": "log"},
        "resolution": {"type": "choice", "values": [32, 40, 48]},
        "epochs": {"type": "int", "low": 3, "high": 9, "scale": "log"},
        "flip": {"type": "choice", "values": [False, True]},
        "mixup": {"type": "float", "low": 0.0, "high": 0.5},
        "rand_augment": {"type": "float", "low": 0.0, "high": 10.0},
    }
)
FIELDS = (
    "number",
    *SPACE.parameters,
    "outcome",
    "curve_accuracy",
    "curve_loss",
    "step_ms",
    "epoch_step_ms",
    "is_compiled",
    "process_seconds",
)


def main() -> None:
    """Train what the table lacks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="cifar10.npz")
    parser.add_argument("--configs", type=int, default=CONFIGS, help="up to this one, exclusively")
    parser.add_argument("--first", type=int, default=0, metavar="CONFIG")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    options.results.mkdir(parents=True, exist_ok=True)
    train(options)


def configs(count: int) -> list[Config]:
    """The first configs of a fixed random sequence."""
    cube = UnitCube(SPACE)
    return cube.configs(np.random.default_rng(SPACE_SEED).random((count, cube.dimensions)))


def recipe_of(config: Mapping[str, Any], *, seed: int, data: Path) -> Recipe:
    """The recipe of one training; the split is the same in all."""
    from effv2_tune.study.recipe import DataSpec, Recipe

    return Recipe(
        variant="tiny",
        batch_size=BATCH,
        optimizer="adamw",
        epsilon=1e-7,
        schedule="cosine",
        warmup_epochs=0.5,
        dropout=0.0,
        stochastic_depth=0.0,
        seed=seed,
        data=DataSpec(name="npz", path=str(data.resolve()), train=TRAIN, validation=VALIDATION),
        **config,
    )


def train(options: argparse.Namespace) -> None:
    """Train what the table lacks, config after config."""
    use_one_core()
    drawn = configs(options.configs)
    table = options.results / "trainings.csv"
    known = {row["number"] for row in complete_rows(table, FIELDS)}
    compiled: set[str] = set()
    trainer = make_trainer(recipe_of(drawn[0], seed=0, data=options.data))
    for number in range(options.first, options.configs):
        if str(number) in known:
            continue
        before = time.process_time()
        recipe = recipe_of(drawn[number], seed=number, data=options.data)
        row = {"number": number} | drawn[number] | train_once(trainer, recipe)
        bucket = trainer.bucket_key(recipe).digest
        row["is_compiled"] = bucket in compiled
        row["process_seconds"] = f"{time.process_time() - before:.2f}"
        compiled.add(bucket)
        append(table, row, FIELDS)
        print(number, row["curve_accuracy"], f"{row['process_seconds']} s", file=sys.stderr)


def train_once(trainer: Trainer, recipe: Recipe) -> dict[str, Any]:
    """One training, as columns of the table."""
    with tempfile.TemporaryDirectory() as folder:
        finished, _, epoch_seconds = train_timed(trainer, recipe, Path(folder))
    if finished.outcome not in ("complete", "diverged"):
        raise RuntimeError(f"A config of the benchmark ended {finished.outcome}: {recipe}")
    curve = finished.curve
    return {
        "outcome": finished.outcome,
        "curve_accuracy": " ".join(f"{epoch.validation.accuracy:.3f}" for epoch in curve),
        "curve_loss": " ".join(f"{epoch.validation.loss:.3f}" for epoch in curve),
        "step_ms": f"{1000 * statistics.median(epoch_seconds):.3f}" if epoch_seconds else "",
        "epoch_step_ms": " ".join(f"{1000 * seconds:.2f}" for seconds in epoch_seconds),
    }


if __name__ == "__main__":
    main()
