"""Initial weights depend on the seed alone."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from effv2_tune.network import (
    initialise,
    training_network,
)

IMAGES = np.random.default_rng(0).normal(size=(4, 32, 32, 3)).astype("float32")


def tiny(**options: Any) -> Any:
    return training_network("tiny", **{"classes": 10, **options})


def numbers(tensor: Any) -> np.ndarray[Any, Any]:
    return np.asarray(keras.ops.convert_to_numpy(tensor))


def relative(found: Any, wanted: Any) -> float:
    return float(np.linalg.norm(numbers(found) - numbers(wanted)) / np.linalg.norm(numbers(wanted)))


def test_initialise_gives_the_weights_of_a_new_network() -> None:
    used, new, other = tiny(seed=1), tiny(seed=5), tiny(seed=1)
    used(IMAGES, training=True)
    initialise(used, seed=5)

    for mine, theirs in zip(used.variables, new.variables, strict=True):
        assert np.array_equal(numbers(mine), numbers(theirs)), mine.path
    assert relative(other(IMAGES), new(IMAGES)) > 0.1


def test_initial_weights_are_the_official_ones() -> None:
    network = training_network("b0", classes=10, resolution=32)

    wide = numbers(network.get_layer("post_conv").kernel)
    assert wide.std() == pytest.approx(np.sqrt(2 / 1280), rel=0.01)
    depthwise = numbers(network.get_layer("stack_5_block7_MB_dw_").kernel)
    assert depthwise.std() == pytest.approx(np.sqrt(2 / 9), rel=0.03)
    dense = numbers(network.get_layer("predictions").kernel)
    assert np.abs(dense).max() == pytest.approx(1 / np.sqrt(10), rel=0.01)
    assert not numbers(network.get_layer("predictions").bias).any()
