"""What a study will cost, worked out before anything is trained."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from effv2_tune import catalog
from effv2_tune.study.space import FixedParameter, values_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from effv2_tune.study import DataFacts, StudyPlan

#: A training step computes about three forward passes: one forward, two backward.
TRAINING_OVER_FORWARD = 3
_FLOAT_BYTES = 4
#: float32 vectors of a weight's size that a checkpoint holds: weights, and the optimizer's moments.
_MOMENTS = {"adabelief": 2, "adamw": 2, "sgd": 1}


@dataclass(frozen=True)
class Forecast:
    """The cost of one network at one size.

    Attributes:
        variant: Which network.
        resolution: Side in pixels.
        parameters: Weights, classifier for the data's classes and moving statistics included.
        train_flops: Floating-point operations of one image's training step (a multiplication
            and an addition are two); a frozen backbone costs its forward pass alone.
        checkpoint_bytes: Of one checkpoint on disk; a running trial keeps two, and the best
            weights.
    """

    variant: str
    resolution: int
    parameters: int
    train_flops: float
    checkpoint_bytes: int


def forecast(plan: StudyPlan, classes: int) -> list[Forecast]:
    """One line for each network and size that the study may train, cheapest first."""
    rows = {(f.variant, f.resolution): f for f in _forecasts(plan, classes)}
    return sorted(rows.values(), key=lambda row: row.train_flops)


def data_bytes(facts: DataFacts) -> int:
    """Memory that the images take as stored, one byte a channel."""
    height, width, channels = facts.image_shape
    return (facts.train + facts.validation + facts.test) * height * width * channels


def _forecasts(plan: StudyPlan, classes: int) -> Iterator[Forecast]:
    names = ("variant", "resolution", "optimizer", "backbone")
    choices = [_values(plan, name) for name in names]
    for name, size, optimizer, backbone in itertools.product(*choices):
        variant = catalog.find_variant(str(name))
        pixels = variant.native_resolution if size == "native" else int(str(size))
        macs = catalog.count_macs(variant, pixels, classes)
        parameters = catalog.count_parameters(variant, classes)
        passes = 1 if backbone == "frozen" else TRAINING_OVER_FORWARD
        vectors = 1 + _MOMENTS[str(optimizer)] + (1 if plan.recipe.ema else 0)
        yield Forecast(
            variant=variant.name,
            resolution=pixels,
            parameters=parameters,
            train_flops=2.0 * macs * passes,
            checkpoint_bytes=parameters * _FLOAT_BYTES * vectors,
        )


def _values(plan: StudyPlan, name: str) -> list[object]:
    """What a setting may be: the fixed value, and whatever the space adds."""
    parameter = plan.search_space.parameters.get(name)
    fixed = [getattr(plan.recipe, name)]
    if parameter is None:
        return fixed
    if isinstance(parameter, FixedParameter):
        return [parameter.value]
    searched = list(values_of(parameter))
    return searched if parameter.when is None else searched + fixed
