"""Implements operations that TensorFlow computes faster than those that Keras calls.

Measured on CPU: `benchmarks/operations.py`.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from effv2_tune.network.conv_geometry import Axis

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from effv2_tune.tensor import Tensor

#: Up to this height and width, oneDNN's gradient of a depthwise kernel is slower than plain sums.
_SMALL = 2


def has_fast_depthwise(images: Tensor, stride: int) -> bool:
    """Whether :func:`depthwise` is faster than the stock operation."""
    height, width = images.shape[1:3]
    small = height is not None and width is not None and max(height, width) <= _SMALL
    return small and stride == 1


def depthwise(images: Tensor, kernel: Tensor, *, stride: int, padding: str) -> Tensor:
    """Compute a depthwise convolution whose kernel gradient is a sum for each tap.

    Args:
        images: [batch, height, width, channels].
        kernel: [rows, columns, channels, 1].
        stride: Of both axes.
        padding: ``same`` or ``valid``.
    """
    strides, name = [1, stride, stride, 1], padding.upper()

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def convolve(images: Tensor, kernel: Tensor) -> Any:
        def gradients(upstream: Tensor) -> tuple[Tensor, Tensor]:
            images_gradient = tf.nn.depthwise_conv2d_backprop_input(
                tf.shape(images), kernel, upstream, strides, name
            )
            kernel_gradient = _kernel_gradient(images, upstream, kernel.shape, stride, padding)
            return images_gradient, tf.cast(kernel_gradient, kernel.dtype)

        return tf.nn.depthwise_conv2d(images, kernel, strides, name), gradients

    # Cast outside: custom gradients must return those of variables that are read inside.
    return convolve(images, tf.cast(kernel, images.dtype))


def _kernel_gradient(
    images: Tensor, upstream: Tensor, shape: tuple[int, ...], stride: int, padding: str
) -> Tensor:
    height, width = (
        Axis.of(size, kernel=taps, stride=stride, padding=padding)
        for size, taps in zip(images.shape[1:3], shape, strict=False)
    )
    # Long sums need more than 16 bits.
    precise = tf.float32 if images.dtype.size < tf.float32.size else images.dtype
    images, upstream = tf.cast(images, precise), tf.cast(upstream, precise)
    sums = []
    for row in range(shape[0]):
        for column in range(shape[1]):
            down, across = height.inside(row), width.inside(column)
            if down is None or across is None:
                sums.append(tf.zeros(shape[2], precise))
                continue
            products = images[:, down[0], across[0]] * upstream[:, down[1], across[1]]
            sums.append(tf.reduce_sum(tf.reshape(products, [-1, shape[2]]), axis=0))
    return tf.reshape(tf.stack(sums), shape)


def gathers_slowly() -> bool:
    """Whether the device reads single pixels slowly: TensorFlow trains on no TPU."""
    return False


def exact_products() -> AbstractContextManager[None]:
    """Compute products in float32: so does TensorFlow once its device is opened."""
    return nullcontext()


def has_fast_batch_norm() -> bool:
    """Whether :func:`batch_norm_in_training` is faster than the stock operation."""
    return True


def batch_norm_in_training(
    images: Tensor,
    scale: Tensor,
    offset: Tensor,
    *,
    moving_mean: Tensor,  # noqa: ARG001 - the kernel needs no estimate of the mean
    epsilon: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalize float32 images by their own mean and variance, in one operation.

    Returns:
        The images, their mean and their variance [channels]: as in Keras the variance of the batch,
        not TensorFlow's unbiased estimate.
    """
    empty = tf.zeros([0])
    normed = tf.raw_ops.FusedBatchNormV3(
        x=images,
        scale=scale,
        offset=offset,
        mean=empty,
        variance=empty,
        epsilon=epsilon,
        is_training=True,
    )
    count = tf.cast(tf.size(images) / tf.size(offset), tf.float32)
    return normed.y, normed.batch_mean, normed.batch_variance * ((count - 1) / count)
