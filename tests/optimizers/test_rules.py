"""The update rules are exact in float32 where a plain formula is not."""

from __future__ import annotations

import numpy as np
import pytest
from keras import ops

from effv2_tune.optimizers.rules import average_length, one_minus_power


@pytest.mark.parametrize("beta_2", [0.9, 0.99, 0.999, 0.9999, 0.99999])
def test_steps_1_to_5_are_plain_momentum_and_step_6_is_adaptive(beta_2: float) -> None:
    steps = np.arange(1, 8, dtype="float32")
    found = ops.convert_to_numpy(average_length(ops.convert_to_tensor(np.float32(beta_2)), steps))

    assert list(found >= 5) == [False] * 5 + [True] * 2


@pytest.mark.parametrize("beta_2", [0.7, 0.9, 0.99, 0.999, 0.9999])
def test_the_length_of_the_average_is_exact_in_float32(beta_2: float) -> None:
    steps = np.asarray([1, 2, 5, 6, 10, 50, 100, 500, 1000, 5000, 100_000])
    rounded = np.float64(np.float32(beta_2))
    power = -np.expm1(steps * np.log(rounded))
    expected = 2 / (1 - rounded) - 1 - 2 * steps * rounded**steps / power

    found = average_length(ops.convert_to_tensor(np.float32(beta_2)), steps.astype("float32"))

    assert ops.convert_to_numpy(found) == pytest.approx(expected, rel=3e-6)


def test_the_bias_correction_of_the_first_steps_is_exact_in_float32() -> None:
    steps = np.arange(1, 10)
    expected = -np.expm1(steps * np.log(np.float64(np.float32(0.999))))

    found = one_minus_power(ops.convert_to_tensor(np.float32(0.999)), steps.astype("float32"))

    assert ops.convert_to_numpy(found) == pytest.approx(expected, rel=5e-7)
