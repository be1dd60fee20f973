"""Hyperparameters that are refused, and those that are accepted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.optimizers.small_problem import trained

from effv2_tune.errors import TuneError
from effv2_tune.optimizers import (
    SGD,
    AdaBelief,
    AdamW,
    RMSprop,
    StaticConfig,
    StepOptimizer,
)

if TYPE_CHECKING:
    from collections.abc import Callable


@settings(deadline=None)
@given(
    st.floats(0, 1e3),
    st.floats(0, 0.999),
    st.floats(0.7, 0.999),
    st.floats(1e-30, 1),
    st.floats(0, 10),
)
def test_numbers_of_any_size_are_taken(
    rate: float, beta_1: float, beta_2: float, epsilon: float, decay: float
) -> None:
    given_numbers = {
        "learning_rate": rate,
        "beta_1": beta_1,
        "beta_2": beta_2,
        "epsilon": epsilon,
        "weight_decay": decay,
    }
    optimizer = AdaBelief(weight_decay=0.0)

    optimizer.set_hyperparameters(given_numbers)

    found = optimizer.hyperparameters
    assert {name: np.float32(n) for name, n in given_numbers.items()} == {
        name: np.float32(found[name]) for name in given_numbers
    }


WRONG: list[tuple[Callable[[], Any], str]] = [
    (lambda: AdaBelief(-1e-3), "learning_rate must be at least 0 and finite, found -0.001."),
    (lambda: AdaBelief(-1e-60), "learning_rate must be at least 0 and finite, found -1e-60."),
    (lambda: AdaBelief(float("nan")), "learning_rate must be a number, found nan."),
    (lambda: AdaBelief(float("inf")), "learning_rate must be at least 0 and finite, found inf."),
    (lambda: AdaBelief(1e39), "learning_rate must be at least 0 and finite, found 1e+39."),
    (lambda: AdaBelief(weight_decay=-0.1), "weight_decay must be at least 0"),
    (lambda: AdaBelief(weight_decay="1"), "weight_decay must be a number, found '1'."),
    (lambda: AdaBelief(beta_1=1.0), "beta_1 must be at least 0 and below 1, found 1."),
    (lambda: AdaBelief(beta_1=-0.1), "beta_1 must be at least 0 and below 1, found -0.1."),
    (lambda: AdaBelief(beta_2=1 - 1e-9), "beta_2 must be at least 0 and below 1"),
    (lambda: AdaBelief(beta_2=2 / 3), "beta_2 0.666667 is at or below 0.6667: with rectify"),
    (lambda: AdaBelief(beta_2=0.5), "the adaptive branch is never reached"),
    (lambda: AdaBelief(beta_2=0.9, sma_threshold=20), "is at or below 0.9048"),
    (lambda: AdaBelief(sma_threshold=3), "sma_threshold must be at least 4"),
    (lambda: AdaBelief(epsilon=-1e-8), "epsilon must be above 0 and finite, found -1e-08."),
    (lambda: AdaBelief(epsilon=1e-50), "epsilon must be above 0 and finite, found 1e-50."),
    (lambda: AdaBelief(total_steps=-5), "total_steps must be above 0"),
    (lambda: AdaBelief(total_steps=5, warmup_proportion=1.5), "warmup_proportion must be at"),
    (lambda: AdaBelief(total_steps=5, min_lr=-1), "min_lr must be at least 0"),
    (lambda: AdaBelief(clipnorm=0.0), "clipnorm must be above 0 and finite, found 0."),
    (lambda: AdaBelief(clipnorm=1, clipvalue=1), "clips in one way, found clipnorm and clipvalue"),
    (lambda: AdaBelief(use_ema=True, ema_momentum=1.2), "ema_momentum must be at least 0 and at"),
    (lambda: AdamW(epsilon=0.0), "epsilon must be above 0 and finite, found 0."),
    (lambda: SGD(momentum=1.0), "momentum must be at least 0 and below 1"),
    (lambda: StaticConfig("adam"), "There is no optimizer 'adam', did you mean 'adamw'?"),
    (lambda: StaticConfig(schedule="triangle"), "There is no schedule 'triangle', did you mean"),
    (lambda: StaticConfig("adamw", nesterov=True), "adamw has no nesterov."),
    (lambda: StaticConfig("sgd", amsgrad=True), "sgd has no amsgrad."),
    (lambda: StaticConfig("rmsprop", amsgrad=True), "rmsprop has no amsgrad."),
    (lambda: StaticConfig("rmsprop", nesterov=True), "rmsprop has no nesterov."),
    (
        lambda: StaticConfig("schedule_free", "cosine"),
        "schedule_free takes the place of the schedule 'cosine'.",
    ),
    (
        lambda: StaticConfig("schedule_free", average=True),
        "schedule_free has its own average of the weights.",
    ),
    (lambda: RMSprop(rho=1.0), "rho must be at least 0 and below 1, found 1."),
    (
        lambda: StepOptimizer(StaticConfig(), {"learning_rate": 1, "layer_decay": 0.4}),
        "layer_decay must be at least 0.5 and at most 1, found 0.4.",
    ),
    (lambda: StepOptimizer(StaticConfig(), {}), "The schedule 'constant' needs learning_rate."),
    (
        lambda: StepOptimizer(StaticConfig(), {"learning_rate": 1, "beta1": 0.9}),
        "Unknown hyperparameter 'beta1', did you mean 'beta_1'?",
    ),
    (
        lambda: StepOptimizer(StaticConfig(), {"learning_rate": 1, "beta_2": 0.5}),
        "beta_2 0.5 is at or below 0.6667",
    ),
]


@pytest.mark.parametrize(("make", "sentence"), WRONG, ids=[sentence for _, sentence in WRONG])
def test_wrong_numbers_are_refused_in_a_sentence(make: Callable[[], Any], sentence: str) -> None:
    with pytest.raises(TuneError) as refused:
        make()

    assert sentence in refused.value.message
    assert refused.value.hint


def test_without_rectify_a_small_beta_2_is_fine() -> None:
    optimizer = AdaBelief(beta_2=0.5, rectify=False)

    assert np.all(np.isfinite(trained(optimizer)[0]))


def test_an_epsilon_that_is_0_in_float16_is_refused_for_float16_weights() -> None:
    half = keras.Variable(np.ones(3, "float16"), dtype="float16")
    single = keras.Variable(np.ones(3, "float32"))

    for optimizer in (AdaBelief(), StepOptimizer(StaticConfig(), {"learning_rate": 0.1})):
        with pytest.raises(TuneError, match="epsilon 1e-14 underflows to 0 in float16"):
            optimizer.build([single, half])
    AdaBelief(epsilon=1e-7).build([single, half])


def test_an_epsilon_that_is_0_in_float16_is_refused_where_keras_makes_float16_weights() -> None:
    keras.config.set_floatx("float16")
    try:
        with pytest.raises(TuneError, match="epsilon 1e-14 underflows to 0 in float16"):
            AdaBelief()
    finally:
        keras.config.set_floatx("float32")
