"""What TensorFlow computes faster than by the operations that Keras takes.

Measured on CPU: `benchmarks/operations.py`.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from effv2_tune.network.conv_geometry import Axis

#: Up to this height and width, oneDNN's gradient of a depthwise kernel loses against plain sums.
_SMALL = 2


def takes_depthwise(images: Any, stride: int) -> bool:
    """Whether :func:`depthwise` is the faster way."""
    height, width = images.shape[1:3]
    small = height is not None and width is not None and max(height, width) <= _SMALL
    return small and stride == 1


def depthwise(images: Any, kernel: Any, *, stride: int, padding: str) -> Any:
    """A depthwise convolution whose kernel's gradient is a sum for each tap.

    Args:
        images: [batch, height, width, channels].
        kernel: [rows, columns, channels, 1].
        stride: Of both axes.
        padding: ``same`` or ``valid``.
    """
    strides, name = [1, stride, stride, 1], padding.upper()

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def convolve(images: Any, kernel: Any) -> Any:
        def gradients(upstream: Any) -> tuple[Any, Any]:
            back = tf.nn.depthwise_conv2d_backprop_input(
                tf.shape(images), kernel, upstream, strides, name
            )
            of_kernel = _kernel_gradient(images, upstream, kernel.shape, stride, padding)
            return back, tf.cast(of_kernel, kernel.dtype)

        return tf.nn.depthwise_conv2d(images, kernel, strides, name), gradients

    # Read outside: a custom gradient asks for the gradients of variables that it reads itself.
    return convolve(images, tf.cast(kernel, images.dtype))


def _kernel_gradient(
    images: Any, upstream: Any, shape: tuple[int, ...], stride: int, padding: str
) -> Any:
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


def batch_norm_in_training(
    images: Any, scale: Any, offset: Any, *, epsilon: float
) -> tuple[Any, Any, Any]:
    """Float32 images normalized by their own mean and variance, in one operation.

    Returns:
        The images, their mean and their variance [channels]; the variance is that of these
        images, as Keras averages it, not the estimate for all images that TensorFlow gives.
    """
    nothing = tf.zeros([0])
    normed = tf.raw_ops.FusedBatchNormV3(
        x=images,
        scale=scale,
        offset=offset,
        mean=nothing,
        variance=nothing,
        epsilon=epsilon,
        is_training=True,
    )
    count = tf.cast(tf.size(images) / tf.size(offset), tf.float32)
    return normed.y, normed.batch_mean, normed.batch_variance * ((count - 1) / count)
