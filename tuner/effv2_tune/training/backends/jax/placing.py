"""Puts images and features on the devices of a mesh."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from effv2_tune.heartbeat import advance

if TYPE_CHECKING:
    from jax.sharding import Sharding
    from numpy.typing import NDArray

    from effv2_tune.training.backends.jax.mesh import Put
    from effv2_tune.training.inputs.pipeline import Source

#: Bytes of rows that are placed at once.
_BLOCK_BYTES = 2**26


def place_batch(
    sharding: Sharding, rows: NDArray[Any], labels: NDArray[np.int32], *, put: Put = jax.device_put
) -> tuple[Any, Any]:
    """Rows and labels on the devices."""
    placed: tuple[Any, Any] = put((rows, labels), sharding)
    return placed


def place_whole(
    sharding: Sharding, source: Source, *, put: Put = jax.device_put
) -> tuple[Any, Any]:
    """All rows and labels of a split on the devices."""
    return place_batch(sharding, source.whole(), np.asarray(source.labels), put=put)


def place_in_blocks(
    sharding: Sharding, source: Source, *, block_bytes: int = _BLOCK_BYTES
) -> tuple[Any, Any]:
    """All rows and labels of a split on the devices, without a second copy of them on the host.

    Args:
        sharding: Of the arrays on the devices.
        source: The split.
        block_bytes: Of rows that are placed at once.
    """
    if source.nbytes <= block_bytes:
        return place_whole(sharding, source)
    count = len(source.labels)
    block = max(1, block_bytes * count // source.nbytes)
    write = jax.jit(_write, donate_argnums=0, out_shardings=sharding)
    rows: Any = None
    for start in range(0, count, block):
        first = min(start, count - block)  # blocks of one size are one compilation
        taken = source.take(np.arange(first, first + block, dtype=np.int32))
        if rows is None:
            rows = jnp.zeros((count, *taken.shape[1:]), taken.dtype, device=sharding)
        # Waits for it: the host would hold all blocks that are not transferred yet.
        rows = jax.block_until_ready(write(rows, jax.device_put(taken, sharding), np.int32(first)))
        advance()
    return rows, jax.device_put(np.asarray(source.labels), sharding)


def _write(rows: Any, block: Any, first: Any) -> Any:
    return jax.lax.dynamic_update_slice_in_dim(rows, block, first, axis=0)
