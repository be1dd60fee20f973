"""Defines the input of a report: facts of the plan, and the trials."""

from __future__ import annotations

from pydantic import Field

from effv2_tune.pareto import Objective
from effv2_tune.report.timeline import Timeline
from effv2_tune.study.base import Value
from effv2_tune.study.recipe import Quality, quality_direction
from effv2_tune.study.trial import Trial


class ReportInput(Value):
    """A study as the report needs it: plain values, whatever the storage.

    Attributes:
        name: The study's name.
        quality: The score that is traded against time, such as ``accuracy``.
        trials: Every trial in any state, ordered by number, replicates included.
        validation: Validation images; None where that is not known.
        digest: Of all pixels, labels and splits; empty where that is not known.
        time_notes: Sentences about step times that were restated, or measured on a busy machine.
        timeline: What each worker did; None where it is not needed.
        facts: Further facts of the plan, label to text, shown in this order: the data and its
            splits, the search space, the engine, the budget, the seed.
        ended_by: Why the search stopped, as a sentence; empty while it runs.
        activity: Whether it is running or interrupted, and how it is resumed, as it is to be shown;
            empty once it has ended.
        folder: The study's folder as the user typed it; it appears in the suggested commands.
        written: When and by which version the report was written; empty leaves it out.
    """

    name: str
    quality: Quality = "accuracy"
    trials: tuple[Trial, ...] = ()
    validation: int | None = None
    digest: str = ""
    time_notes: tuple[str, ...] = ()
    timeline: Timeline | None = None
    facts: dict[str, str] = Field(default_factory=dict)
    ended_by: str = ""
    activity: str = ""
    folder: str = "DIR"
    written: str = ""

    @property
    def searched(self) -> tuple[Trial, ...]:
        """The trials of the search, without replicates."""
        return tuple(trial for trial in self.trials if trial.replicate_of is None)

    @property
    def objective(self) -> Objective:
        """The quality and its direction, against training time."""
        return Objective(quality_direction(self.quality))
