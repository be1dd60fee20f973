"""What a report is made from: facts of the plan, and the trials."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from effv2_tune.study.base import Value
from effv2_tune.study.trial import Trial


class ReportInput(Value):
    """A study as the report needs it: nothing but values, so that any storage can fill it in.

    Attributes:
        name: The study's name.
        quality: What is compared beside the time, such as ``accuracy``.
        quality_direction: Which way is better.
        trials: Every trial asked for, in any state, in the order of their numbers.
        facts: What else a reader should know of the plan, label to text, shown in this order:
            the data and its splits, the search space, the engine, the budget, the seed.
        ended_by: Why the search stopped, as a sentence; empty while it runs.
        folder: The study's folder as the person typed it; it appears in the next commands.
        written: When and by which version the report was written; empty leaves it out.
    """

    name: str
    quality: str = "accuracy"
    quality_direction: Literal["maximize", "minimize"] = "maximize"
    trials: tuple[Trial, ...] = ()
    facts: dict[str, str] = Field(default_factory=dict)
    ended_by: str = ""
    folder: str = "DIR"
    written: str = ""
