"""Counts the FLOPs of a training step."""

from __future__ import annotations

from typing import Any

import jax

#: Images in the step that XLA counts; the count is divided by it.
_COUNTED_BATCH = 4


def image_flops(network: Any, pixels: int) -> float | None:
    """FLOPs of forward and backward pass of one image, as XLA counts them before optimization.

    Args:
        network: A Keras model from images to logits.
        pixels: Side of the images.
    """
    images = jax.ShapeDtypeStruct((_COUNTED_BATCH, pixels, pixels, 3), "float32")
    trained, others = (
        [jax.ShapeDtypeStruct(variable.shape, variable.dtype) for variable in variables]
        for variables in (network.trainable_variables, network.non_trainable_variables)
    )

    def loss(trained: Any, others: Any, images: Any) -> Any:
        logits, _ = network.stateless_call(trained, others, images, training=True)
        return logits.astype("float32").sum()

    cost = jax.jit(jax.grad(loss)).lower(trained, others, images).cost_analysis()
    flops = (cost or {}).get("flops")
    return None if flops is None else float(flops) / _COUNTED_BATCH
