"""What JAX computes faster than by the operations that Keras takes.

XLA's convolutions on CPU know nothing of depthwise ones: written as products of shifted images they
are 10 to 50 times faster (`benchmarks/operations.py`). On accelerators the stock operation stays.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from effv2_tune.network.conv_geometry import Axis


def takes_depthwise(images: Any, stride: int) -> bool:  # noqa: ARG001 - of any size and stride
    """Whether :func:`depthwise` is the faster way."""
    return bool(jax.default_backend() == "cpu")


def depthwise(images: Any, kernel: Any, *, stride: int, padding: str) -> Any:
    """A depthwise convolution as a sum over taps.

    Args:
        images: [batch, height, width, channels].
        kernel: [rows, columns, channels, 1].
        stride: Of both axes.
        padding: ``same`` or ``valid``.
    """
    height, width = (
        Axis.of(size, kernel=taps, stride=stride, padding=padding)
        for size, taps in zip(images.shape[1:3], kernel.shape, strict=False)
    )
    zeros = ((0, 0), (height.before, height.after), (width.before, width.after), (0, 0))
    return _convolve(height, width, jnp.pad(images, zeros), kernel[..., 0])


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _convolve(height: Axis, width: Axis, images: Any, kernel: Any) -> Any:
    """Images with their zeros around [batch, ...]; kernel [rows, columns, channels]."""
    return sum(
        images[:, height.padded(row), width.padded(column)] * kernel[row, column]
        for row in range(kernel.shape[0])
        for column in range(kernel.shape[1])
    )


def _forward(height: Axis, width: Axis, images: Any, kernel: Any) -> Any:
    return _convolve(height, width, images, kernel), (images, kernel)


def _backward(height: Axis, width: Axis, kept: Any, upstream: Any) -> Any:
    images, kernel = kept
    _, of_images = jax.vjp(lambda images: _convolve.fun(height, width, images, kernel), images)

    def add_row(row: Any, total: Any) -> Any:
        """One row of outputs at a time: what it needs stays in the processor's cache."""
        outputs = jax.lax.dynamic_index_in_dim(upstream, row, axis=1, keepdims=False)
        sums = []
        for tap in range(kernel.shape[0]):
            inputs = jax.lax.dynamic_index_in_dim(
                images, row * height.stride + tap, axis=1, keepdims=False
            )
            sums.append(
                [
                    jnp.sum(
                        inputs[:, width.padded(column)] * outputs, axis=(0, 1), dtype=total.dtype
                    )
                    for column in range(kernel.shape[1])
                ]
            )
        return total + jnp.asarray(sums)

    nothing = jnp.zeros(kernel.shape, jnp.promote_types(kernel.dtype, jnp.float32))
    of_kernel = jax.lax.fori_loop(0, height.out, add_row, nothing)
    return *of_images(upstream), of_kernel.astype(kernel.dtype)


_convolve.defvjp(_forward, _backward)
