"""Implements operations that JAX computes faster than those that Keras calls.

XLA has no depthwise convolution on CPU: written as products of shifted images they are 10 to 50
times faster (`benchmarks/operations.py`). On accelerators the stock operation is used, but batch
normalization reads its images once, not twice.
"""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from effv2_tune.network.conv_geometry import Axis

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

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
    return _platform() != "cpu"


def gathers_slowly() -> bool:
    """Whether the traced computation is for a TPU, which reads single pixels one by one."""
    return _platform() == "tpu"


def _platform() -> str:
    return _PLATFORM.get() or str(jax.default_backend())


def exact_products() -> AbstractContextManager[None]:
    """Compute products that are traced inside in float32; processors do anyway."""
    if not on_accelerator():
        return nullcontext()
    context: AbstractContextManager[None] = jax.default_matmul_precision("highest")
    return context


def has_fast_batch_norm() -> bool:
    """Whether :func:`batch_norm_in_training` is faster than the stock operation."""
    return on_accelerator()


def batch_norm_in_training(
    images: Tensor, scale: Tensor, offset: Tensor, *, moving_mean: Tensor, epsilon: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalize float32 images by their own mean and variance, which one pass computes.

    Both are sums of one reduction, which XLA fuses into the convolution before it, and one
    all-reduce over several devices instead of two. The mean of squares minus the square of the mean
    cancels where the mean is large; of the distances to the moving mean it does not.

    Args:
        images: [batch, height, width, channels].
        scale: [channels].
        offset: [channels].
        moving_mean: [channels]; any value gives the same results up to rounding.
        epsilon: Added to the variance.

    Returns:
        The images, their mean and their variance [channels]; only the images have gradients.
    """
    result: tuple[Tensor, Tensor, Tensor] = _normalize(epsilon, images, scale, offset, moving_mean)
    return result


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _normalize(
    epsilon: float, images: Tensor, scale: Tensor, offset: Tensor, near: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    distances, axes = images - near, tuple(range(images.ndim - 1))
    mean, square = jnp.mean(distances, axes), jnp.mean(jnp.square(distances), axes)
    variance = jnp.maximum(square - jnp.square(mean), 0.0)
    mean, factor = mean + near, jax.lax.rsqrt(variance + epsilon) * scale
    return images * factor + (offset - mean * factor), mean, variance


def _normalize_forward(
    epsilon: float, images: Tensor, scale: Tensor, offset: Tensor, near: Tensor
) -> Any:
    results = _normalize(epsilon, images, scale, offset, near)
    return results, (images, scale, *results[1:])


def _normalize_backward(epsilon: float, saved: Any, upstreams: Any) -> Any:
    """Two sums of one reduction again.

    The gradient that JAX derives reads the images once more, for the distances.
    """
    images, scale, mean, variance = saved
    upstream, axes = upstreams[0], tuple(range(images.ndim - 1))
    inverse, centred = jax.lax.rsqrt(variance + epsilon), images - mean
    to_offset = jnp.sum(upstream, axes)
    to_scale = inverse * jnp.sum(upstream * centred, axes)
    # What is the same for all pixels is multiplied beforehand: 5 % of a block's estimate for v5e.
    factor, count = inverse * scale, images.size / scale.size
    common = centred * (factor * inverse * to_scale / count) + factor * to_offset / count
    to_images = factor * upstream - common
    return to_images, to_scale, to_offset, jnp.zeros_like(mean)


_normalize.defvjp(_normalize_forward, _normalize_backward)


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


def _convolve_forward(height: Axis, width: Axis, images: Tensor, kernel: Tensor) -> Any:
    return _convolve(height, width, images, kernel), (images, kernel)


def _convolve_backward(height: Axis, width: Axis, saved: Any, upstream: Tensor) -> Any:
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


_convolve.defvjp(_convolve_forward, _convolve_backward)
