"""Plans the training of a config: recipe, rungs, bucket and training seconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self

from effv2_tune.pareto import cycle_epochs, place_rungs, training_seconds
from effv2_tune.study.base import Value
from effv2_tune.study.bucket import BucketKey, Placement, bucket_key
from effv2_tune.study.steps import planned_steps
from effv2_tune.workers.messages import Compiled

if TYPE_CHECKING:
    from collections.abc import Mapping

    from effv2_tune.study.plan import StudyPlan
    from effv2_tune.study.recipe import Recipe
    from effv2_tune.study.space import Config
    from effv2_tune.study.trial import Trial
    from effv2_tune.workers.messages import Ready, Remeasured


class BucketTime(Value):
    """The step time of a bucket, the newest version of which is used for all trials of the bucket.

    Attributes:
        label: The bucket's short name.
        step_seconds: Time of one optimizer step, steady state.
        extraction_seconds: One pass of a frozen backbone over the images; 0 for any other.
        low: Lower end of the 90 % interval of ``step_seconds``; None where it was not estimated.
        high: Upper end.
        is_quiet: Whether the machine was quiet during the measurement, as far as is known.
        measurements: How often it was measured; it was restated if another version differs.
    """

    label: str
    step_seconds: float
    extraction_seconds: float = 0.0
    low: float | None = None
    high: float | None = None
    is_quiet: bool = True
    measurements: int = 1

    @classmethod
    def of(cls, message: Compiled | Remeasured) -> Self:
        """The times that a worker has measured.

        Raises:
            ValueError: The bucket did not fit.
        """
        time = message.time
        if isinstance(message, Compiled):
            seconds = message.step_seconds
        elif time is None:
            raise ValueError(f"{message.bucket.label} was not timed")
        else:
            seconds = time.seconds
        return cls(
            label=message.bucket.label,
            step_seconds=seconds,
            extraction_seconds=message.extraction_seconds,
            low=None if time is None else time.low,
            high=None if time is None else time.high,
            is_quiet=time is None or time.is_quiet,
        )


@dataclass(frozen=True)
class TrialPlan:
    """The training of a config.

    Attributes:
        recipe: Of the trial; None in a simulation, which trains nothing.
        epochs: Of the whole trial.
        rungs: The epoch of each rung, by the rung's index; ascending.
    """

    recipe: Recipe | None
    epochs: int
    rungs: Mapping[int, int]


class Workload(Protocol):
    """Plans the training of configs."""

    def plan_trial(self, config: Config) -> TrialPlan:
        """The training of ``config``.

        Raises:
            ValueError: It is not a valid recipe.
        """

    def bucket(self, plan: TrialPlan, ready: Ready) -> BucketKey | None:
        """The bucket of a trial where it is timed; None where nothing is compiled."""

    def seconds(
        self, trial: Trial, plan: TrialPlan, ready: Ready, cost: BucketTime | None
    ) -> float:
        """Training seconds of the final training, projected from the progress of a trial."""


def bucket_of(recipe: Recipe, ready: Ready, devices: int | None = None) -> BucketKey:
    """The bucket of a recipe on devices as those of a worker.

    Args:
        recipe: Of a trial.
        ready: From the worker.
        devices: How many; as many as the worker has if left out.
    """
    environment = ready.environment
    placement = Placement(
        backend=environment.backend,
        device_kind=environment.device_kind,
        device_count=devices or environment.device_count,
        precision=environment.precision if recipe.precision == "auto" else recipe.precision,
    )
    return bucket_key(recipe, ready.data, placement)


def seconds_of(recipe: Recipe, ready: Ready, cost: BucketTime, devices: int | None = None) -> float:
    """Planned steps times the bucket's step time, plus a frozen backbone's extraction.

    The arguments are those of :func:`bucket_of`.
    """
    steps = planned_steps(recipe, ready.data, devices or ready.environment.device_count)
    return training_seconds(steps, cost.step_seconds, extraction_seconds=cost.extraction_seconds)


class PlannedWorkload:
    """Plans the training of the configs of a study.

    Args:
        plan: The study.
    """

    def __init__(self, plan: StudyPlan) -> None:
        self._plan = plan

    def plan_trial(self, config: Config) -> TrialPlan:
        """The training of ``config``.

        Raises:
            ValueError: It is not a valid recipe.
        """
        recipe = self._plan.recipe_for(config)
        halving = self._plan.search.halving
        rungs = halving.rungs if halving.enabled else ()
        placed = place_rungs(recipe.epochs, rungs, cycle=cycle_epochs(recipe))
        return TrialPlan(recipe, recipe.epochs, placed)

    def bucket(self, plan: TrialPlan, ready: Ready) -> BucketKey | None:
        """The bucket of the recipe on the target, or else on the devices of the worker."""
        devices = self._plan.target_devices
        return None if plan.recipe is None else bucket_of(plan.recipe, ready, devices)

    def seconds(
        self, trial: Trial, plan: TrialPlan, ready: Ready, cost: BucketTime | None
    ) -> float:
        """See :func:`seconds_of`."""
        if plan.recipe is None or cost is None:
            raise ValueError(f"trial {trial.number} has no step time yet")
        return seconds_of(plan.recipe, ready, cost, self._plan.target_devices)
