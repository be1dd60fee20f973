"""Collects the candidates of a study: its complete configs, with all that is known of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from effv2_tune.pareto.estimates import Candidate, standard_error_of
from effv2_tune.search.storage.records import is_duplicate, is_replicate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from effv2_tune.study.recipe import Quality
    from effv2_tune.study.trial import Trial

#: Replicates of a trial that may end without a quality before it gets no further one.
MAX_WITHOUT_QUALITY = 2


@dataclass(frozen=True)
class Contender:
    """A complete trial and its replicates.

    Attributes:
        trial: The original.
        replicates: By number, in any state.
    """

    trial: Trial
    replicates: tuple[Trial, ...]

    @property
    def running(self) -> int:
        """How many replicates are being trained."""
        return sum(trial.state == "running" for trial in self.replicates)

    @property
    def is_refused(self) -> bool:
        """Whether too many of its replicates have diverged, or did not fit."""
        states = [trial.state for trial in self.replicates]
        return sum(state in ("diverged", "infeasible") for state in states) >= MAX_WITHOUT_QUALITY

    def candidate(self, quality: Quality, images: int | None) -> Candidate:
        """What is known of the config.

        Args:
            quality: The score that the study optimizes.
            images: That qualities are measured on.
        """
        measured = [one.measurement for one in (self.trial, *self.replicates)]
        qualities = tuple(one.quality for one in measured if one is not None)
        if self.trial.measurement is None:
            raise AssertionError("a contender is complete")
        seconds = self.trial.measurement.train_seconds
        return Candidate(
            qualities=qualities,
            standard_error=standard_error_of(self.trial, quality, images) or 0.0,
            seconds=seconds,
            seconds_low=seconds,
            seconds_high=seconds,
            images=images or 0,
        )

    @property
    def cost_seconds(self) -> float:
        """What one more replicate takes, by the training of the original."""
        return training_cost(self.trial)


def contenders(trials: Sequence[Trial]) -> list[Contender]:
    """The complete trials of the search, duplicates excluded, with their replicates."""
    replicates: dict[int, list[Trial]] = {}
    for trial in trials:
        if trial.replicate_of is not None:
            replicates.setdefault(trial.replicate_of, []).append(trial)
    return [
        Contender(trial, tuple(replicates.get(trial.number, ())))
        for trial in trials
        if trial.state == "complete"
        and trial.measurement is not None
        and not is_replicate(trial)
        and not is_duplicate(trial)
    ]


def training_cost(trial: Trial) -> float:
    """Seconds that a trial has trained and evaluated; those of the final training if unknown."""
    spent = trial.times.train + trial.times.evaluate
    if spent > 0 or trial.measurement is None:
        return spent
    return trial.measurement.train_seconds
