"""Profiles a bucket: step time, peak memory, FLOPs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from effv2_tune.training import process_memory
from effv2_tune.training.machine_lock import MachineLock
from effv2_tune.workers.messages import Measured

if TYPE_CHECKING:
    from effv2_tune.study.recipe import Recipe
    from effv2_tune.training.trainer import Trainer


def measure_bucket(trainer: Trainer, recipe: Recipe) -> Measured:
    """Build and compile the bucket of ``recipe`` and time a few of its steps.

    Best in a process that has measured nothing before: memory of an earlier bucket is not all
    returned to the system.

    Args:
        trainer: Of this process; it keeps nothing of the bucket.
        recipe: Any of the bucket.

    Returns:
        The profile; without a step time, and with the reason, where it does not fit.
    """
    key = trainer.bucket_key(recipe)
    stand_in = _without_weights(recipe)
    process_memory.forget_peak()
    try:
        bucket = trainer.bucket(stand_in)
        seconds = bucket.measure(stand_in, MachineLock()).seconds
    except Exception as error:
        reason = process_memory.out_of_memory_reason(error)
        return Measured(bucket=key, step_seconds=None, reason=f"Does not fit: {reason}")
    peak = trainer.device.backend.peak_memory()
    measured = Measured(
        bucket=key,
        step_seconds=seconds,
        build_seconds=bucket.build_seconds,
        compile_seconds=bucket.compile_seconds,
        memory_bytes=process_memory.peak_resident_bytes() if peak is None else peak,
        memory_of="process" if peak is None else "device",
        flops=trainer.device.backend.image_flops(bucket.network, recipe.pixels),
    )
    trainer.forget()
    return measured


def _without_weights(recipe: Recipe) -> Recipe:
    """The same work without a download: weights change neither time nor memory.

    Not a recipe that a user could write, so it is not validated. A frozen backbone runs in every
    step, which costs as much per image as its single pass over the images.
    """
    return recipe.model_copy(update={"weights": "none", "features": "off"})
