"""Whether a trial that has reached a rung goes on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from effv2_tune.pareto.front import QualityDirection, dominates, merit
from effv2_tune.pareto.hypervolume import log_seconds
from effv2_tune.pareto.ranking import rank_order
from effv2_tune.study.trial import Measurement

if TYPE_CHECKING:
    from collections.abc import Sequence

    from effv2_tune.study.plan import HalvingSpec
    from effv2_tune.study.trial import RungResult


@dataclass(frozen=True)
class HalvingDecision:
    """What was decided at a rung, and on which grounds.

    Attributes:
        go_on: Whether the trial goes on.
        better: How many of the trials seen at the rung rank better.
        seen: How many were seen, this one included.
        optimistic: What the trial may still come to; absent while too few curves are full.
        guarded: Whether only its optimistic outlook kept the trial.
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
    quality_direction: QualityDirection = "maximize",
) -> HalvingDecision:
    """Decide whether the trial at ``candidate`` goes on.

    All trials seen at the rung are ranked by non-dominated sorting over (quality at the rung, log
    of the projected seconds), ties inside a rank broken by an epsilon net. The trial stops when
    more than ``spec.keep`` of them rank better. As soon as ``spec.guard_after`` full curves are
    known it stops only if a completed trial also dominates its optimistic outcome: the
    ``spec.quantile`` of the gains between this rung and the end, added to its quality. Before
    that, halving acts alone.

    Args:
        candidate: The trial that waits.
        others: Results of all other trials at the same rung, stopped or not.
        completed: Measurements of the trials completed so far.
        gains: What full curves gained between this rung and their end, in the study's quality.
        spec: How strict to be.
        quality_direction: ``minimize`` where the quality is a loss.
    """
    points = [
        (merit(r.quality, quality_direction), log_seconds(r.projected_seconds))
        for r in (*others, candidate)
    ]
    seen = len(points)
    better = rank_order(points).index(seen - 1)
    outlook = None
    if len(gains) >= spec.guard_after:
        gain = optimistic_gain(gains, spec.quantile, quality_direction=quality_direction)
        outlook = Measurement(
            quality=candidate.quality + gain, train_seconds=candidate.projected_seconds
        )
    if better <= spec.keep * seen:
        return HalvingDecision(True, better, seen, outlook, guarded=False)
    hopeless = outlook is None or any(
        dominates(one, outlook, quality_direction=quality_direction) for one in completed
    )
    return HalvingDecision(not hopeless, better, seen, outlook, guarded=not hopeless)


def optimistic_gain(
    gains: Sequence[float], quantile: float, *, quality_direction: QualityDirection = "maximize"
) -> float:
    """The gain that only a share of ``1 - quantile`` of the ``gains`` exceeds."""
    merits = [merit(gain, quality_direction) for gain in gains]
    return merit(float(np.quantile(merits, quantile)), quality_direction)
