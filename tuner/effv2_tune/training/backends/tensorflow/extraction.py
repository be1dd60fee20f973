"""Computes a frozen backbone's features on TensorFlow, on one device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf
from keras import ops

from effv2_tune.training.inputs.pipeline import image_batches
from effv2_tune.training.inputs.preparation import prepared

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from effv2_tune.training.backends.base import SplitName, StepPlan
    from effv2_tune.training.inputs.pipeline import DeviceData


class TensorFlowExtractor:
    """See :class:`effv2_tune.training.backends.base.Extractor`.

    The arguments are those of `Backend.make_extractor`.
    """

    def __init__(self, backbone: Any, plan: StepPlan, data: DeviceData) -> None:
        self._backbone = backbone
        self._plan = plan
        self._data = data
        self._step = tf.function(
            self._extract,
            input_signature=[
                tf.TensorSpec([None, *plan.image_shape], tf.uint8),
                tf.TensorSpec([plan.batch], tf.int32),
                tf.TensorSpec([], tf.bool),
            ],
            autograph=False,
            # On the CPU, XLA takes minutes to compile the convolutions and runs them slower.
            jit_compile=False,
        )

    def _extract(self, pixels: Any, indices: Any, mirrored: Any) -> Any:
        images = tf.cast(tf.gather(pixels, indices), tf.float32)
        images = tf.where(mirrored, ops.flip(images, axis=2), images)
        return self._backbone(prepared(images, self._plan), training=False)

    def run(
        self, split: SplitName, order: NDArray[np.int32], *, mirrored: bool
    ) -> NDArray[np.float32]:
        """The features of these images."""
        batches = [
            self._step(pixels, positions, mirrored)
            for pixels, positions in image_batches(self._data[split], order)
        ]
        return np.concatenate([batch.numpy() for batch in batches])
