"""Ranks paused trials, so that the worst is stopped first where the disk runs full."""

from __future__ import annotations

from typing import TYPE_CHECKING

from effv2_tune.pareto import Objective, expected_outcome, rank_order
from effv2_tune.pareto.hypervolume import log_seconds
from effv2_tune.search.storage.records import without_replicates

if TYPE_CHECKING:
    from collections.abc import Sequence

    from effv2_tune.study.trial import Measurement, Trial


def worst_paused(trials: Sequence[Trial], objective: Objective) -> Trial | None:
    """The paused trial with the worst expected outcome; None where none is paused.

    Paused and complete trials are ranked together, by non-dominated sorting over (quality, log
    seconds), so that a paused trial off the front is worse than one on it. The outcome of a paused
    one is extrapolated from its last rung.

    Args:
        trials: All of the study.
        objective: Of the study.
    """
    searched = without_replicates(trials)
    complete = [(trial, trial.measurement) for trial in searched if trial.measurement is not None]
    paused = [
        (trial, _expected(trial, [one for one, _ in complete]))
        for trial in searched
        if trial.state == "paused"
    ]
    outcomes = [*complete, *paused]
    costs = [
        (objective.quality_cost(point.quality), log_seconds(point.train_seconds))
        for _, point in outcomes
    ]
    ranked = [outcomes[place][0] for place in rank_order(costs)]
    return next((trial for trial in reversed(ranked) if trial.state == "paused"), None)


def _expected(trial: Trial, complete: Sequence[Trial]) -> Measurement:
    """The outcome to expect of a paused trial."""
    last = trial.rungs[-1]
    return expected_outcome(
        last,
        [
            (result, other.measurement)
            for other in complete
            for result in other.rungs
            if result.rung == last.rung and other.measurement is not None
        ],
    )
