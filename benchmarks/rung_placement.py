"""Which rungs foretell the end: those in the learning rate's valleys, or those at fixed epochs.

    python benchmarks/rung_placement.py --images cifar10.npz --out runs/rung-placement

Trains B0 at 32 pixels on a part of CIFAR-10, every trial to its end, with cyclical learning rates
whose bounds, cycle length and weight decay vary. Then it ranks the trials by their quality at rungs
and holds these ranks against those at the end (Spearman's correlation, with an interval from
resampling the trials). The same command again continues, and prints the table without training
once all trials are there.
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

FRACTIONS = HalvingSpec().rungs
EPOCHS = 20
PLAN = {
    "name": "rung-placement",
    "recipe": {"variant": "b0", "resolution": 32, "epochs": EPOCHS, "batch_size": 64},
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


def correlation(trials: Sequence[Trial], fraction: float, *, moved: bool) -> tuple[float, str]:
    """Spearman's correlation of rung and end, and a 90 % interval of it."""
    early, late = [], []
    for trial in trials:
        if trial.recipe is None:
            continue
        cycle = cycle_epochs(trial.recipe) if moved else None
        epoch = place_rungs(EPOCHS, [fraction], cycle=cycle)[0]
        early.append(quality_at(trial, epoch))
        late.append(quality_at(trial, EPOCHS))
    generator = np.random.default_rng(0)
    draws = []
    for _ in range(1000):
        some = generator.integers(len(early), size=len(early))
        draws.append(spearmanr(np.array(early)[some], np.array(late)[some]).statistic)
    low, high = np.nanquantile(draws, [0.05, 0.95])
    return float(spearmanr(early, late).statistic), f"{low:.2f} to {high:.2f}"


def main() -> None:
    """Train what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, required=True, help="CIFAR-10 as an npz file")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--train", type=int, default=1500, help="training images")
    arguments = parser.parse_args()
    data = {
        "name": "npz",
        "path": str(arguments.images.resolve()),
        "train": arguments.train,
        "validation": 1000,
    }
    plan = StudyPlan.model_validate_json(
        json.dumps(PLAN | {"data": data, "trials": arguments.trials})
    )
    with open_study(plan, arguments.out, base=Path.cwd()) as study:
        for event in study.run(hardware="cpu", backend="tensorflow"):
            print(type(event).__name__, flush=True)
    trials = [trial for trial in read_study(arguments.out).trials if trial.state == "complete"]
    print(f"\n{len(trials)} trials\n")
    print("| fraction of the epochs | fixed epoch | 90 % | end of a cycle | 90 % |")
    print("|---:|---:|---|---:|---|")
    for fraction in FRACTIONS:
        fixed, around_fixed = correlation(trials, fraction, moved=False)
        moved, around_moved = correlation(trials, fraction, moved=True)
        print(f"| {fraction} | {fixed:.2f} | {around_fixed} | {moved:.2f} | {around_moved} |")


if __name__ == "__main__":
    main()
