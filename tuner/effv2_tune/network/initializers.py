"""Random initial weights that depend on the seed alone, whatever the backend."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np

# Weights that start at the same number everywhere; kernels are drawn.
_CONSTANTS = {"gamma": 1.0, "beta": 0.0, "moving_mean": 0.0, "moving_variance": 1.0, "bias": 0.0}


def initialise(model: Any, *, seed: int) -> None:
    """Give every layer of `model` its initial weights, and start its random numbers afresh.

    Every weight has a stream of its own, named by layer and seed: so a classifier starts the same
    alone and in the whole network, on TensorFlow and on JAX. Rates stay as they are.
    """
    for name, layer in model.layers_by_name.items():
        for variable in layer.variables:
            variable.assign(initial_value(name, variable.name, tuple(variable.shape), seed=seed))
    model.seed_generator.state.assign([seed, 0])


def initial_value(
    layer: str, weight: str, shape: tuple[int, ...], *, seed: int
) -> np.ndarray[Any, np.dtype[np.float32]]:
    """The initial value of one weight, as in google/automl's `effnetv2_model.py`.

    Convolutions: normal, standard deviation sqrt(2 / fan_out), where fan_out counts the 9 places
    of a depthwise kernel. Classifier: uniform within 1 / sqrt(classes).

    Args:
        layer: Released name of the layer.
        weight: Name of the weight in the layer.
        shape: Its shape.
        seed: Of the random numbers.
    """
    if weight in _CONSTANTS:
        return np.full(shape, _CONSTANTS[weight], "float32")
    rng = np.random.default_rng([seed, zlib.crc32(layer.encode())])
    if len(shape) == 2:  # noqa: PLR2004 - the classifier's kernel, [features, classes]
        limit = 1 / np.sqrt(shape[-1])
        return rng.uniform(-limit, limit, shape).astype("float32")
    height, width, _, width_out = shape
    # A depthwise kernel is [3, 3, channels, 1].
    deviation = np.float32(np.sqrt(2 / (height * width * width_out)))
    return rng.standard_normal(shape, "float32") * deviation
