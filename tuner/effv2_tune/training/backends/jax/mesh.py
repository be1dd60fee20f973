"""Builds the device mesh over which a batch is split."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jax.sharding import Sharding

    #: Places arrays as `jax.device_put` does.
    Put = Callable[[Any, Sharding], Any]

#: The axis of the mesh.
_BATCH = "batch"


def device_mesh(devices: Sequence[Any]) -> Mesh:
    """A mesh with these devices in a row; they may be those of a topology that is not attached."""
    return Mesh(np.asarray(devices), (_BATCH,))


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding of an array of which every device has a copy."""
    return NamedSharding(mesh, PartitionSpec())


def split_by_batch(mesh: Mesh, *, axis: int = 0) -> NamedSharding:
    """The sharding of an array of which every device has a part of the batch.

    Args:
        mesh: The devices.
        axis: Of the batch.
    """
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, _BATCH))


def abstract(arrays: Any, sharding: Sharding) -> Any:
    """The shapes of arrays as if they were placed: what a device that is absent is compiled for."""
    return jax.tree.map(
        lambda array: jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=sharding), arrays
    )
