"""Counts the optimizer steps that a recipe plans."""

from __future__ import annotations

from typing import TYPE_CHECKING

from effv2_tune.study.batches import check_batch

if TYPE_CHECKING:
    from effv2_tune.study.bucket import DataFacts
    from effv2_tune.study.recipe import Recipe


def steps_per_epoch(images: int, batch: int) -> int:
    """Optimizer steps in one pass over ``images`` training images.

    Every step has a full batch; the remaining images are different ones in every epoch.

    Raises:
        TuneError: There are fewer images than one batch takes.
    """
    check_batch(batch, images)
    return images // batch


def planned_steps(recipe: Recipe, data: DataFacts, device_count: int) -> int:
    """Optimizer steps of the whole run of ``recipe``; raises as :func:`steps_per_epoch`.

    Args:
        recipe: What is trained.
        data: On which images.
        device_count: Devices that share a batch.
    """
    batch = recipe.global_batch(device_count)
    return recipe.epochs * steps_per_epoch(data.train, batch)
