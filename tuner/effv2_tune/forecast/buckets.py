"""Estimates the buckets of a study and their frequencies by sampling its search space."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from effv2_tune.forecast.disk import UNLIMITED_TRIALS
from effv2_tune.pareto import cycle_epochs, place_rungs
from effv2_tune.study.bucket import bucket_key
from effv2_tune.study.space import ChoiceParameter, FloatParameter, IntParameter
from effv2_tune.study.steps import steps_per_epoch

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
        share: Of the study's trials that fall into it, from 0 to 1.
        epoch_steps: Optimizer steps of an epoch.
        epochs: Of a whole training, on average.
        fewest_epochs: Of a trial if halving prunes as many as it can, on average over pruned and
            completed trials; without halving, ``epochs`` times the number of folds.
    """

    key: BucketKey
    recipe: Recipe
    share: float
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
    groups: dict[str, list[tuple[BucketKey, Recipe, float]]] = {}
    for recipe in recipes:
        key = key_of(recipe, data, placement, plan.target_devices)
        groups.setdefault(key.digest, []).append((key, recipe, fewest_epochs(plan, recipe)))
    shares = []
    for members in groups.values():
        key, recipe, _ = members[0]
        shares.append(
            BucketShare(
                key=key,
                recipe=recipe,
                share=len(members) / draws,
                epoch_steps=steps_per_epoch(data.train, key.batch),
                epochs=sum(recipe.epochs for _, recipe, _ in members) / len(members),
                fewest_epochs=sum(fewest for _, _, fewest in members) / len(members),
            )
        )
    return sorted(shares, key=lambda share: -share.share)


def expected_recipes(plan: StudyPlan, data: DataFacts, placement: Placement) -> list[Recipe]:
    """A recipe of each bucket that a study will probably train, the most frequent bucket first.

    Probably is: of at least one trial. The arguments are those of :func:`buckets_of`.
    """
    trials = UNLIMITED_TRIALS if plan.trials is None else plan.trials
    shares = buckets_of(plan, data, placement)
    return [share.recipe for share in shares if share.share * trials >= 1]


def key_of(
    recipe: Recipe, data: DataFacts, placement: Placement, target_devices: int | None = None
) -> BucketKey:
    """The bucket of a recipe, with the recipe's own precision if it has one."""
    if recipe.precision != "auto":
        placement = placement.model_copy(update={"precision": recipe.precision})
    return bucket_key(recipe, data, placement, target_devices=target_devices)


def fewest_epochs(plan: StudyPlan, recipe: Recipe) -> float:
    """Epochs of a trial, on average, if halving prunes as many as it can at every rung.

    With folds, those of the trainings on all of them; the later ones follow a complete first one.
    The kept fraction of trials is promoted from rung to rung; in practice the first ones at each
    rung and those with good extrapolations are promoted as well.
    """
    halving = plan.search.halving
    folds = plan.data.folds or 1
    if not halving.enabled:
        return folds * recipe.epochs
    rungs = place_rungs(recipe.epochs, halving.rungs, cycle=cycle_epochs(recipe)).values()
    expected, reached, promoted, completed = 0.0, 0, 1.0, 1.0
    for epoch in (*rungs, recipe.epochs):
        expected += promoted * (epoch - reached)
        reached = epoch
        completed, promoted = promoted, promoted * halving.keep
    return expected + (folds - 1) * completed * recipe.epochs


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
