"""Compares rungs at the ends of learning-rate cycles and at fixed epochs as predictors of the end.

    python benchmarks/rung_placement.py --images cifar10.npz --out runs/rung-placement

Trains a small network at 32 pixels on a part of CIFAR-10, every trial to its end, with cyclical
learning rates whose bounds, cycle length and weight decay vary. Then it ranks the trials by their
quality at rungs and compares these ranks with those at the end (Spearman's correlation, with a
bootstrap interval over the trials). The same command resumes, and only writes the table
once all trials are finished: benchmarks/results/rung_placement.md.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import spearmanr

from effv2_tune.pareto import cycle_epochs, place_rungs
from effv2_tune.search import read_study
from effv2_tune.search.supervisor import open_study
from effv2_tune.study.plan import HalvingSpec, StudyPlan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from effv2_tune.study.trial import Trial

RESULTS = Path(__file__).parent / "results" / "rung_placement.md"
FRACTIONS = HalvingSpec().rungs
EPOCHS = 20
PLAN = {
    "name": "rung-placement",
    "search_space": {
        "maximal_learning_rate": {"type": "float", "low": 1e-3, "high": 3e-2, "scale": "log"},
        "initial_learning_rate": {"type": "float", "low": 1e-5, "high": 1e-3, "scale": "log"},
        "step_size_epochs": {"type": "choice", "values": [1.0, 1.5, 2.0, 2.5]},
        "weight_decay": {"type": "float", "low": 1e-6, "high": 1e-1, "scale": "log"},
    },
    "search": {"engine": "random", "halving": {"enabled": False}},
    "hardware": "cpu",
}


def quality_at(trial: Trial, epoch: int) -> float:
    """Validation accuracy after an epoch."""
    return trial.curve[epoch - 1].validation.accuracy


def moved_epochs(trials: Sequence[Trial], fraction: float) -> list[int]:
    """Of each trial, the epoch of its rung at the end of a cycle."""
    recipes = [trial.recipe for trial in trials if trial.recipe is not None]
    return [place_rungs(EPOCHS, [fraction], cycle=cycle_epochs(recipe))[0] for recipe in recipes]


def correlation(trials: Sequence[Trial], epochs: Sequence[int]) -> str:
    """Spearman's correlation of quality at each trial's epoch and at the end, with 90 %."""
    early = np.array([quality_at(t, epoch) for t, epoch in zip(trials, epochs, strict=True)])
    late = np.array([quality_at(trial, EPOCHS) for trial in trials])
    generator = np.random.default_rng(0)
    draws = []
    for _ in range(1000):
        some = generator.integers(len(early), size=len(early))
        draws.append(spearmanr(early[some], late[some]).statistic)
    low, high = np.nanquantile(draws, [0.05, 0.95])
    return f"{spearmanr(early, late).statistic:.2f} ({low:.2f} to {high:.2f})"


def table(trials: Sequence[Trial]) -> str:
    """One line for each rung: fixed epochs, fixed epochs at the same cost, ends of cycles."""
    lines = [
        (
            "| fraction | fixed epoch | correlation | mean epoch of the ends of cycles "
            "| correlation | correlation at that fixed epoch, the same cost |"
        ),
        "|---:|---:|---|---:|---|---|",
    ]
    for fraction in FRACTIONS:
        fixed = place_rungs(EPOCHS, [fraction], cycle=None)[0]
        moved = moved_epochs(trials, fraction)
        mean = float(np.mean(moved))
        cells = [
            str(fraction),
            str(fixed),
            correlation(trials, [fixed] * len(trials)),
            f"{mean:.1f}",
            correlation(trials, moved),
            correlation(trials, [round(mean)] * len(trials)),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Train the missing trials, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, required=True, help="CIFAR-10 as an npz file")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--train", type=int, default=2000, help="training images")
    parser.add_argument("--variant", default="tiny")
    arguments = parser.parse_args()
    data = {
        "name": "npz",
        "path": str(arguments.images.resolve()),
        "train": arguments.train,
        "validation": 1000,
    }
    recipe = {"variant": arguments.variant, "resolution": 32, "epochs": EPOCHS, "batch_size": 32}
    plan = StudyPlan.model_validate_json(
        json.dumps(PLAN | {"data": data, "trials": arguments.trials, "recipe": recipe})
    )
    with open_study(plan, arguments.out, base=Path.cwd()) as study:
        for event in study.run(hardware="cpu", backend="tensorflow"):
            print(type(event).__name__, flush=True)
    trials = [trial for trial in read_study(arguments.out).trials if trial.state == "complete"]
    text = "\n".join(
        [
            "# Which rungs predict the final ranking",
            "",
            (
                f"`python benchmarks/rung_placement.py --images cifar10.npz --out DIR`: "
                f"{len(trials)} random configs, each trained to its end: `{arguments.variant}` at "
                f"32 px on {arguments.train:,} images of CIFAR-10, {EPOCHS} epochs, triangular2 "
                "cycles of 2 to 5 epochs, no averaged weights. Spearman's rank correlation of "
                "validation accuracy at the rung and at the end (90 % interval, resampled trials)."
            ),
            "",
            table(trials),
        ]
    )
    RESULTS.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
