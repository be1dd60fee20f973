"""Many batches in one call."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from effv2_tune.training.backends.jax.loops import each, fetched, windows


@pytest.mark.parametrize(("count", "lengths"), [(1, [1]), (4, [4]), (9, [4, 4, 1])])
def test_windows_hold_every_row_once_and_have_one_shape(count: int, lengths: list[int]) -> None:
    rows = np.arange(2 * count).reshape(count, 2)

    found = [*windows(4, rows, rows + 1)]

    assert [int(length) for _, _, length in found] == lengths
    assert all(part.shape == (4, 2) for first, second, _ in found for part in (first, second))
    for array, parts in zip((rows, rows + 1), [*zip(*found, strict=True)][:2], strict=True):
        np.testing.assert_array_equal(np.concatenate(parts)[:count], array)


def test_a_step_runs_for_the_first_indices_and_leaves_zeros_for_the_others() -> None:
    traces = []

    @jax.jit
    def step(index: jax.Array) -> dict[str, jax.Array]:
        traces.append(index)
        return {"square": (index + 1) ** 2, "row": jnp.full(2, index + 1, jnp.float32)}

    run = jax.jit(lambda count: each(step, 4, count))

    for count in (0, 3, 4):
        done = jax.device_get(run(np.int32(count)))
        squares = [(index + 1) ** 2 if index < count else 0 for index in range(4)]
        assert done["square"].tolist() == squares
        assert done["row"].shape == (4, 2)
    assert len(traces) == 1  # of an inner jit, for any count


def test_each_result_is_fetched_after_the_next_call_was_made() -> None:
    events = []

    def calls() -> object:
        for call in range(3):
            events.append(f"call {call}")
            yield jnp.int32(call)

    for result in fetched(calls()):
        assert isinstance(result, np.ndarray)
        events.append(f"fetched {result}")

    assert events == [
        "call 0",
        "call 1",
        "fetched 0",
        "call 2",
        "fetched 1",
        "fetched 2",
    ]
