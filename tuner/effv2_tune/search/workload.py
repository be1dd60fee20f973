"""What training a config takes: its recipe, its rungs, its bucket, its seconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from effv2_tune.pareto import cycle_epochs, place_rungs, training_seconds
from effv2_tune.study.base import Value
from effv2_tune.study.bucket import BucketKey, Placement, bucket_key
from effv2_tune.study.steps import planned_steps

if TYPE_CHECKING:
    from collections.abc import Mapping

    from effv2_tune.study.plan import StudyPlan
    from effv2_tune.study.recipe import Recipe
    from effv2_tune.study.space import Config
    from effv2_tune.study.trial import Trial
    from effv2_tune.workers.messages import Ready


class BucketTime(Value):
    """What a bucket costs; measured once in a study, and used for every trial of the bucket.

    Attributes:
        label: The bucket's short name.
        step_seconds: Steady time of one optimizer step.
        extraction_seconds: One pass of a frozen backbone over the images; 0 for any other.
    """

    label: str
    step_seconds: float
    extraction_seconds: float = 0.0


@dataclass(frozen=True)
class TrialPlan:
    """What a config asks of a worker.

    Attributes:
        recipe: What is trained; none in a simulation, where nothing is.
        epochs: Of the whole trial.
        rungs: The epoch of each rung, by the rung's index; ascending.
    """

    recipe: Recipe | None
    epochs: int
    rungs: Mapping[int, int]


class Workload(Protocol):
    """Knows what a config means."""

    def outline(self, config: Config) -> TrialPlan:
        """What ``config`` asks of a worker.

        Raises:
            ValueError: No recipe can be made of it.
        """

    def bucket(self, outline: TrialPlan, ready: Ready) -> BucketKey | None:
        """What a trial shares a compilation with; none where nothing is compiled."""

    def seconds(
        self, trial: Trial, outline: TrialPlan, ready: Ready, cost: BucketTime | None
    ) -> float:
        """Training seconds of the standard run, as far as the trial's progress tells them."""


class PlannedWorkload:
    """What the configs of a study mean.

    Args:
        plan: The study.
    """

    def __init__(self, plan: StudyPlan) -> None:
        self._plan = plan

    def outline(self, config: Config) -> TrialPlan:
        """What ``config`` asks of a worker.

        Raises:
            ValueError: No recipe can be made of it.
        """
        recipe = self._plan.recipe_for(config)
        halving = self._plan.search.halving
        rungs = halving.rungs if halving.enabled else ()
        placed = place_rungs(recipe.epochs, rungs, cycle=cycle_epochs(recipe))
        return TrialPlan(recipe, recipe.epochs, placed)

    def bucket(self, outline: TrialPlan, ready: Ready) -> BucketKey | None:
        """The bucket of the recipe where the worker is."""
        recipe, environment = outline.recipe, ready.environment
        if recipe is None:
            return None
        precision = environment.precision if recipe.precision == "auto" else recipe.precision
        placement = Placement(
            backend=environment.backend,
            device_kind=environment.device_kind,
            device_count=environment.device_count,
            precision=precision,
        )
        return bucket_key(recipe, ready.data, placement)

    def seconds(
        self, trial: Trial, outline: TrialPlan, ready: Ready, cost: BucketTime | None
    ) -> float:
        """Planned steps times the bucket's step time, plus a frozen backbone's extraction."""
        if outline.recipe is None or cost is None:
            raise ValueError(f"trial {trial.number} has no step time yet")
        steps = planned_steps(outline.recipe, ready.data, ready.environment.device_count)
        return training_seconds(
            steps, cost.step_seconds, extraction_seconds=cost.extraction_seconds
        )
