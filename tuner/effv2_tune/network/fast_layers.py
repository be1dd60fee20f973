"""Stock layers that compute the same faster in training, where the backend is slow at it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
from keras import ops

if TYPE_CHECKING:
    from types import ModuleType


def _backend_operations() -> ModuleType | None:
    # Only one of the two: a JAX process never imports TensorFlow.
    if keras.backend.backend() == "tensorflow":
        from effv2_tune.network import tensorflow_operations

        return tensorflow_operations
    if keras.backend.backend() == "jax":
        from effv2_tune.network import jax_operations

        return jax_operations
    return None


class QuickDepthwiseConv2D(keras.layers.DepthwiseConv2D):  # type: ignore[misc]  # no types
    """A depthwise convolution without bias, channels last, multiplier 1."""

    def call(self, inputs: Any) -> Any:
        """[batch, height, width, channels] to the same, in fewer rows and columns at a stride."""
        (stride, _), place = self.strides, self.kernel_size[0] // 2
        if self.padding == "same" and tuple(inputs.shape[1:3]) == (1, 1):
            # All else falls on the border of zeros. TensorFlow takes five times as long to know it,
            # and now and then gives anything at all as the gradient in bfloat16 (2.21, oneDNN).
            return inputs * ops.convert_to_tensor(self.kernel)[place, place, :, 0]
        operations = _backend_operations()
        if operations is None or not operations.takes_depthwise(inputs, stride):
            return super().call(inputs)
        kernel = ops.convert_to_tensor(self.kernel)
        return operations.depthwise(inputs, kernel, stride=stride, padding=self.padding)


class QuickBatchNormalization(keras.layers.BatchNormalization):  # type: ignore[misc]  # no types
    """Batch normalization over the last axis, with a scale and an offset."""

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:  # noqa: FBT001 - Keras' own
        """[batch, height, width, channels], normalized; in training by one fused operation."""
        operations = _backend_operations()
        # Keras computes in float32 at least; the fused operation knows nothing else.
        exact = keras.backend.result_type(inputs.dtype, "float32") == "float32"
        plain = not (training and self.trainable) or not exact or mask is not None
        if plain or operations is None or not hasattr(operations, "batch_norm_in_training"):
            return super().call(inputs, training=training, mask=mask)
        scale, offset = ops.convert_to_tensor(self.gamma), ops.convert_to_tensor(self.beta)
        normed, mean, variance = operations.batch_norm_in_training(
            ops.cast(inputs, "float32"), scale, offset, epsilon=self.epsilon
        )
        for kept, new in ((self.moving_mean, mean), (self.moving_variance, variance)):
            kept.assign(kept * self.momentum + new * (1.0 - self.momentum))
        return ops.cast(normed, self.compute_dtype)
