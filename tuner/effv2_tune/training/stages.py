"""Holds the stages of a trial in training: what each trains, and its step time."""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING

from effv2_tune.study.recipe import mean_over_epochs

if TYPE_CHECKING:
    from effv2_tune.study.recipe import Recipe
    from effv2_tune.training.trial_state import TrialProgress
    from effv2_tune.workers.messages import Train


class TrialStages:
    """The stages of a trial, of which most have one; the classifier alone may be the first.

    Args:
        request: The trial.

    Attributes:
        recipes: What is trained in each stage.
        seconds: The step time of the bucket of each stage; None until it is known.
    """

    def __init__(self, request: Train) -> None:
        recipe = request.recipe
        self.recipes: tuple[Recipe, ...] = recipe.stage_recipes()
        self._epochs = recipe.stage_epochs
        self._head_epochs = recipe.head_epochs
        self._ends = list(accumulate(self._epochs))
        earlier = request.stage_seconds or (None,) * (len(self.recipes) - 1)
        self.seconds: list[float | None] = [*earlier, request.step_seconds]

    def is_head(self, stage: int) -> bool:
        """Whether a stage trains the classifier alone."""
        return stage == 0 and self._head_epochs > 0

    def begins_with_head(self, progress: TrialProgress) -> bool:
        """Whether a trial, or its next fold, has to begin with the classifier alone."""
        return self.is_head(self.at(progress.epoch)) and not progress.in_head

    def stage_of(self, progress: TrialProgress) -> int:
        """The stage, from 0, whose bucket holds the state of a trial, or the one that it begins.

        At the end of the classifier's last epoch, that is its stage still.
        """
        return 0 if progress.in_head else self.at(progress.epoch)

    def own_epoch(self, epoch: int) -> int:
        """An epoch, counted from the beginning of its training.

        That of the classifier alone is a training of its own, and so is what follows.
        """
        return epoch if epoch < self._head_epochs else epoch - self._head_epochs

    @property
    def are_several(self) -> bool:
        """Whether the trial has more than one."""
        return len(self.recipes) > 1

    def at(self, epoch: int) -> int:
        """The stage, from 0, of an epoch, from 0; after the last epoch the last one."""
        return min(bisect_right(self._ends, epoch), len(self.recipes) - 1)

    def untimed_beside(self, stage: int) -> list[int]:
        """The stages without a step time, but one."""
        return [n for n, seconds in enumerate(self.seconds) if seconds is None and n != stage]

    @property
    def step_seconds(self) -> float:
        """The mean step time over the whole training, once that of each stage is known."""
        known = [seconds for seconds in self.seconds if seconds is not None]
        if len(known) < len(self.seconds):
            raise RuntimeError("The step time of each stage is needed before it is known.")
        return known[0] if len(known) == 1 else mean_over_epochs(known, self._epochs)
