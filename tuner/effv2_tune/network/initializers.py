"""Initializes weights from the seed alone, whatever the backend."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

# Weights with a constant initial value; kernels are random.
_CONSTANTS = {"gamma": 1.0, "beta": 0.0, "moving_mean": 0.0, "moving_variance": 1.0, "bias": 0.0}


def initialise(model: Any, *, seed: int) -> None:
    """Give every layer of `model` its initial weights, and reset its random state; rates stay."""
    initialise_layers(model.layers_by_name, seed=seed)
    model.seed_generator.state.assign([seed, 0])


def initialise_layers(layers: Mapping[str, Any], *, seed: int) -> None:
    """Give layers, by released name, their initial weights.

    Every weight has its own stream of random numbers, derived from layer and seed: so a classifier
    starts the same alone and in the whole network, on TensorFlow and on JAX.
    """
    for name, layer in layers.items():
        for variable in layer.variables:
            variable.assign(initial_value(name, variable.name, tuple(variable.shape), seed=seed))


def initial_value(
    layer: str, weight: str, shape: tuple[int, ...], *, seed: int
) -> np.ndarray[Any, np.dtype[np.float32]]:
    """The initial value of one weight, as in google/automl's `effnetv2_model.py`.

    Convolutions: normal, standard deviation sqrt(2 / fan_out), where fan_out counts the 9
    positions of a depthwise kernel. Classifier: uniform within 1 / sqrt(classes).

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
