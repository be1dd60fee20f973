"""Checks that the batches of a study fit its images and devices, and counts optimizer steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from effv2_tune.errors import TuneError
from effv2_tune.study.space import values_of

if TYPE_CHECKING:
    from effv2_tune.study.bucket import DataFacts
    from effv2_tune.study.plan import StudyPlan
    from effv2_tune.study.recipe import Recipe


class _Counts(Protocol):
    @property
    def train(self) -> int: ...


def check_batch(batch: int, images: int) -> None:
    """Refuse a batch that is larger than the training images.

    Raises:
        TuneError: It is.
    """
    if batch > images:
        raise TuneError(
            f"batch_size: {batch} exceeds the {images:,} training images; use at most {images}."
        )


def check_batches(plan: StudyPlan, data: _Counts, device_count: int) -> None:
    """Check every batch size that a trial may have against the images and the devices.

    Args:
        plan: The study.
        data: Its images.
        device_count: Devices of one worker; those of the target are in the plan.

    Raises:
        TuneError: A batch is larger than the training images, or the devices cannot share it
            evenly.
    """
    parameter = plan.search_space.parameters.get("batch_size")
    sizes = [plan.recipe.batch_size] if parameter is None else list(values_of(parameter))
    target = plan.target_devices or device_count
    for size in sizes:
        batch = _over_all_devices(size, target)
        check_batch(batch, data.train)
        for count in (target, device_count):
            _check_division(batch, count)


def _check_division(batch: int, device_count: int) -> None:
    if batch % device_count:
        raise TuneError(
            f"batch_size: {batch} cannot be divided evenly over {device_count} devices.",
            hint=f"Use a multiple of {device_count}, or write "
            f"'batch_size: {{per_device: {max(batch // device_count, 1)}}}'.",
        )


def _over_all_devices(size: Any, device_count: int) -> int:
    if isinstance(size, int):
        return size
    per_device = size["per_device"] if isinstance(size, dict) else size.per_device
    return int(per_device) * device_count


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
