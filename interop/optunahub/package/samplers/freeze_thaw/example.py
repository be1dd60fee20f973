"""Trades the accuracy of a small network against its training time, and pauses trials."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import optuna
import optunahub
from optuna.distributions import FloatDistribution, IntDistribution

if TYPE_CHECKING:
    from collections.abc import Mapping

FreezeThawSearch = optunahub.load_module("samplers/freeze_thaw").FreezeThawSearch

DISTRIBUTIONS = {
    "width": IntDistribution(8, 512, log=True),
    "rate": FloatDistribution(1e-4, 1.0, log=True),
}
#: Seconds of training.
BUDGET = 150.0


def seconds(params: Mapping[str, Any]) -> float:
    """Of a whole training, known before."""
    return float(1.0 + params["width"] / 8)


def accuracy(params: Mapping[str, Any], share: float) -> float:
    """After a share of the training; train from the checkpoint to there, and validate."""
    reach = 0.9 - 0.1 * abs(math.log10(params["rate"]) + 2) + 0.01 * math.log2(params["width"])
    return reach * (1 - math.exp(-5 * share))


def main() -> None:
    """Search until the budget is spent."""
    study = optuna.create_study(directions=["maximize", "minimize"])
    search = FreezeThawSearch(study, DISTRIBUTIONS, seconds)
    left = BUDGET
    while (step := search.next(cost_left=left)) is not None:
        left -= (step.stop - step.start) * seconds(step.params)
        search.tell(step, accuracy(step.params, step.stop))
    search.close()
    for trial in study.best_trials:
        print(trial.values, trial.params)


if __name__ == "__main__":
    main()
