"""Defines the interface that published optimizers are simulated through."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from effv2_tune.pareto.hypervolume import log_seconds

if TYPE_CHECKING:
    from effv2_tune.study.space import Config

#: Reduction factor of the methods that stop trials, and the least share of the epochs that they
#: may train a config for. Together they place rungs at a ninth and a third of the epochs, near the
#: first and the last one of the default strategy: .1, .22 and .4.
ETA, LEAST_SHARE = 3, 0.1
RUNGS = (1 / 9, 1 / 3)


class Job(NamedTuple):
    """What a peer asks for.

    Attributes:
        config: What to train.
        share: The share of its epochs at which the peer wants the outcome. A config that has been
            trained up to a smaller one is continued.
        key: What the peer knows the job by.
    """

    config: Config
    share: float = 1.0
    key: Any = None


class Outcome(NamedTuple):
    """What a job found.

    Attributes:
        quality: At the share of the epochs that was asked for; more is better.
        seconds: Of the whole training, in proportion to those so far.
    """

    quality: float
    seconds: float

    @property
    def costs(self) -> tuple[float, float]:
        """Less is better: negative quality, and log seconds, which the score is over."""
        return -self.quality, log_seconds(self.seconds)


class Peer(Protocol):
    """An optimizer with an ask-and-tell interface."""

    def ask(self) -> Job | None:
        """The next job; None where the peer has nothing left to try."""

    def tell(self, job: Job, outcome: Outcome) -> None:
        """Receive the outcome of a job."""
