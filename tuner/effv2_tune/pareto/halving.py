"""Decides whether a trial is promoted past a rung, by multi-objective successive halving."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from effv2_tune.pareto.front import dominates
from effv2_tune.pareto.hypervolume import log_seconds
from effv2_tune.pareto.objective import ACCURACY, Objective
from effv2_tune.pareto.ranking import rank_order
from effv2_tune.pareto.rung_strictness import strictness
from effv2_tune.study.trial import Measurement

if TYPE_CHECKING:
    from collections.abc import Sequence

    from effv2_tune.pareto.rung_strictness import FullCurve
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
        strictness: Of the rung, from 0 to 1, where it has to be earned; None while too few curves
            are complete.
    """

    go_on: bool
    better: int
    seen: int
    optimistic: Measurement | None
    guarded: bool
    strictness: float | None = None


def decide(
    candidate: RungResult,
    others: Sequence[RungResult],
    *,
    completed: Sequence[Measurement],
    full: Sequence[FullCurve],
    spec: HalvingSpec,
    objective: Objective = ACCURACY,
) -> HalvingDecision:
    """Decide whether the trial at ``candidate`` continues.

    All trials seen at the rung are ranked by non-dominated sorting over (quality at the rung, log
    of the projected seconds), ties inside a rank broken by an epsilon net. The trial stops when
    more than ``spec.keep`` of them rank better. As soon as ``spec.guard_after`` full curves are
    known it stops only if a completed trial also dominates its optimistic outcome: a quantile of
    the gains between this rung and the end, added to its quality. Before that, halving acts alone.

    With ``spec.earned``, the quantile is ``spec.quantile`` for as many of the worst as the rung has
    earned to stop only: a share of ``1 - spec.keep`` times its strictness. For all others it is the
    largest gain, so that where the rung has predicted little, only the guard acts.

    Args:
        candidate: The result of the waiting trial.
        others: Results of all other trials at the same rung, pruned or not.
        completed: Measurements of the trials completed so far.
        full: Each complete curve, at this rung and at its end.
        spec: The study's settings of halving.
        objective: Of the study.
    """
    results = (*others, candidate)
    costs = [(objective.quality_cost(r.quality), log_seconds(r.projected_seconds)) for r in results]
    seen = len(costs)
    better = rank_order(costs).index(seen - 1)
    outcome, earned = None, None
    if len(full) >= spec.guard_after:
        earned = strictness(full, [r.quality for r in results]) if spec.earned else None
        is_trusted = earned is None or better > (1 - earned * (1 - spec.keep)) * seen
        gains = [curve.at_end - curve.at_rung for curve in full]
        gain = optimistic_gain(gains, spec.quantile if is_trusted else 1.0, objective)
        outcome = Measurement(
            quality=candidate.quality + gain, train_seconds=candidate.projected_seconds
        )
    is_kept = better <= spec.keep * seen
    hopeless = outcome is None or any(dominates(one, outcome, objective) for one in completed)
    return HalvingDecision(
        go_on=is_kept or not hopeless,
        better=better,
        seen=seen,
        optimistic=outcome,
        guarded=not is_kept and not hopeless,
        strictness=earned,
    )


def optimistic_gain(
    gains: Sequence[float], quantile: float, objective: Objective = ACCURACY
) -> float:
    """The gain that only a share of ``1 - quantile`` of the ``gains`` exceeds."""
    improvements = [-objective.quality_cost(gain) for gain in gains]
    return objective.quality_cost(-float(np.quantile(improvements, quantile)))
