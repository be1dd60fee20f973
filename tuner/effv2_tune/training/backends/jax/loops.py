"""Runs many batches in one call, with the loop on the device, and fetches their results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from effv2_tune.heartbeat import advance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray


def windows(length: int, *rows: NDArray[Any]) -> Iterator[tuple[Any, ...]]:
    """Consecutive rows of some arrays, so many at a time: of one shape, for one compilation.

    Args:
        length: Rows of a window.
        rows: Arrays [count, ...].

    Yields:
        The arrays, the last ones filled up with zeros, and how many rows are not filling.
    """
    for start in range(0, len(rows[0]), length):
        parts = [array[start : start + length] for array in rows]
        count = len(parts[0])
        filled = [
            np.concatenate([part, np.zeros_like(part, shape=(length - count, *part.shape[1:]))])
            for part in parts
        ]
        yield *filled, np.int32(count)


def each(step: Callable[[Any], Any], length: int, count: Any) -> Any:
    """The results of a step for each index, while tracing.

    Args:
        step: From an index to arrays, the same shapes for each; traced twice.
        length: Indices, and rows of the results.
        count: Those that are computed, a scalar on the device; the other rows are zeros.

    Returns:
        The arrays of ``step``, each with a first axis of ``length``.
    """
    shapes = jax.eval_shape(step, jnp.int32(0))
    zeros = jax.tree.map(lambda one: jnp.zeros((length, *one.shape), one.dtype), shapes)

    def compute(index: Any, rows: Any) -> Any:
        return jax.tree.map(lambda array, row: array.at[index].set(row), rows, step(index))

    return jax.lax.fori_loop(jnp.int32(0), count, compute, zeros)


def fetched(results: Iterable[Any]) -> Iterator[Any]:
    """Fetch the results of calls to the host, each while the next call runs."""
    pending: list[Any] = []
    for result in results:
        advance()
        pending.append(result)
        if len(pending) > 1:
            yield jax.device_get(pending.pop(0))
    yield from jax.device_get(pending)
