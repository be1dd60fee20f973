"""Four small variables and nine gradients, for tests that train without a network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import ops

if TYPE_CHECKING:
    from collections.abc import Sequence

SHAPES = [(3, 2), (2,), (), (4, 1, 2)]
rng = np.random.default_rng(0)
START = [rng.standard_normal(shape).astype("float32") for shape in SHAPES]
GRADIENTS = [[rng.standard_normal(shape).astype("float32") for shape in SHAPES] for _ in range(9)]


def new_variables() -> list[Any]:
    return [keras.Variable(start) for start in START]


def train(optimizer: Any, variables: Sequence[Any], gradients: Any = GRADIENTS) -> list[Any]:
    """Apply gradients one after the other; the weights at the end."""
    for step in gradients:
        optimizer.apply([ops.convert_to_tensor(gradient) for gradient in step], variables)
    return [variable.numpy().copy() for variable in variables]


def trained(optimizer: Any) -> list[Any]:
    variables = new_variables()
    optimizer.build(variables)
    return train(optimizer, variables)
