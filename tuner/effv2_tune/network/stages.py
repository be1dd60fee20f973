"""Which stage of a network a layer belongs to, and which stages are trained."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal

from effv2_tune.errors import TuneError

if TYPE_CHECKING:
    from effv2_tune.catalog import Variant

TrainableFrom = int | Literal["head"]

_BLOCK_LAYER = re.compile(r"stack_(\d+)_block\d+_")


def stage_of(layer_name: str, variant: Variant) -> int:
    """The stage that a layer with a released name belongs to, from 0.

    The stem counts to stage 0. After the stages of the variant come the last convolution
    (`len(variant.stages)`) and the classifier (one more).
    """
    block = _BLOCK_LAYER.match(layer_name)
    if block:
        return int(block.group(1))
    if layer_name.startswith("stem_"):
        return 0
    return len(variant.stages) + (0 if layer_name.startswith("post_") else 1)


def first_trained_stage(variant: Variant, trainable_from: TrainableFrom) -> int:
    """The number, as in `stage_of`, of the first stage that is trained.

    Raises:
        TuneError: The variant does not have this stage.
    """
    last = len(variant.stages)
    if trainable_from == "head":
        return last + 1
    if not isinstance(trainable_from, int) or not 0 <= trainable_from <= last:
        raise TuneError(
            f"Variant {variant.name!r} cannot be trained from stage {trainable_from!r}.",
            hint=f"Give 0 (everything) to {last} (the last convolution and the classifier), or "
            "'head' (the classifier only).",
        )
    return trainable_from


def variables_by_stage(model: Any) -> dict[int, list[Any]]:
    """The variables of the layers of `model`, by `stage_of`: rates and seeds belong to none."""
    stages: dict[int, list[Any]] = {}
    for name, layer in model.layers_by_name.items():
        stages.setdefault(stage_of(name, model.variant), []).extend(layer.variables)
    return stages
