"""AdaBelief: an epsilon of 0, and long steps on constant gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import ops

from effv2_tune.optimizers import (
    AdaBelief,
)

if TYPE_CHECKING:
    from collections.abc import Iterable


def trajectory(optimizer: Any, weights: Any, gradients: Iterable[Any]) -> list[np.ndarray]:
    """The weights after each step."""
    variable = keras.Variable(np.asarray(weights, "float32"))
    optimizer.build([variable])
    after = []
    for gradient in gradients:
        optimizer.apply([ops.convert_to_tensor(np.asarray(gradient, "float32"))], [variable])
        after.append(variable.numpy().copy())
    return after


def test_epsilon_0_stands_for_that_of_keras() -> None:
    found = AdaBelief(epsilon=0)

    assert found.hyperparameters["epsilon"] == keras.config.epsilon()


def test_a_gradient_that_never_changes_gives_long_finite_steps() -> None:
    after = trajectory(AdaBelief(1e-3, beta_2=0.9), [1.0], [[1e-3]] * 400)

    assert np.all(np.isfinite(after))
    assert abs(after[-1][0] - after[-2][0]) > 1e-3
