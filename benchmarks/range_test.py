"""Compares the range test's proposals with grids of learning rates, on images of CIFAR-10.

    python benchmarks/range_test.py --data cifar10.npz [--part test|grid|report]

Three buckets of the tiny network at 32 pixels (AdamW, SGD, AdaBelief; batches of 64, 64 and 256):
a range test of 300 steps in each, by the command's own code, and 12 maximal learning rates from
1e-5 to 10^0.5 with the schedule of the recipe, three seeds each, scored by validation accuracy.
The proposal is good if it contains the best of the 12 rates and is much narrower than the grid.
Each training is kept under --work: the same command resumes. Writes
benchmarks/results/range_test.md.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from effv2_tune.files.atomic import write_json
from effv2_tune.host import probe_host
from effv2_tune.optimizers.range_test import RangeProposal, propose_bounds, rising_rates
from effv2_tune.study.recipe import DataSpec, Recipe

if TYPE_CHECKING:
    from effv2_tune.training.trainer import Trainer

RESULTS = Path(__file__).parent / "results" / "range_test.md"
RATES = [10 ** (power / 2) for power in range(-10, 2)]
STEPS = 300
SEEDS = 3
PARTS = ("test", "grid", "report")
BUCKETS: dict[str, dict[str, Any]] = {
    "AdamW, batch 64": {"optimizer": "adamw", "epsilon": 1e-7, "batch_size": 64},
    "SGD, batch 64": {"optimizer": "sgd", "batch_size": 64},
    "AdaBelief, batch 256": {"optimizer": "adabelief", "epsilon": 1e-7, "batch_size": 256},
}


def main() -> None:
    """Run one part, or all of them in order."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("runs/benchmark-range-test"))
    parser.add_argument("--part", choices=PARTS)
    parser.add_argument("--images", type=int, default=4000, help="of training")
    parser.add_argument("--epochs", type=int, default=4)
    arguments = parser.parse_args()
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    bench = Benchmark(arguments)
    for part in PARTS if arguments.part is None else [arguments.part]:
        getattr(bench, part)()


