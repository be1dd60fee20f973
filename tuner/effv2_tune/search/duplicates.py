"""Trials of one config: the first is trained, the others are answered from its record."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from effv2_tune.study.trial import Trial


class Duplicates:
    """Who has the same config as whom, and who waits for whom."""

    def __init__(self) -> None:
        self._keys: dict[int, str] = {}
        self._parked: dict[int, list[Trial]] = {}

    def find(self, trial: Trial, known: Iterable[Trial], in_hand: Collection[int]) -> Trial | None:
        """An earlier trial of the same config that answers this one, or will.

        Args:
            trial: The new one.
            known: All trials of the study.
            in_hand: Numbers of those that this supervisor works on.
        """
        mine = _key(trial)
        for other in known:
            if other.number not in self._keys and other.config:
                self._keys[other.number] = _key(other)
            answers = other.state not in ("running", "failed") or other.number in in_hand
            if other.number != trial.number and self._keys.get(other.number) == mine and answers:
                return other
        return None

    def park(self, trial: Trial, twin: Trial) -> None:
        """Let ``trial`` wait for what becomes of ``twin``."""
        self._parked.setdefault(twin.number, []).append(trial)

    def free(self, number: int) -> list[Trial]:
        """Those who waited for this trial; they wait no longer."""
        return self._parked.pop(number, [])

    def parked(self) -> list[int]:
        """Numbers of all who wait."""
        return [trial.number for waiting in self._parked.values() for trial in waiting]


def _key(trial: Trial) -> str:
    return json.dumps(trial.config, sort_keys=True)
