"""Every kind of hyperparameter of Keras Tuner as an Optuna parameter."""

from __future__ import annotations

from typing import Any

import keras_tuner
import optuna
import pytest

from effv2_tune.interop.axes import axis_of


def _kinds() -> list[Any]:
    hp = keras_tuner.HyperParameters()
    hp.Float("plain", 0.1, 0.7)
    hp.Float("stepped", 0.1, 0.7, step=0.1)
    hp.Float("log", 1e-4, 1.0, sampling="log")
    hp.Float("factors", 0.001, 10, step=10, sampling="log")
    hp.Float("reverse", 1e-2, 1.0, sampling="reverse_log")
    hp.Int("count", 1, 10, step=4)
    hp.Int("powers", 2, 32, step=2, sampling="log")
    hp.Int("backwards", 1, 100, sampling="reverse_log")
    hp.Choice("choice", [1, 2, 4])
    hp.Boolean("switch")
    return list(hp.space)


@pytest.mark.parametrize("hyperparameter", _kinds(), ids=lambda hp: hp.name)
def test_every_kind_of_hyperparameter_is_drawn_inside_its_range(hyperparameter: Any) -> None:
    axis = axis_of(hyperparameter)
    assert axis is not None
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    drawn = [study.ask({axis.name: axis.distribution}).params[axis.name] for _ in range(60)]
    values = [axis.value_of(one) for one in drawn]

    listed = list(hyperparameter.values)
    if getattr(hyperparameter, "step", 1) is not None:
        assert set(values) == set(listed)
    else:
        assert all(
            hyperparameter.min_value <= value <= hyperparameter.max_value for value in values
        )
    for value in values:
        assert axis.value_of(axis.drawn_for(value)) == pytest.approx(value)
