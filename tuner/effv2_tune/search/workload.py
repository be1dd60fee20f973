"""Plans the training of a config: recipe, rungs, bucket and training seconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self

from effv2_tune.pareto import rungs_of, training_seconds
from effv2_tune.study.base import Value
from effv2_tune.study.batches import planned_steps
from effv2_tune.study.bucket import BucketKey, Placement, bucket_key
from effv2_tune.study.recipe import mean_over_epochs
from effv2_tune.workers.messages import Compiled

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

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
        trials: Those whose own steps it is averaged with.
    """

    label: str
    step_seconds: float
    extraction_seconds: float = 0.0
    low: float | None = None
    high: float | None = None
    is_quiet: bool = True
    measurements: int = 1
    trials: tuple[int, ...] = ()

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


def mean_time(stages: Sequence[BucketTime], epochs: Sequence[int]) -> BucketTime:
    """The step time over a whole training, whose stages are of different buckets.

    Args:
        stages: The newest time of the bucket of each stage.
        epochs: Of each stage.

    Returns:
        The mean, by epochs; the ends of its interval are the means of theirs, as if all were off in
        the same direction. The extraction is that of all stages: of the first, where that is the
        classifier alone. Everything else is that of the last stage.
    """
    last = stages[-1]
    if len(stages) == 1:
        return last

    def mean(values: Iterable[float | None]) -> float | None:
        known = [value for value in values if value]
        return mean_over_epochs(known, epochs) if len(known) == len(stages) else None

    changes = {
        "step_seconds": mean(one.step_seconds for one in stages) or 0.0,
        "extraction_seconds": sum(one.extraction_seconds for one in stages),
        "low": mean(one.low for one in stages),
        "high": mean(one.high for one in stages),
        "is_quiet": all(one.is_quiet for one in stages),
    }
    return last.model_copy(update=changes)


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

    @property
    def stage_epochs(self) -> tuple[int, ...]:
        """Epochs of each stage; of a simulated one, which has one stage, all."""
        return (self.epochs,) if self.recipe is None else self.recipe.stage_epochs


class Workload(Protocol):
    """Plans the training of configs."""

    def plan_trial(self, config: Config) -> TrialPlan:
        """The training of ``config``.

        Raises:
            ValueError: It is not a valid recipe.
        """

    def bucket(self, plan: TrialPlan, ready: Ready) -> BucketKey | None:
        """The bucket of a trial's last stage where it is timed; None where nothing is compiled."""

    def seconds(
        self, trial: Trial, plan: TrialPlan, ready: Ready, cost: BucketTime | None
    ) -> float:
        """Training seconds of the final training, projected from the progress of a trial."""


def earlier_buckets(workload: Workload, plan: TrialPlan, ready: Ready) -> tuple[BucketKey, ...]:
    """The buckets of the stages of a trial before the last one."""
    stages = () if plan.recipe is None else plan.recipe.stage_recipes()[:-1]
    found = [workload.bucket(TrialPlan(one, one.epochs, {}), ready) for one in stages]
    return tuple(bucket for bucket in found if bucket is not None)


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
        return TrialPlan(recipe, recipe.epochs, rungs_of(recipe, rungs))

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
