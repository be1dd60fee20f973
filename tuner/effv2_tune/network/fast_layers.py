"""Defines subclasses of Keras layers that compute the same faster in training."""

from __future__ import annotations

import functools
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

import keras
from keras import ops

if TYPE_CHECKING:
    from types import ModuleType

    from effv2_tune.tensor import Tensor


@functools.cache
def _backend_operations() -> ModuleType | None:
    """The fast operations of the running backend, if any: a JAX process imports no TensorFlow."""
    name = f"effv2_tune.network.{keras.backend.backend()}_operations"
    return import_module(name) if find_spec(name) else None


class FastDepthwiseConv2D(keras.layers.DepthwiseConv2D):  # type: ignore[misc]  # no types
    """A depthwise convolution without bias, channels last, multiplier 1."""

    def call(self, inputs: Tensor) -> Tensor:
        """Convolve images [batch, height, width, channels]."""
        (stride, _), middle = self.strides, self.kernel_size[0] // 2
        if self.padding == "same" and tuple(inputs.shape[1:3]) == (1, 1):
            # The other taps meet zeros only. TensorFlow's own operation takes five times as long,
            # and sometimes gives arbitrary gradients in bfloat16 (2.21, oneDNN).
            return inputs * ops.convert_to_tensor(self.kernel)[middle, middle, :, 0]
        operations = _backend_operations()
        if operations is None or not operations.has_fast_depthwise(inputs, stride):
            return super().call(inputs)
        kernel = ops.convert_to_tensor(self.kernel)
        return operations.depthwise(inputs, kernel, stride=stride, padding=self.padding)


class FastBatchNormalization(keras.layers.BatchNormalization):  # type: ignore[misc]  # no types
    """Batch normalization over the last axis, with a scale and an offset."""

    def call(self, inputs: Tensor, training: bool | None = None, mask: Tensor = None) -> Tensor:  # noqa: FBT001 - Keras' own
        """Normalize images [batch, height, width, channels]; in training by one fused operation."""
        operations = _backend_operations()
        # Keras computes in float32 at least; the fused operation supports nothing else.
        exact = keras.backend.result_type(inputs.dtype, "float32") == "float32"
        plain = not (training and self.trainable) or not exact or mask is not None
        if plain or operations is None or not hasattr(operations, "batch_norm_in_training"):
            return super().call(inputs, training=training, mask=mask)
        scale, offset = ops.convert_to_tensor(self.gamma), ops.convert_to_tensor(self.beta)
        normed, mean, variance = operations.batch_norm_in_training(
            ops.cast(inputs, "float32"), scale, offset, epsilon=self.epsilon
        )
        for average, new in ((self.moving_mean, mean), (self.moving_variance, variance)):
            average.assign(average * self.momentum + new * (1.0 - self.momentum))
        return ops.cast(normed, self.compute_dtype)
