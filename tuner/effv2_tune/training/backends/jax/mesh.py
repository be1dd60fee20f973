"""Builds the device mesh over which a batch is split."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

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
