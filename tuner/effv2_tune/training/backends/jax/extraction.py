"""Computes a frozen backbone's features on JAX, on all devices of a mesh."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from effv2_tune.network.jax_operations import traced_for
from effv2_tune.training.backends.jax.loops import each, fetched, windows
from effv2_tune.training.backends.jax.mesh import replicated, split_by_batch
from effv2_tune.training.inputs.packing import unpacked
from effv2_tune.training.inputs.pipeline import Resident, image_batches
from effv2_tune.training.inputs.preparation import prepared

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jax.sharding import Mesh
    from numpy.typing import NDArray

    from effv2_tune.host import Kind
    from effv2_tune.training.backends.base import SplitName, StepPlan
    from effv2_tune.training.backends.jax.mesh import Put
    from effv2_tune.training.inputs.pipeline import DeviceData

#: Batches of a call, if its loop is on the device: those of a block (`features.extraction`).
EXTRACTION_WINDOW = 8


class JaxExtractor:
    """See :class:`effv2_tune.training.backends.base.Extractor`.

    The other arguments are those of `Backend.make_extractor`.

    Args:
        mesh: The devices.
        platform: Their kind.
        put: Places arrays on them.
    """

    def __init__(
        self,
        backbone: Any,
        plan: StepPlan,
        data: DeviceData,
        *,
        mesh: Mesh,
        platform: Kind,
        put: Put = jax.device_put,
    ) -> None:
        self._platform = platform
        self._backbone = backbone
        self._plan = plan
        self._data = data
        self._split = split_by_batch(mesh)
        weights = ([*backbone.trainable_variables], [*backbone.non_trainable_variables])
        self._weights = put(
            jax.tree.map(lambda variable: jnp.array(np.asarray(variable)), weights),
            replicated(mesh),
        )
        self._step = jax.jit(self._extract)
        self._steps = jax.jit(self._extract_many, out_shardings=split_by_batch(mesh, axis=1))

    def _extract(self, weights: Any, pixels: Any, indices: Any, mirrored: Any) -> Any:
        batch = jax.lax.with_sharding_constraint(pixels[indices], self._split)
        images = unpacked(batch, self._plan.image_shape).astype(jnp.float32)
        images = jnp.where(mirrored, jnp.flip(images, axis=2), images)
        with traced_for(self._platform):
            features, _ = self._backbone.stateless_call(
                *weights, prepared(images, self._plan), training=False
            )
        return features

    def _extract_many(self, weights: Any, pixels: Any, rows: tuple[Any, Any], mirrored: Any) -> Any:
        """The features of a window of batches [window, batch, width]; zeros fill it up."""
        indices, batches = rows
        return each(
            lambda at: self._step(weights, pixels, indices[at], mirrored), len(indices), batches
        )

    def run(
        self, split: SplitName, order: NDArray[np.int32], *, mirrored: bool
    ) -> NDArray[np.float32]:
        """The features of these images.

        In loops on the device where images are resident on an accelerator. On a CPU, XLA runs
        convolutions inside a loop 16 times slower (jax-ml/jax#12868).
        """
        data = self._data[split]
        if isinstance(data, Resident) and self._platform != "cpu":
            calls = (
                self._steps(*arguments)
                for arguments in self._window_arguments(data, order, mirrored=mirrored)
            )
            features = np.concatenate([*fetched(calls)])[: len(order)]
            return features.reshape(order.size, -1)
        batches = [
            self._step(*arguments) for arguments in self._arguments(split, order, mirrored=mirrored)
        ]
        return np.concatenate(jax.device_get(batches))

    def _arguments(
        self, split: SplitName, order: NDArray[np.int32], *, mirrored: bool
    ) -> Iterator[tuple[Any, ...]]:
        for pixels, positions in image_batches(self._data[split], order):
            yield self._weights, pixels, positions, np.bool_(mirrored)

    def _window_arguments(
        self, data: Resident, order: NDArray[np.int32], *, mirrored: bool
    ) -> Iterator[tuple[Any, ...]]:
        for window in windows(EXTRACTION_WINDOW, order):
            yield self._weights, data.pixels, window, np.bool_(mirrored)

    def lower(self, split: SplitName, order: NDArray[np.int32]) -> Any:
        """The inference, lowered for devices that need not be attached (`jax.stages.Lowered`)."""
        data = self._data[split]
        if isinstance(data, Resident) and self._platform != "cpu":
            return self._steps.lower(*next(self._window_arguments(data, order, mirrored=False)))
        return self._step.lower(*next(self._arguments(split, order, mirrored=False)))
