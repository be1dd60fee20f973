"""Decides whether a trial is promoted past a rung."""

from __future__ import annotations

from typing import TYPE_CHECKING

from effv2_tune.pareto import HalvingDecision, Objective, decide
from effv2_tune.search.events import RungDecided
from effv2_tune.search.storage.records import without_replicates

if TYPE_CHECKING:
    from collections.abc import Sequence

    from effv2_tune.study.plan import HalvingSpec
    from effv2_tune.study.trial import RungResult, Trial


def decide_at_rung(
    trial: Trial,
    result: RungResult,
    known: Sequence[Trial],
    *,
    spec: HalvingSpec,
    objective: Objective,
) -> HalvingDecision:
    """Decide whether a trial resumes; a rung in the record of a running trial has been passed.

    Args:
        trial: The trial that waits at the rung.
        result: Its result there.
        known: All trials of the study.
        spec: The halving of the study.
        objective: Of the study.
    """
    others = [other for other in without_replicates(known) if other.number != trial.number]
    at_rung = [(other, r) for other in others for r in other.rungs if r.rung == result.rung]
    completed = [other.measurement for other in others if other.measurement is not None]
    gains = [
        other.measurement.quality - r.quality
        for other, r in at_rung
        if other.measurement is not None
    ]
    decision = decide(
        result,
        [r for _, r in at_rung],
        completed=completed,
        gains=gains,
        spec=spec,
        objective=objective,
    )
    if decision.go_on or all(r.rung != result.rung for r in trial.rungs):
        return decision
    return HalvingDecision(True, decision.better, decision.seen, decision.optimistic, guarded=False)


def rung_decided(trial: int, result: RungResult, decision: HalvingDecision) -> RungDecided:
    """The event of a decision on trial number ``trial``."""
    optimistic = decision.optimistic
    return RungDecided(
        trial=trial,
        rung=result.rung,
        epoch=result.epoch,
        quality=result.quality,
        projected_seconds=result.projected_seconds,
        go_on=decision.go_on,
        better=decision.better,
        seen=decision.seen,
        guarded=decision.guarded,
        optimistic_quality=None if optimistic is None else optimistic.quality,
    )
