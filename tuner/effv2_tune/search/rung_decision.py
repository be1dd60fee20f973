"""A trial at a rung, held against all others that were ever there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from effv2_tune.pareto import HalvingDecision, decide

if TYPE_CHECKING:
    from collections.abc import Sequence

    from effv2_tune.study.plan import Direction, HalvingSpec
    from effv2_tune.study.trial import RungResult, Trial


def decide_at_rung(
    trial: Trial,
    mine: RungResult,
    known: Sequence[Trial],
    *,
    spec: HalvingSpec,
    quality_direction: Direction,
) -> HalvingDecision:
    """Decide whether a trial goes on; a rung in a running trial's record has been passed.

    Args:
        trial: The trial that waits.
        mine: What it shows.
        known: All trials of the study.
        spec: How strict to be.
        quality_direction: ``minimize`` where the quality is a loss.
    """
    others = [other for other in known if other.number != trial.number]
    there = [(one, result) for one in others for result in one.rungs if result.rung == mine.rung]
    completed = [one.measurement for one in others if one.measurement is not None]
    gains = [
        one.measurement.quality - result.quality
        for one, result in there
        if one.measurement is not None
    ]
    decision = decide(
        mine,
        [result for _, result in there],
        completed=completed,
        gains=gains,
        spec=spec,
        quality_direction=quality_direction,
    )
    if decision.go_on or all(result.rung != mine.rung for result in trial.rungs):
        return decision
    return HalvingDecision(True, decision.better, decision.seen, decision.optimistic, guarded=False)
