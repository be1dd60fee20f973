"""A frozen network's features on JAX: all devices, as the steps compute them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from effv2_tune.training.backends.jax.steps import BATCH, device_mesh
from effv2_tune.training.inputs.pipeline import Streamed
from effv2_tune.training.inputs.preparation import prepared

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from effv2_tune.training.backends.base import SplitName, StepPlan
    from effv2_tune.training.inputs.pipeline import DeviceData


class JaxExtraction:
    """See :class:`effv2_tune.training.features.extraction.Extraction`.

    Args:
        trunk: From `efficientnet_v2`, without a classifier.
        plan: What is compiled in.
        feeds: Of the images, from `place_sources`.
    """

    def __init__(self, trunk: Any, plan: StepPlan, feeds: DeviceData) -> None:
        self._trunk = trunk
        self._plan = plan
        self._feeds = feeds
        self._everything = np.arange(plan.batch, dtype=np.int32)
        mesh = device_mesh()
        everywhere = NamedSharding(mesh, PartitionSpec())
        self._split = NamedSharding(mesh, PartitionSpec(BATCH))
        weights = ([*trunk.trainable_variables], [*trunk.non_trainable_variables])
        self._weights = jax.device_put(
            jax.tree.map(lambda variable: jnp.array(np.asarray(variable)), weights), everywhere
        )
        self._step = jax.jit(self._extract)

    def _extract(self, weights: Any, pixels: Any, indices: Any, mirrored: Any) -> Any:
        images = jax.lax.with_sharding_constraint(pixels[indices], self._split)
        images = images.astype(jnp.float32)
        images = jnp.where(mirrored, jnp.flip(images, axis=2), images)
        features, _ = self._trunk.stateless_call(
            *weights, prepared(images, self._plan), training=False
        )
        return features

    def run(
        self, split: SplitName, order: NDArray[np.int32], *, mirrored: bool
    ) -> NDArray[np.float32]:
        """The features of these images, batch after batch; fetched when all are on their way."""
        feed = self._feeds[split]
        if isinstance(feed, Streamed):
            feed.begin(order)
        batches = []
        for step, indices in enumerate(order):
            pixels, at = (
                (feed.take(step)[0], self._everything)
                if isinstance(feed, Streamed)
                else (feed.pixels, indices)
            )
            batches.append(self._step(self._weights, pixels, at, np.bool_(mirrored)))
        return np.concatenate(jax.device_get(batches))


make_extraction = JaxExtraction
