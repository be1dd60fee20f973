"""A policy that pauses at every rung, and promotes the trial with the best quality so far."""

from __future__ import annotations

from typing import TYPE_CHECKING

from effv2_tune.search.rung_decision import RungDecision, has_passed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from effv2_tune.study.trial import RungResult, Trial


class PauseAlways:
    """Decides by the records alone, so that an interruption changes nothing.

    Args:
        most: Paused trials beyond which one is continued.
    """

    pauses = True

    def __init__(self, most: int = 3) -> None:
        self._most = most

    def decide(
        self,
        trial: Trial,
        result: RungResult,
        known: Sequence[Trial],  # noqa: ARG002 - a protocol
        *,
        seconds_left: float,  # noqa: ARG002 - a protocol
    ) -> RungDecision:
        return RungDecision("promote" if has_passed(trial, result) else "pause")

    def choose_paused(self, known: Sequence[Trial], *, seconds_left: float) -> int | None:  # noqa: ARG002 - a protocol
        paused = [trial for trial in known if trial.state == "paused"]
        if len(paused) <= self._most:
            return None
        return max(paused, key=lambda trial: (trial.rungs[-1].quality, -trial.number)).number
