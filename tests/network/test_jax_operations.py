"""The operations that JAX computes faster than those that Keras calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from effv2_tune.network.jax_operations import has_fast_depthwise, on_accelerator, traced_for

if TYPE_CHECKING:
    from effv2_tune.host import Kind

IMAGES = np.zeros((1, 8, 8, 4), np.float32)


@pytest.mark.parametrize("platform", ["gpu", "tpu"])
def test_operations_are_chosen_for_the_device_that_is_traced_for(platform: Kind) -> None:
    with traced_for(platform):
        assert on_accelerator()
        assert not has_fast_depthwise(IMAGES, 1)


def test_the_default_device_counts_again_after_the_trace() -> None:
    with pytest.raises(ValueError, match="no such shape"), traced_for("tpu"):
        raise ValueError("no such shape")

    assert not on_accelerator()
    assert has_fast_depthwise(IMAGES, 1)
