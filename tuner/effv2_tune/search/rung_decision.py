"""Decides whether a trial is promoted past a rung, paused there or stopped."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from effv2_tune.pareto import FullCurve, HalvingDecision, Objective, decide
from effv2_tune.search.events import RungDecided
from effv2_tune.search.storage.records import without_replicates

if TYPE_CHECKING:
    from collections.abc import Sequence

    from effv2_tune.study.plan import HalvingSpec
    from effv2_tune.study.trial import RungAnswer, RungResult, Trial


@dataclass(frozen=True)
class RungDecision:
    """The decision at a rung, with its grounds.

    Attributes:
        answer: What happens to the trial.
        halving: The decision of halving; None where it was not asked.
    """

    answer: RungAnswer
    halving: HalvingDecision | None = None


class RungPolicy(Protocol):
    """Decides at rungs, and which paused trial is continued.

    Attributes:
        pauses: Whether it pauses trials, and continues them.
    """

    pauses: bool

    def decide(
        self, trial: Trial, result: RungResult, known: Sequence[Trial], *, seconds_left: float
    ) -> RungDecision:
        """Decide about a trial that waits at a rung.

        A rung in its record has been passed: the worker that reaches it again, after an
        interruption or a pause, goes on.

        Args:
            trial: The trial.
            result: Its result there.
            known: All trials of the study.
            seconds_left: Until the end of the budget.
        """

    def choose_paused(self, known: Sequence[Trial], *, seconds_left: float) -> int | None:
        """The paused trial that an idle worker continues; None where there is a better use of it.

        Args:
            known: All trials of the study.
            seconds_left: Until the end of the budget.
        """


class HalvingPolicy:
    """Promotes or stops a trial by multi-objective successive halving; it never pauses one.

    Args:
        spec: The halving of the study.
        objective: Of the study.
    """

    pauses = False

    def __init__(self, spec: HalvingSpec, objective: Objective) -> None:
        self._spec = spec
        self._objective = objective

    def decide(
        self,
        trial: Trial,
        result: RungResult,
        known: Sequence[Trial],
        *,
        seconds_left: float,  # noqa: ARG002 - a protocol
    ) -> RungDecision:
        """See :class:`RungPolicy`."""
        halving = decide_at_rung(trial, result, known, spec=self._spec, objective=self._objective)
        return RungDecision("promote" if halving.go_on else "stop", halving)

    def choose_paused(
        self,
        known: Sequence[Trial],  # noqa: ARG002 - a protocol
        *,
        seconds_left: float,  # noqa: ARG002 - a protocol
    ) -> None:
        """None: trials that another engine has paused stay so until the study ends."""
        return


def has_passed(trial: Trial, result: RungResult) -> bool:
    """Whether a rung is in the record of a trial already."""
    return any(rung.rung == result.rung for rung in trial.rungs)


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
    full = [
        FullCurve(at_rung=r.quality, at_end=other.measurement.quality)
        for other, r in at_rung
        if other.measurement is not None
    ]
    decision = decide(
        result,
        [r for _, r in at_rung],
        completed=completed,
        full=full,
        spec=spec,
        objective=objective,
    )
    if decision.go_on or not has_passed(trial, result):
        return decision
    return replace(decision, go_on=True, guarded=False)


def rung_decided(trial: int, result: RungResult, decision: RungDecision) -> RungDecided:
    """The event of a decision on trial number ``trial``."""
    event = RungDecided(
        trial=trial,
        rung=result.rung,
        epoch=result.epoch,
        quality=result.quality,
        projected_seconds=result.projected_seconds,
        answer=decision.answer,
    )
    halving = decision.halving
    if halving is None:
        return event
    optimistic = halving.optimistic
    grounds = {
        "better": halving.better,
        "seen": halving.seen,
        "guarded": halving.guarded,
        "optimistic_quality": None if optimistic is None else optimistic.quality,
        "strictness": halving.strictness,
    }
    return event.model_copy(update=grounds)
