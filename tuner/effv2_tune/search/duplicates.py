"""Finds duplicates, which get the outcome of the first trial of their config."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from effv2_tune.search.storage.records import is_replicate, without_replicates

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from effv2_tune.study.trial import Trial


class Duplicates:
    """The trials of each config, and the duplicates that wait for the first one to end.

    A paused trial has an outcome at last: whoever continues it, or prunes it when the study ends.
    """

    def __init__(self) -> None:
        self._keys: dict[int, str] = {}
        self._waiting: dict[int, list[Trial]] = {}

    def find(self, trial: Trial, known: Iterable[Trial], running: Collection[int]) -> Trial | None:
        """An earlier trial of the same config that has an outcome, or will have one.

        Args:
            trial: The new one.
            known: All trials of the study; a replicate is no duplicate, nor has any.
            running: Numbers of the trials that this supervisor runs.
        """
        if is_replicate(trial):
            return None
        key = _key(trial)
        for other in without_replicates(known):
            if other.number not in self._keys and other.config:
                self._keys[other.number] = _key(other)
            usable = other.state not in ("running", "failed") or other.number in running
            if other.number != trial.number and self._keys.get(other.number) == key and usable:
                return other
        return None

    def add_waiting(self, trial: Trial, original: Trial) -> None:
        """Let a duplicate wait for the outcome of the original trial."""
        self._waiting.setdefault(original.number, []).append(trial)

    def pop_waiting(self, number: int) -> list[Trial]:
        """The duplicates that waited for a trial; they wait no longer."""
        return self._waiting.pop(number, [])

    def originals(self) -> list[int]:
        """Numbers of the trials that duplicates wait for."""
        return list(self._waiting)

    def waiting(self) -> list[int]:
        """Numbers of all duplicates that wait."""
        return [trial.number for waiting in self._waiting.values() for trial in waiting]


def _key(trial: Trial) -> str:
    return json.dumps(trial.config, sort_keys=True)
