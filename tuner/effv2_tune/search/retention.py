"""Selects the checkpoints that can be deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from effv2_tune.pareto import Objective, front_of
from effv2_tune.search.storage.records import without_replicates

if TYPE_CHECKING:
    from collections.abc import Sequence

    from effv2_tune.study.plan import StudyPlan
    from effv2_tune.study.trial import Trial


def expired_checkpoints(trials: Sequence[Trial], plan: StudyPlan) -> list[int]:
    """Numbers of the trials whose checkpoints are no longer needed.

    A running trial resumes from its checkpoints, and a paused one is continued from them; the last
    one of an ended trial holds its selected weights.
    """
    ended = [trial for trial in trials if trial.has_ended]
    if plan.keep == "all":
        return [trial.number for trial in ended if trial.state != "complete"]
    if plan.keep == "none":
        return [trial.number for trial in ended]
    compared = without_replicates(ended)
    front = {trial.number for trial in front_of(compared, Objective(plan.directions[0]))}
    return [trial.number for trial in ended if trial.number not in front]
