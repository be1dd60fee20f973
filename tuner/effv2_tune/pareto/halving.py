"""Decides whether a trial is promoted past a rung, by multi-objective successive halving."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from effv2_tune.pareto.front import dominates
from effv2_tune.pareto.hypervolume import log_seconds
from effv2_tune.pareto.objective import ACCURACY, Objective
from effv2_tune.pareto.ranking import rank_order
from effv2_tune.study.trial import Measurement

if TYPE_CHECKING:
    from collections.abc import Sequence

    from effv2_tune.study.plan import HalvingSpec
    from effv2_tune.study.trial import RungResult


@dataclass(frozen=True)
class HalvingDecision:
    """The decision at a rung, with its grounds.

    Attributes:
        go_on: Whether the trial continues.
        better: Number of trials at the rung that rank better.
        seen: Number of trials that reached the rung, this one included.
        optimistic: The optimistic outcome of the trial; None while too few curves are complete.
        guarded: Whether only its optimistic outcome kept the trial.
    """

    go_on: bool
    better: int
    seen: int
    optimistic: Measurement | None
    guarded: bool


def decide(
    candidate: RungResult,
    others: Sequence[RungResult],
    *,
    completed: Sequence[Measurement],
    gains: Sequence[float],
    spec: HalvingSpec,
    objective: Objective = ACCURACY,
) -> HalvingDecision:
    """Decide whether the trial at ``candidate`` continues.

    All trials seen at the rung are ranked by non-dominated sorting over (quality at the rung, log
    of the projected seconds), ties inside a rank broken by an epsilon net. The trial stops when
    more than ``spec.keep`` of them rank better. As soon as ``spec.guard_after`` full curves are
    known it stops only if a completed trial also dominates its optimistic outcome: the
    ``spec.quantile`` of the gains between this rung and the end, added to its quality. Before
    that, halving acts alone.

    Args:
        candidate: The result of the waiting trial.
        others: Results of all other trials at the same rung, pruned or not.
        completed: Measurements of the trials completed so far.
        gains: Gain in quality of each complete curve between this rung and its end.
        spec: The study's settings of halving.
        objective: Of the study.
    """
    costs = [
        (objective.quality_cost(r.quality), log_seconds(r.projected_seconds))
        for r in (*others, candidate)
    ]
    seen = len(costs)
    better = rank_order(costs).index(seen - 1)
    outcome = None
    if len(gains) >= spec.guard_after:
        gain = optimistic_gain(gains, spec.quantile, objective)
        outcome = Measurement(
            quality=candidate.quality + gain, train_seconds=candidate.projected_seconds
        )
    if better <= spec.keep * seen:
        return HalvingDecision(True, better, seen, outcome, guarded=False)
    hopeless = outcome is None or any(dominates(one, outcome, objective) for one in completed)
    return HalvingDecision(not hopeless, better, seen, outcome, guarded=not hopeless)


def optimistic_gain(
    gains: Sequence[float], quantile: float, objective: Objective = ACCURACY
) -> float:
    """The gain that only a share of ``1 - quantile`` of the ``gains`` exceeds."""
    improvements = [-objective.quality_cost(gain) for gain in gains]
    return objective.quality_cost(-float(np.quantile(improvements, quantile)))
