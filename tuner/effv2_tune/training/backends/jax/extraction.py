"""Computes a frozen backbone's features on JAX, on all devices of a mesh."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from effv2_tune.network.jax_operations import traced_for
from effv2_tune.training.backends.jax.mesh import replicated, split_by_batch
from effv2_tune.training.inputs.pipeline import image_batches
from effv2_tune.training.inputs.preparation import prepared

if TYPE_CHECKING:
    from jax.sharding import Mesh
    from numpy.typing import NDArray

    from effv2_tune.host import Kind
    from effv2_tune.training.backends.base import SplitName, StepPlan
    from effv2_tune.training.inputs.pipeline import DeviceData


class JaxExtractor:
    """See :class:`effv2_tune.training.backends.base.Extractor`.

    The other arguments are those of `Backend.make_extractor`.

    Args:
        mesh: The devices.
        platform: Their kind.
    """

    def __init__(
        self,
        backbone: Any,
        plan: StepPlan,
        data: DeviceData,
        *,
        mesh: Mesh,
        platform: Kind,
    ) -> None:
        self._platform = platform
        self._backbone = backbone
        self._plan = plan
        self._data = data
        self._split = split_by_batch(mesh)
        weights = ([*backbone.trainable_variables], [*backbone.non_trainable_variables])
        self._weights = jax.device_put(
            jax.tree.map(lambda variable: jnp.array(np.asarray(variable)), weights),
            replicated(mesh),
        )
        self._step = jax.jit(self._extract)

    def _extract(self, weights: Any, pixels: Any, indices: Any, mirrored: Any) -> Any:
        images = jax.lax.with_sharding_constraint(pixels[indices], self._split)
        images = images.astype(jnp.float32)
        images = jnp.where(mirrored, jnp.flip(images, axis=2), images)
        with traced_for(self._platform):
            features, _ = self._backbone.stateless_call(
                *weights, prepared(images, self._plan), training=False
            )
        return features

    def run(
        self, split: SplitName, order: NDArray[np.int32], *, mirrored: bool
    ) -> NDArray[np.float32]:
        """The features of these images; fetched once all batches are dispatched."""
        batches = [
            self._step(self._weights, pixels, positions, np.bool_(mirrored))
            for pixels, positions in image_batches(self._data[split], order)
        ]
        return np.concatenate(jax.device_get(batches))