class Benchmark:
    """The parts, and the files of their results."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.work: Path = arguments.work.resolve()
        self.work.mkdir(parents=True, exist_ok=True)
        self._trainer: Trainer | None = None

    def recipe(self, bucket: str, **settings: Any) -> Recipe:
        """The recipe of a bucket."""
        images = self.arguments.images
        data = DataSpec(
            name="npz",
            path=str(self.arguments.data.resolve()),
            train=images,
            validation=max(images // 2, 500),
        )
        base = {
            "variant": "tiny",
            "resolution": 32,
            "epochs": self.arguments.epochs,
            "schedule": "cosine",
            "initial_learning_rate": 0.0,
            "dropout": 0.0,
            "stochastic_depth": 0.0,
            "flip": True,
            "data": data,
        }
        return Recipe(**base | BUCKETS[bucket] | settings)

    @property
    def trainer(self) -> Trainer:
        """On this machine's processors."""
        from effv2_tune.data import load_dataset
        from effv2_tune.training.devices import open_device
        from effv2_tune.training.trainer import Trainer

        if self._trainer is None:
            dataset = load_dataset(self.recipe(next(iter(BUCKETS))).data, base=Path())
            device = open_device(os.environ["KERAS_BACKEND"], hardware="cpu")  # type: ignore[arg-type]
            self._trainer = Trainer(dataset, device)
        return self._trainer

    # --- parts

    def test(self) -> None:
        """A range test of each bucket and seed."""
        from effv2_tune.workers.messages import RangeTest

        rates = tuple(rising_rates(1e-6, 10.0, STEPS))
        for bucket in BUCKETS:
            for seed in range(SEEDS):
                file = self.file("test", bucket, seed)
                if not file.exists():
                    tested = self.trainer.range_test(
                        RangeTest(recipe=self.recipe(bucket, seed=seed), rates=rates)
                    )
                    print(f"{bucket}, seed {seed}: {len(tested.losses)} steps")
                    write_json(file, {"losses": tested.losses, "seconds": tested.seconds})

    def grid(self) -> None:
        """A training at each rate, of each bucket and seed."""
        for seed in range(SEEDS):
            for bucket in BUCKETS:
                for rate in RATES:
                    self.train(bucket, rate, seed)

    def train(self, bucket: str, rate: float, seed: int) -> None:
        """Train at one rate, unless it was done before."""
        from effv2_tune.workers.messages import Train

        file = self.file("grid", bucket, seed, f"{rate:.2e}")
        if file.exists():
            return
        request = Train(
            trial=0,
            recipe=self.recipe(bucket, maximal_learning_rate=rate, seed=seed),
            rungs=(),
            step_seconds=0.01,
            checkpoint=file.with_suffix(".checkpoints"),
        )
        finished = self.trainer.train_trial(
            request, on_event=lambda _: None, should_continue=lambda _: True
        )
        scores = finished.scores
        accuracy = 0.0 if scores is None else scores.accuracy
        print(f"{bucket}, seed {seed}, {rate:.2e}: {finished.outcome}, {accuracy:.4f}")
        write_json(file, {"accuracy": accuracy, "outcome": finished.outcome})

    def file(self, *names: str | int) -> Path:
        """Where a result is kept."""
        words = "-".join(str(name).replace(", ", "-").replace(" ", "-") for name in names)
        return self.work / f"{words}.json"

    def report(self) -> None:
        """Write the page."""
        RESULTS.write_text("\n".join([*self.lines(), ""]), encoding="utf-8")

    def proposal(self, bucket: str, seed: int) -> RangeProposal | None:
        """The proposal of one test."""
        losses = json.loads(self.file("test", bucket, seed).read_text())["losses"]
        rates = rising_rates(1e-6, 10.0, STEPS)[: len(losses)]
        return propose_bounds(rates, losses, steps=STEPS)

    def accuracies(self, bucket: str) -> np.ndarray[Any, Any]:
        """[rates, seeds] of the grid; NaN where it is not trained yet."""
        found = np.full((len(RATES), SEEDS), np.nan)
        for at, rate in enumerate(RATES):
            for seed in range(SEEDS):
                file = self.file("grid", bucket, seed, f"{rate:.2e}")
                if file.exists():
                    found[at, seed] = json.loads(file.read_text())["accuracy"]
        return found[:, ~np.isnan(found).any(axis=0)]

    def lines(self) -> list[str]:
        """The page, line by line."""
        host, arguments = probe_host(), self.arguments
        rows = [self.row(bucket) for bucket in BUCKETS]
        about = (
            f"`benchmarks/range_test.py` on {host.cpu}, {host.cpu_count} processors. The tiny "
            f"network at 32 px on {arguments.images:,} training images of CIFAR-10, "
            f"{arguments.epochs} epochs, cosine schedule, from random weights. The grid has 12 "
            f"maximal learning rates, half a decade apart, from 1e-5 to 3.2. Accuracies are means "
            f"over seeds on {max(arguments.images // 2, 500):,} validation images, with the "
            f"standard error over seeds. A test is one seed and {STEPS} steps; the other seeds' "
            f"proposals show what chance changes. Proposals span {self.widths()} decades, the grid "
            "5.5. These trainings are short, so that their best rates are high; those of long "
            "trainings were not measured."
        )
        header = (
            "bucket",
            "seeds of the grid",
            "best rate",
            "its accuracy",
            "rates that cannot be distinguished from it",
            "proposals for `maximal_learning_rate`, by seed",
            "contain the best rate",
        )
        return [
            "# The learning-rate range test",
            "",
            about,
            "",
            f"| {' | '.join(header)} |",
            "| --- |" + " --- |" * (len(header) - 1),
            *rows,
            "",
            "Accuracy of each rate:",
            "",
            "| bucket | " + " | ".join(f"{rate:.1e}" for rate in RATES) + " |",
            "| --- |" + " --- |" * len(RATES),
            *self.table(),
        ]

    def widths(self) -> str:
        """The decades that the proposals span: the fewest and the most."""
        found = [self.proposal(bucket, seed) for bucket in BUCKETS for seed in range(SEEDS)]
        spans = [float(np.log10(one.maximal.high / one.maximal.low)) for one in found if one]
        return f"{min(spans):.1f} to {max(spans):.1f}"

    def row(self, bucket: str) -> str:
        """One bucket in the table."""
        accuracies = self.accuracies(bucket)
        seeds = accuracies.shape[1]
        if seeds == 0:
            return f"| {bucket} | 0 | not trained yet | | | | |"
        means = accuracies.mean(axis=1)
        best = int(np.argmax(means))
        difference = accuracies[best] - accuracies
        error = difference.std(axis=1, ddof=1) / np.sqrt(seeds) if seeds > 1 else np.zeros(12)
        alike = [
            f"{RATES[at]:.1e}"
            for at in range(len(RATES))
            if at != best and means[best] - means[at] <= 2 * error[at]
        ]
        accuracy = f"{means[best]:.4f}"
        if seeds > 1:
            accuracy += f" ± {accuracies[best].std(ddof=1) / np.sqrt(seeds):.4f}"
        proposals = [self.proposal(bucket, seed) for seed in range(SEEDS)]
        ranges = [
            "none" if one is None else f"{one.maximal.low:.2g} to {one.maximal.high:.2g}"
            for one in proposals
        ]
        contain = [
            one is not None and one.maximal.low <= RATES[best] <= one.maximal.high
            for one in proposals
        ]
        cells = [
            bucket,
            str(seeds),
            f"{RATES[best]:.1e}",
            accuracy,
            ", ".join(alike) or "none"
            if seeds >= SEEDS
            else f"unknown from {seeds} of {SEEDS} seeds",
            "; ".join(ranges),
            f"{sum(contain)} of {len(contain)}",
        ]
        return "| " + " | ".join(cells) + " |"

    def table(self) -> list[str]:
        """The mean accuracy of each bucket and rate."""
        return [
            "| "
            + " | ".join(
                [bucket, *(f"{mean:.3f}" for mean in self.accuracies(bucket).mean(axis=1))]
            )
            + " |"
            for bucket in BUCKETS
            if self.accuracies(bucket).shape[1]
        ]


if __name__ == "__main__":
    main()
