"""Search spaces and configs as hyperparameters of Keras Tuner, and back."""

from __future__ import annotations

import json

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from effv2_tune.interop import to_hyperparameters
from effv2_tune.interop.parameters import config_of_values, values_of_config
from effv2_tune.search.engines.distributions import suggest_config
from effv2_tune.study.space import Space

SPACE = Space.model_validate(
    {
        "initial_learning_rate": {"type": "float", "low": 1e-4, "high": 1e-2, "scale": "log"},
        "maximal_learning_rate": {"type": "float", "low": 1e-3, "high": 1e-1, "scale": "log"},
        "optimizer": {"type": "choice", "values": ["adabelief", "sgd"]},
        "rectify": {"type": "choice", "values": [True, False], "when": {"optimizer": "adabelief"}},
        "sma_threshold": {"type": "float", "low": 4, "high": 9, "when": {"rectify": True}},
        "momentum": {"type": "float", "low": 0.5, "high": 0.99, "when": {"optimizer": "sgd"}},
        "clip_norm": {"type": "choice", "values": [None, 1.0, 5]},
        "resolution": {"type": "choice", "values": ["native", 64]},
        "flip": {"type": "choice", "values": [False, True, "alternating"]},
        "epochs": {"type": "int", "low": 10, "high": 50, "step": 20},
        "batch_size": {"type": "int", "low": 8, "high": 512, "scale": "log", "when": {"ema": True}},
        "ema": {"type": "fixed", "value": True},
        "weights": {"type": "fixed", "value": None},
    }
)


def test_a_space_converts_with_scales_steps_and_conditions() -> None:
    space = {hp.name: hp for hp in to_hyperparameters(SPACE).space}

    assert space["initial_learning_rate_position"].max_value == 1.0
    assert space["maximal_learning_rate"].sampling == "log"
    assert space["epochs"].step == 20
    assert space["clip_norm"].values == ["null", "1.0", "5"]
    assert space["resolution"].values == ['"native"', "64"]
    assert space["flip"].values == ["false", "true", '"alternating"']
    assert [c.name for c in space["sma_threshold"].conditions] == ["rectify"]
    assert space["ema"].value is True
    assert json.loads(space["weights"].value) is None


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31))
def test_a_config_survives_the_way_through_keras_tuner(seed: int) -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    config = suggest_config(study.ask(), SPACE)

    again = config_of_values(values_of_config(config, SPACE), SPACE)

    assert again.keys() == config.keys()
    for name, value in config.items():
        assert again[name] == (pytest.approx(value) if isinstance(value, float) else value)
        assert type(again[name]) is type(value)
