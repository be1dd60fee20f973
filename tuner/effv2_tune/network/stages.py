"""Assigns layers to stages, and stages to training."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal

from effv2_tune.errors import TuneError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from effv2_tune.catalog import Variant
    from effv2_tune.tensor import Tensor

TrainableFrom = int | Literal["head"]

_BLOCK_LAYER = re.compile(r"stack_(\d+)_block\d+_")


def stage_of(layer_name: str, variant: Variant) -> int:
    """Return the stage of a layer with a released name, from 0.

    The stem belongs to stage 0. After the stages of the variant come the last convolution
    (`len(variant.stages)`) and the classifier (one more).
    """
    block = _BLOCK_LAYER.match(layer_name)
    if block:
        return int(block.group(1))
    if layer_name.startswith("stem_"):
        return 0
    return len(variant.stages) + (0 if layer_name.startswith("post_") else 1)


def freeze_stages(
    layers: Mapping[str, Any], variant: Variant, trainable_from: TrainableFrom
) -> int:
    """Make the layers, by released name, trainable from a stage on; returns that stage.

    Batch normalization that is not trainable uses its moving statistics.

    Raises:
        TuneError: The variant does not have this stage.
    """
    last = len(variant.stages)
    first = last + 1 if trainable_from == "head" else trainable_from
    if trainable_from != "head" and not (isinstance(first, int) and 0 <= first <= last):
        raise TuneError(
            f"Variant {variant.name!r} cannot be trained from stage {trainable_from!r}.",
            hint=f"Use 0 (everything) to {last} (the last convolution and the classifier), or "
            "'head' (the classifier only).",
        )
    for name, layer in layers.items():
        layer.trainable = stage_of(name, variant) >= first
    return first


def depths_from_head(model: Any) -> list[int]:
    """Return the depth of each trainable variable of `model`, in their order.

    Counted in stages: 0 for the classifier, 1 for the last convolution, 2 for the last stage, and
    so on; the stem has the depth of the first stage. Stages as the coarse groups of timm
    (`EfficientNet.group_matcher(coarse=True)`), where blocks would give a network of 40 blocks
    another decay from end to end than one of 21.
    """
    classifier = len(model.variant.stages) + 1
    depths = {
        id(variable): classifier - stage
        for stage, variables in variables_by_stage(model).items()
        for variable in variables
    }
    return [depths[id(variable)] for variable in model.trainable_variables]


def variables_by_stage(model: Any) -> dict[int, list[Tensor]]:
    """Group the variables of the layers of `model` by stage; rates and seeds are in none."""
    stages: dict[int, list[Tensor]] = {}
    for name, layer in model.layers_by_name.items():
        stages.setdefault(stage_of(name, model.variant), []).extend(layer.variables)
    return stages
