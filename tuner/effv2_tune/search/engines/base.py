"""Defines engines, which propose configs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from effv2_tune.study.space import Config


@dataclass(frozen=True)
class Asked:
    """A new trial.

    Attributes:
        number: From 0; the trial is in the storage, and this supervisor has its lease.
        config: One value for each parameter.
    """

    number: int
    config: Config


class Exhausted(Exception):  # noqa: N818 - not an error: the engine has nothing left to try
    """The engine has no further config."""


class Engine(Protocol):
    """Proposes configs; it reads the outcomes of earlier trials from the storage."""

    def ask(self) -> Asked:
        """Begin a new trial.

        Raises:
            Exhausted: There is nothing left to try.
            BudgetSpentError: All trials of the study have been begun.
        """

    def resume(self, number: int) -> Config:
        """The config of a running trial, completed where its ask was interrupted."""
