"""Setting the learning rate of an optimizer, and schedules of Keras itself."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from tests.optimizers.small_problem import GRADIENTS, START, trained

from effv2_tune.errors import TuneError
from effv2_tune.optimizers import (
    SGD,
    AdaBelief,
    CyclicalLearningRate,
)


def test_the_learning_rate_can_be_set_as_keras_callbacks_do() -> None:
    optimizer = AdaBelief(0.1)

    optimizer.learning_rate = 0.01

    assert optimizer.hyperparameters["learning_rate"] == 0.01
    with pytest.raises(TuneError, match="learning_rate must be at least 0"):
        optimizer.learning_rate = -1.0


def test_a_schedule_gives_way_to_another_of_its_kind_only() -> None:
    optimizer = AdaBelief(CyclicalLearningRate.triangular2(1e-3, 1e-1, 3))

    optimizer.learning_rate = CyclicalLearningRate.triangular2(2e-3, 2e-1, 4)

    assert optimizer.hyperparameters["step_size"] == 4.0
    assert float(optimizer.learning_rate) == pytest.approx(2e-3)
    with pytest.raises(TuneError, match="is a schedule 'triangular2', and cannot become a number"):
        optimizer.learning_rate = 0.1
    with pytest.raises(TuneError, match="cannot become a schedule 'triangular'"):
        optimizer.learning_rate = CyclicalLearningRate.triangular(2e-3, 2e-1, 4)


def test_a_schedule_of_keras_itself_is_followed() -> None:
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([2], [0.5, 0.25])
    optimizer = SGD(schedule)

    found = trained(optimizer)

    expected = START[0] - 0.5 * sum(g[0] for g in GRADIENTS[:3])
    expected = expected - 0.25 * sum(g[0] for g in GRADIENTS[3:])
    np.testing.assert_allclose(found[0], expected, rtol=1e-5)
