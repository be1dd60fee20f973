"""Implements operations that JAX computes faster than those that Keras calls.

XLA has no depthwise convolution on CPU: written as products of shifted images they are 10 to 50
times faster (`benchmarks/operations.py`). On accelerators the stock operation is used.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from effv2_tune.network.conv_geometry import Axis

if TYPE_CHECKING:
    from collections.abc import Iterator

    from effv2_tune.host import Kind
    from effv2_tune.tensor import Tensor

_PLATFORM: ContextVar[Kind | None] = ContextVar("platform", default=None)


@contextmanager
def traced_for(platform: Kind) -> Iterator[None]:
    """Choose operations for this kind of device, which need not be attached, while tracing.

    Without it they are chosen for JAX's default device.
    """
    token = _PLATFORM.set(platform)
    try:
        yield
    finally:
        _PLATFORM.reset(token)


def on_accelerator() -> bool:
    """Whether the traced computation is for a GPU or a TPU."""
    return (_PLATFORM.get() or jax.default_backend()) != "cpu"


def has_fast_depthwise(images: Tensor, stride: int) -> bool:  # noqa: ARG001 - of any size and stride
    """Whether :func:`depthwise` is faster than the stock operation."""
    return not on_accelerator()


def depthwise(images: Tensor, kernel: Tensor, *, stride: int, padding: str) -> Tensor:
    """Compute a depthwise convolution as a sum over taps.

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
def _convolve(height: Axis, width: Axis, images: Tensor, kernel: Tensor) -> Tensor:
    """Convolve padded images [batch, ...] with a kernel [rows, columns, channels]."""
    return sum(
        images[:, height.padded(row), width.padded(column)] * kernel[row, column]
        for row in range(kernel.shape[0])
        for column in range(kernel.shape[1])
    )


def _forward(height: Axis, width: Axis, images: Tensor, kernel: Tensor) -> Any:
    return _convolve(height, width, images, kernel), (images, kernel)


def _backward(height: Axis, width: Axis, saved: Any, upstream: Tensor) -> Any:
    images, kernel = saved
    _, images_gradient = jax.vjp(
        lambda images: _convolve.fun(height, width, images, kernel), images
    )

    def add_row(row: Tensor, total: Tensor) -> Tensor:
        """Add one row of outputs: its inputs stay in the processor's cache."""
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

    zeros = jnp.zeros(kernel.shape, jnp.promote_types(kernel.dtype, jnp.float32))
    kernel_gradient = jax.lax.fori_loop(0, height.out, add_row, zeros)
    return *images_gradient(upstream), kernel_gradient.astype(kernel.dtype)


_convolve.defvjp(_forward, _backward)
