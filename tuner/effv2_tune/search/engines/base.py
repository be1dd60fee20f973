"""What an engine is: it is asked for configs, and told what became of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from effv2_tune.study.space import Config
    from effv2_tune.study.trial import Trial


@dataclass(frozen=True)
class Asked:
    """A new trial.

    Attributes:
        number: From 0, in the order asked for; it exists in the storage, and its lease is ours.
        config: One value for each parameter.
    """

    number: int
    config: Config


class Exhausted(Exception):  # noqa: N818 - not an error: the engine has nothing left to try
    """The engine knows no further config."""


class Engine(Protocol):
    """Finds the next config."""

    def ask(self) -> Asked:
        """Begin a new trial.

        Raises:
            Exhausted: There is nothing left to try.
            BudgetSpent: Another supervisor has begun the last trial meanwhile.
        """

    def resume(self, number: int) -> Config:
        """The config of a trial that was begun and not ended, even if its ask was cut short."""

    def tell(self, trial: Trial) -> None:
        """Take note of what became of a trial; the storage knows already."""
