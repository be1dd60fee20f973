"""Defines subclasses of Keras layers that compute the same faster in training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import keras
from keras import ops

from effv2_tune.network.running_backend import backend_operations

if TYPE_CHECKING:
    from effv2_tune.tensor import Tensor


class FastDepthwiseConv2D(keras.layers.DepthwiseConv2D):  # type: ignore[misc]  # no types
    """A depthwise convolution without bias, channels last, multiplier 1."""

    def call(self, inputs: Tensor) -> Tensor:
        """Convolve images [batch, height, width, channels]."""
        (stride, _), middle = self.strides, self.kernel_size[0] // 2
        if self.padding == "same" and tuple(inputs.shape[1:3]) == (1, 1):
            # The other taps meet zeros only. TensorFlow's own operation takes five times as long,
            # and sometimes gives arbitrary gradients in bfloat16 (2.21, oneDNN).
            return inputs * ops.convert_to_tensor(self.kernel)[middle, middle, :, 0]
        operations = backend_operations()
        if operations is None or not operations.has_fast_depthwise(inputs, stride):
            return super().call(inputs)
        kernel = ops.convert_to_tensor(self.kernel)
        return operations.depthwise(inputs, kernel, stride=stride, padding=self.padding)


class FastBatchNormalization(keras.layers.BatchNormalization):  # type: ignore[misc]  # no types
    """Batch normalization over the last axis, with a scale and an offset."""

    def call(self, inputs: Tensor, training: bool | None = None, mask: Tensor = None) -> Tensor:  # noqa: FBT001 - Keras' own
        """Normalize images [batch, height, width, channels]; in training by one fused operation."""
        operations = backend_operations()
        # Keras computes in float32 at least; the fused operation supports nothing else.
        exact = keras.backend.result_type(inputs.dtype, "float32") == "float32"
        plain = not (training and self.trainable) or not exact or mask is not None
        if plain or operations is None or not operations.has_fast_batch_norm():
            return super().call(inputs, training=training, mask=mask)
        scale, offset = ops.convert_to_tensor(self.gamma), ops.convert_to_tensor(self.beta)
        normed, mean, variance = operations.batch_norm_in_training(
            ops.cast(inputs, "float32"),
            scale,
            offset,
            moving_mean=ops.convert_to_tensor(self.moving_mean),
            epsilon=self.epsilon,
        )
        for average, new in ((self.moving_mean, mean), (self.moving_variance, variance)):
            average.assign(average * self.momentum + new * (1.0 - self.momentum))
        return ops.cast(normed, self.compute_dtype)
