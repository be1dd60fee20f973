"""What a bucket takes: its step timed as the trainer times it, the memory it needs, its FLOPs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from effv2_tune.training import process_memory
from effv2_tune.training.machine_lock import MachineLock
from effv2_tune.workers.messages import Measured

if TYPE_CHECKING:
    from effv2_tune.study.recipe import Recipe
    from effv2_tune.training.devices import Device
    from effv2_tune.training.trainer import Trainer

#: Images in the step that XLA counts; the count is divided by it.
_COUNTED_BATCH = 4


def measure_bucket(trainer: Trainer, recipe: Recipe) -> Measured:
    """Build and compile the bucket of ``recipe`` and time a few of its steps.

    Best in a process that has measured nothing before: what an earlier bucket has taken from the
    system is not all given back.

    Args:
        trainer: Of this process; it keeps nothing of the bucket.
        recipe: Any of the bucket.

    Returns:
        What it takes; without a step time, and with the reason, where it does not fit.
    """
    key = trainer.bucket_key(recipe)
    stand_in = _without_weights(recipe)
    process_memory.forget_peak()
    try:
        bucket = trainer.bucket(stand_in)
        seconds = bucket.measure(stand_in, MachineLock())
    except Exception as error:
        if not process_memory.is_out_of_memory(error):
            raise
        reason = f"{type(error).__name__}: {str(error).splitlines()[0][:300]}"
        return Measured(bucket=key, step_seconds=None, reason=f"Does not fit: {reason}")
    nbytes, owner = _peak(trainer.device)
    measured = Measured(
        bucket=key,
        step_seconds=seconds,
        build_seconds=bucket.build_seconds,
        compile_seconds=bucket.compile_seconds,
        memory_bytes=nbytes,
        memory_of=owner,
        flops=_flops(bucket.network, recipe.pixels) if key.backend == "jax" else None,
    )
    trainer.forget()
    return measured


def _without_weights(recipe: Recipe) -> Recipe:
    """The same work without a download: what the weights are decides no time and no memory.

    Not a recipe that a person could write, so it is not checked. A frozen backbone runs in every
    step, which is what one image of its single pass over the images costs.
    """
    changes: dict[str, Any] = {"weights": "none"}
    if "features" in type(recipe).model_fields:
        changes["features"] = "off"
    return recipe.model_copy(update=changes)


def _peak(device: Device) -> tuple[int, Literal["device", "process"]]:
    """The most memory in use so far, and whose."""
    if device.kind == "cpu":
        return process_memory.peak_resident_bytes(), "process"
    if device.placement.backend == "tensorflow":
        import tensorflow as tf

        return int(tf.config.experimental.get_memory_info("GPU:0")["peak"]), "device"
    import jax

    stats = jax.devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" not in stats:
        return process_memory.peak_resident_bytes(), "process"
    return int(stats["peak_bytes_in_use"]), "device"


def _flops(network: Any, pixels: int) -> float | None:
    """What XLA counts for forward and backward pass of one image, before it optimizes anything."""
    import jax

    images = jax.ShapeDtypeStruct((_COUNTED_BATCH, pixels, pixels, 3), "float32")
    trained, others = (
        [jax.ShapeDtypeStruct(variable.shape, variable.dtype) for variable in variables]
        for variables in (network.trainable_variables, network.non_trainable_variables)
    )

    def loss(trained: Any, others: Any, images: Any) -> Any:
        logits, _ = network.stateless_call(trained, others, images, training=True)
        return logits.astype("float32").sum()

    cost = jax.jit(jax.grad(loss)).lower(trained, others, images).cost_analysis()
    counted = (cost or {}).get("flops")
    return None if counted is None else float(counted) / _COUNTED_BATCH
