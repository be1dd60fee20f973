"""Trades the accuracy of a small network against its training time, and prunes on the way."""

from __future__ import annotations

import math

import optuna
import optunahub

ParetoHalvingPruner = optunahub.load_module("pruners/pareto_halving").ParetoHalvingPruner

EPOCHS = 20
#: The epochs at which trials are compared.
RUNGS = (2, 4, 8)


def main() -> None:
    """Search in 100 trials."""
    study = optuna.create_study(directions=["maximize", "minimize"])
    pruner = ParetoHalvingPruner(study)

    def objective(trial: optuna.Trial) -> tuple[float, float]:
        width = trial.suggest_int("width", 8, 512, log=True)
        rate = trial.suggest_float("rate", 1e-4, 1.0, log=True)
        seconds = 1.0 + width / 8  # known before training
        reach = 0.9 - 0.1 * abs(math.log10(rate) + 2) + 0.01 * math.log2(width)
        accuracy = 0.0
        for epoch in range(1, EPOCHS + 1):
            accuracy = reach * (1 - math.exp(-epoch / 4))  # train and validate here
            if epoch in RUNGS and pruner.should_prune(
                trial, rung=RUNGS.index(epoch), quality=accuracy, cost=seconds
            ):
                raise optuna.TrialPruned
        return accuracy, seconds

    study.optimize(objective, n_trials=100)
    for trial in study.best_trials:
        print(trial.values, trial.params)


if __name__ == "__main__":
    main()
