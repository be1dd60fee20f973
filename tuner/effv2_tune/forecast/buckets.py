"""Estimates the buckets of a study and their frequencies by sampling its search space."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from effv2_tune.forecast.disk import UNLIMITED_TRIALS
from effv2_tune.pareto import rungs_of
from effv2_tune.study.batches import steps_per_epoch
from effv2_tune.study.bucket import bucket_key
from effv2_tune.study.space import ChoiceParameter, FloatParameter, IntParameter

if TYPE_CHECKING:
    from effv2_tune.study.bucket import BucketKey, DataFacts, Placement
    from effv2_tune.study.plan import StudyPlan
    from effv2_tune.study.recipe import Recipe
    from effv2_tune.study.space import Config, Space

#: Enough that a bucket with a share of 1 in 100 is missed once in 20,000 forecasts.
DRAWS = 1000
#: Of the sampling: the forecast of a study is reproducible.
_SEED = 0


@dataclass(frozen=True)
class BucketShare:
    """A bucket of a study, and the averages of its trials.

    Attributes:
        key: The bucket.
        recipe: Of one of its trials.
        share: Of the study's trials that fall into it, from 0 to 1. A trial of several stages
            counts in the bucket of each, by the stage's share of its epochs.
        trials: Of the study's trials that are trained in it, for a stage at least.
        epoch_steps: Optimizer steps of an epoch.
        epochs: Of a whole training, on average.
        fewest_epochs: Of a trial if halving prunes as many as it can, on average over pruned and
            completed trials; without halving, ``epochs`` times the number of folds.
    """

    key: BucketKey
    recipe: Recipe
    share: float
    trials: float
    epoch_steps: int
    epochs: float
    fewest_epochs: float

    @property
    def features(self) -> tuple[str | int, ...]:
        """The key of cached features, which buckets share; flips are ignored."""
        key = self.key
        return key.variant, key.resolution, key.weights, key.precision, self.recipe.resize


def buckets_of(
    plan: StudyPlan, data: DataFacts, placement: Placement, *, draws: int = DRAWS
) -> list[BucketShare]:
    """The buckets that a study may train, the most frequent first.

    Every parameter is sampled uniformly over its range, on its scale, like the first trials of
    every engine. Later trials depend on results that are not known beforehand.

    Args:
        plan: The study.
        data: What it trains on.
        placement: Where; the precision of a recipe overrides its precision.
        draws: How many configs are sampled. One suffices if all trials share a bucket.
    """
    generator = random.Random(_SEED)  # noqa: S311 - no secret depends on it
    space = plan.search_space
    recipes = [plan.recipe_for(draw_config(space, generator)) for _ in range(draws)]
    groups: dict[str, dict[int, list[_Part]]] = {}
    keys: dict[str, BucketKey] = {}
    for number, recipe in enumerate(recipes):
        for part in _parts(plan, recipe):
            key = key_of(part.recipe, data, placement, plan.target_devices)
            keys[key.digest] = key
            groups.setdefault(key.digest, {}).setdefault(number, []).append(part)
    shares = []
    for digest, trials in groups.items():
        parts = [part for its in trials.values() for part in its]
        weight = sum(part.share for part in parts)
        shares.append(
            BucketShare(
                key=keys[digest],
                recipe=parts[0].recipe,
                share=weight / draws,
                trials=len(trials) / draws,
                epoch_steps=steps_per_epoch(data.train, keys[digest].batch),
                epochs=sum(part.share * part.epochs for part in parts) / weight,
                fewest_epochs=sum(part.fewest_epochs for part in parts) / weight,
            )
        )
    return sorted(shares, key=lambda share: -share.share)


class _Part(NamedTuple):
    """A stage of a trial.

    Attributes:
        recipe: Of the stage.
        epochs: Of the whole trial.
        share: Of them, those of the stage.
        fewest_epochs: Of the stage, if halving prunes as many trials as it can.
    """

    recipe: Recipe
    epochs: int
    share: float
    fewest_epochs: float


def _parts(plan: StudyPlan, recipe: Recipe) -> list[_Part]:
    """The stages of a trial; most have one."""
    return [
        _Part(stage, recipe.epochs, epochs / recipe.epochs, fewest)
        for stage, epochs, fewest in zip(
            recipe.stage_recipes(), recipe.stage_epochs, fewest_epochs(plan, recipe), strict=True
        )
    ]


def expected_recipes(plan: StudyPlan, data: DataFacts, placement: Placement) -> list[Recipe]:
    """A recipe of each bucket that a study will probably train, the most frequent bucket first.

    Probably is: of at least one trial. The arguments are those of :func:`buckets_of`.
    """
    trials = UNLIMITED_TRIALS if plan.trials is None else plan.trials
    shares = buckets_of(plan, data, placement)
    return [share.recipe for share in shares if share.trials * trials >= 1]


def key_of(
    recipe: Recipe, data: DataFacts, placement: Placement, target_devices: int | None = None
) -> BucketKey:
    """The bucket of a recipe, with the recipe's own precision if it has one."""
    if recipe.precision != "auto":
        placement = placement.model_copy(update={"precision": recipe.precision})
    return bucket_key(recipe, data, placement, target_devices=target_devices)


def fewest_epochs(plan: StudyPlan, recipe: Recipe) -> list[float]:
    """Epochs of each stage of a trial, on average, if halving prunes as many as it can.

    With folds, those of the trainings on all of them; the later ones follow a complete first one.
    The kept fraction of trials is promoted from rung to rung; in practice the first ones at each
    rung and those with good extrapolations are promoted as well.
    """
    halving = plan.search.halving
    folds = plan.data.folds or 1
    rungs: tuple[int, ...] = ()
    if halving.enabled:
        rungs = tuple(rungs_of(recipe, halving.rungs).values())
    ends = [0, *accumulate(recipe.stage_epochs)]
    expected = [0.0 for _ in ends[1:]]
    completed = 1.0
    for number, (begin, end) in enumerate(pairwise((0, *rungs, recipe.epochs))):
        completed = halving.keep**number
        for stage, (first, last) in enumerate(pairwise(ends)):
            expected[stage] += completed * max(0, min(end, last) - max(begin, first))
    return [
        epochs + (folds - 1) * completed * whole
        for epochs, whole in zip(expected, recipe.stage_epochs, strict=True)
    ]


def draw_config(space: Space, generator: random.Random) -> Config:
    """A config with every parameter sampled uniformly on its scale."""
    sampled: dict[str, Any] = {}
    for dimension in space.dimensions():
        if dimension.parameter.is_active(space.decode(sampled)):
            sampled[dimension.name] = _draw(dimension.parameter, generator)
    return space.decode(sampled)


def _draw(
    parameter: FloatParameter | IntParameter | ChoiceParameter, generator: random.Random
) -> Any:
    if isinstance(parameter, ChoiceParameter):
        return generator.choice(parameter.values)
    low, high = parameter.low, parameter.high
    if isinstance(parameter, FloatParameter):
        return parameter.clip(_between(low, high, parameter.scale, generator))
    if parameter.scale == "log":
        # Half a step beyond either bound, so that the bounds are as likely as their neighbours.
        return min(max(round(_between(low - 0.5, high + 0.5, "log", generator)), low), high)
    return generator.randrange(int(low), int(high) + 1, parameter.step)


def _between(low: float, high: float, scale: str, generator: random.Random) -> float:
    if scale == "log":
        return math.exp(generator.uniform(math.log(low), math.log(high)))
    return generator.uniform(low, high)
