"""The optimizers compute what the packages of the original work computed, and optax, and Keras."""

from __future__ import annotations

import json
import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import keras
import numpy as np
import optax
import pytest
from keras import ops

from effv2_tune.optimizers import (
    SGD,
    AdaBelief,
    AdamW,
    CyclicalLearningRate,
    Lion,
    RMSprop,
    StaticConfig,
    StepOptimizer,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

SETTINGS: list[dict[str, Any]] = [
    {},
    {"rectify": False},
    {"weight_decay": 0.01},
    {"amsgrad": True},
    {"amsgrad": True, "rectify": False, "weight_decay": 1e-4},
    {"epsilon": 1e-8, "beta_1": 0.8, "beta_2": 0.99},
    {"total_steps": 30, "warmup_proportion": 0.2, "min_lr": 1e-4},
    {"sma_threshold": 4.0, "beta_2": 0.9},
    {"clr": True, "weight_decay": 1e-5},
]
"""Those of the runs in adabelief.json."""


@pytest.fixture(scope="session")
def reference(shared: Path) -> dict[str, Any]:
    return dict(json.loads((shared / "reference" / "adabelief.json").read_text()))


def trajectory(optimizer: Any, weights: Any, gradients: Iterable[Any]) -> list[np.ndarray]:
    """The weights after each step."""
    variable = keras.Variable(np.asarray(weights, "float32"))
    optimizer.build([variable])
    after = []
    for gradient in gradients:
        optimizer.apply([ops.convert_to_tensor(np.asarray(gradient, "float32"))], [variable])
        after.append(variable.numpy().copy())
    return after


def distance(found: Any, expected: Any) -> float:
    """The norm of the difference over the norm of what is expected."""
    expected = np.asarray(expected)
    return float(np.linalg.norm(np.asarray(found) - expected) / np.linalg.norm(expected))


def runs_with(reference: dict[str, Any], settings: dict[str, Any]) -> list[dict[str, Any]]:
    return [run for run in reference["runs"] if run["settings"] == settings]


def test_every_reference_run_is_in_the_table(reference: dict[str, Any]) -> None:
    assert all(run["settings"] in SETTINGS for run in reference["runs"])


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_40_steps_agree_with_both_dead_packages(
    reference: dict[str, Any], settings: dict[str, Any]
) -> None:
    own = {name: value for name, value in settings.items() if name != "clr"}
    rate = CyclicalLearningRate.triangular2(1e-4, 5e-2, 6) if "clr" in settings else 1e-2
    after = trajectory(AdaBelief(rate, **own), reference["initial_weights"], reference["gradients"])

    runs = runs_with(reference, settings)
    assert {run["implementation"] for run in runs} == {"tfa", "adabelief_tf"}
    for run in runs:
        for found, expected in zip(after, run["weights_after_each_step"], strict=True):
            assert distance(found, expected) < 1e-5


@pytest.mark.parametrize("settings", [s for s in SETTINGS if "total_steps" not in s], ids=str)
def test_the_flat_update_agrees_with_them_too(
    reference: dict[str, Any], settings: dict[str, Any]
) -> None:
    config = StaticConfig(
        schedule="triangular2" if "clr" in settings else "constant",
        rectify=settings.get("rectify", True),
        amsgrad=settings.get("amsgrad", False),
    )
    rates = {"learning_rate": 1e-2}
    if "clr" in settings:
        rates = {"initial_learning_rate": 1e-4, "maximal_learning_rate": 5e-2, "step_size": 6}
    hyperparameters = {
        name: settings[name] for name in settings if name in config.hyperparameter_names
    }
    after = trajectory(
        StepOptimizer(config, rates | hyperparameters),
        reference["initial_weights"],
        reference["gradients"],
    )

    for run in runs_with(reference, settings):
        for found, expected in zip(after, run["weights_after_each_step"], strict=True):
            assert distance(found, expected) < 1e-5


@pytest.mark.parametrize(
    ("settings", "steps", "expected"),
    [
        ({"rectify": False}, 100, 0.66724),
        ({"rectify": False, "weight_decay": 0.01}, 100, 0.66637),
        ({"rectify": False, "amsgrad": True}, 100, 0.67249),
        (
            {"rectify": False, "total_steps": 100, "warmup_proportion": 0.1, "min_lr": 1e-5},
            100,
            0.85635,
        ),
        ({}, 200, 0.78367),
    ],
    ids=str,
)
def test_the_constants_of_tensorflow_addons_own_tests_come_out(
    settings: dict[str, Any], steps: int, expected: float
) -> None:
    after = trajectory(AdaBelief(1e-3, **settings), [1.0], [[0.1]] * steps)

    assert after[-1][0] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("weight_decay", [0.0, 0.02])
def test_without_rectify_it_is_the_adabelief_of_optax(
    reference: dict[str, Any], weight_decay: float
) -> None:
    found = trajectory(
        AdaBelief(3e-3, epsilon=1e-14, rectify=False, weight_decay=weight_decay),
        reference["initial_weights"],
        reference["gradients"],
    )[-1]

    theirs = optax.chain(
        optax.scale_by_belief(eps=1e-14, eps_root=1e-14),
        optax.add_decayed_weights(weight_decay),
        optax.scale_by_learning_rate(3e-3),
    )
    weights = jnp.asarray(reference["initial_weights"], "float32")
    state = theirs.init(weights)
    for gradient in reference["gradients"]:
        change, state = theirs.update(jnp.asarray(gradient, "float32"), state, weights)
        weights = optax.apply_updates(weights, change)
    assert distance(found, weights) < 1e-5


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda: AdamW(2e-3, 0.01), lambda: keras.optimizers.AdamW(2e-3, 0.01)),
        (
            lambda: AdamW(2e-3, 0.01, 0.8, 0.95, 1e-5, amsgrad=True),
            lambda: keras.optimizers.AdamW(2e-3, 0.01, 0.8, 0.95, 1e-5, amsgrad=True),
        ),
        (lambda: AdamW(2e-3, None), lambda: keras.optimizers.Adam(2e-3)),
        (lambda: SGD(0.05), lambda: keras.optimizers.SGD(0.05)),
        (
            lambda: SGD(0.05, 0.9, weight_decay=1e-3),
            lambda: keras.optimizers.SGD(0.05, 0.9, weight_decay=1e-3),
        ),
        (
            lambda: SGD(0.05, 0.9, nesterov=True),
            lambda: keras.optimizers.SGD(0.05, 0.9, nesterov=True),
        ),
    ],
    ids=["adamw", "adamw-amsgrad", "adam", "sgd", "sgd-momentum", "sgd-nesterov"],
)
def test_adamw_and_sgd_are_those_of_keras(
    reference: dict[str, Any], ours: Callable[[], Any], theirs: Callable[[], Any]
) -> None:
    start, gradients = reference["initial_weights"], reference["gradients"]

    for found, expected in zip(
        trajectory(ours(), start, gradients), trajectory(theirs(), start, gradients), strict=True
    ):
        assert distance(found, expected) < 1e-5


RMSPROP = json.loads((Path(__file__).parent / "rmsprop_tensorflow.json").read_text())
"""Weights after each of 40 steps of `tf.compat.v1.train.RMSPropOptimizer`, TensorFlow 2.21.0 on a
CPU, which google/automl, efficientnetv2/utils.py, `build_optimizer`, returns: `settings` are its
arguments, the first ones as published."""


@pytest.mark.parametrize("run", RMSPROP["runs"], ids=lambda run: str(run["settings"]))
def test_40_steps_of_rmsprop_are_those_of_the_published_training(run: dict[str, Any]) -> None:
    settings = run["settings"]
    rule = {"rho": settings["decay"]} | {name: settings[name] for name in ("momentum", "epsilon")}
    rate = {"learning_rate": settings["learning_rate"]}
    optimizers = (
        RMSprop(**rate, **rule),
        StepOptimizer(StaticConfig("rmsprop"), rate | rule),
    )

    for optimizer in optimizers:
        after = trajectory(optimizer, RMSPROP["initial_weights"], RMSPROP["gradients"])
        assert len(after) == 40
        for found, expected in zip(after, run["weights_after_each_step"], strict=True):
            assert distance(found, expected) < 1e-6


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="computes with TensorFlow")
@pytest.mark.parametrize("run", RMSPROP["runs"], ids=lambda run: str(run["settings"]))
def test_the_values_of_rmsprop_are_those_of_tensorflow(run: dict[str, Any]) -> None:
    import tensorflow as tf

    optimizer = tf.compat.v1.train.RMSPropOptimizer(**run["settings"])
    weights = tf.Variable(RMSPROP["initial_weights"], dtype=tf.float32)

    for gradient, expected in zip(
        RMSPROP["gradients"], run["weights_after_each_step"], strict=True
    ):
        optimizer.apply_gradients([(tf.constant(gradient, tf.float32), weights)])
        np.testing.assert_allclose(weights.numpy(), np.asarray(expected, "float32"), rtol=1e-6)


def test_the_defaults_of_rmsprop_are_the_published_ones() -> None:
    published = RMSPROP["runs"][0]["settings"]
    defaults = StaticConfig("rmsprop").default_hyperparameters

    assert defaults["rho"] == published["decay"]
    assert defaults["momentum"] == published["momentum"]
    assert defaults["epsilon"] == published["epsilon"]


@pytest.mark.parametrize(
    "settings",
    [{}, {"beta_1": 0.95, "beta_2": 0.98}, {"weight_decay": 0.1}, {"beta_1": 0.0, "beta_2": 0.5}],
    ids=str,
)
def test_40_steps_of_lion_are_those_of_optax(
    reference: dict[str, Any], settings: dict[str, float]
) -> None:
    start, gradients = reference["initial_weights"], reference["gradients"]
    names = {"beta_1": "b1", "beta_2": "b2", "weight_decay": "weight_decay"}
    published = {"b1": 0.9, "b2": 0.99, "weight_decay": 0.0}
    theirs = optax.lion(3e-3, **(published | {names[k]: v for k, v in settings.items()}))
    expected = after_each_step(theirs, start, gradients)

    rate = {"learning_rate": 3e-3}
    for optimizer in (
        Lion(**rate, **settings),
        StepOptimizer(StaticConfig("lion"), rate | settings),
    ):
        after = trajectory(optimizer, start, gradients)
        assert len(after) == 40
        for found, wanted in zip(after, expected, strict=True):
            assert distance(found, wanted) < 1e-6


@pytest.mark.parametrize(
    "settings",
    [{}, {"weight_decay": 0.1}, {"beta_1": 0.95, "beta_2": 0.98, "epsilon": 1e-3}],
    ids=str,
)
def test_40_steps_of_schedule_free_are_those_of_optax(
    reference: dict[str, Any], settings: dict[str, float]
) -> None:
    """Both the weights that gradients are taken at, and the average that is evaluated."""
    start, gradients = reference["initial_weights"], reference["gradients"]
    names = {"beta_1": "b1", "beta_2": "b2", "epsilon": "eps", "weight_decay": "weight_decay"}
    own = {names[name]: value for name, value in settings.items()}
    theirs = optax.contrib.schedule_free_adamw(1e-2, **own)
    weights = jnp.asarray(start, "float32")
    state = theirs.init(weights)
    ours = StepOptimizer(StaticConfig("schedule_free"), {"learning_rate": 1e-2} | settings)
    variable = keras.Variable(np.asarray(start, "float32"))
    ours.build([variable])

    for gradient in gradients:
        change, state = theirs.update(jnp.asarray(gradient, "float32"), state, weights)
        weights = optax.apply_updates(weights, change)
        ours.apply([ops.convert_to_tensor(np.asarray(gradient, "float32"))], [variable])
        assert distance(variable.numpy(), weights) < 5e-6
        average = ops.convert_to_numpy(ours.averaged_weights()[0])
        evaluated = optax.contrib.schedule_free_eval_params(state, weights)
        assert distance(average, evaluated) < 1e-5


def test_with_a_warm_up_schedule_free_is_algorithm_1_of_its_paper(
    reference: dict[str, Any],
) -> None:
    """Defazio et al., arXiv 2405.15682: averaged by squared rates, in float64."""
    start, gradients = reference["initial_weights"], reference["gradients"]
    rate, low, warmup, beta_1, beta_2, decay, epsilon = 2e-2, 1e-3, 7.0, 0.9, 0.99, 0.05, 1e-8
    ours = StepOptimizer(
        StaticConfig("schedule_free", "warmup"),
        {"maximal_learning_rate": rate, "initial_learning_rate": low, "warmup_steps": warmup}
        | {"beta_1": beta_1, "beta_2": beta_2, "weight_decay": decay, "epsilon": epsilon},
    )
    variable = keras.Variable(np.asarray(start, "float32"))
    ours.build([variable])

    x = z = y = np.asarray(start, np.float64)
    second, total = np.zeros_like(x), 0.0
    for step, gradient in enumerate(np.asarray(gradients, np.float64)):
        gamma = low + (rate - low) * min(1.0, step / warmup)
        second = beta_2 * second + (1 - beta_2) * gradient**2
        root = np.sqrt(second / (1 - beta_2 ** (step + 1))) + epsilon
        z = z - gamma * (gradient / root + decay * y)
        total += gamma**2
        x = x + gamma**2 / total * (z - x)
        y = (1 - beta_1) * z + beta_1 * x
        ours.apply([ops.convert_to_tensor(gradient.astype("float32"))], [variable])
        assert distance(variable.numpy(), y) < 5e-6
        assert distance(ops.convert_to_numpy(ours.averaged_weights()[0]), x) < 5e-6


def after_each_step(optimizer: Any, start: Any, gradients: Any) -> list[Any]:
    """The weights after each step of an optimizer of optax."""
    weights = jnp.asarray(start, "float32")
    state, after = optimizer.init(weights), []
    for gradient in gradients:
        change, state = optimizer.update(jnp.asarray(gradient, "float32"), state, weights)
        weights = optax.apply_updates(weights, change)
        after.append(weights)
    return after


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.skipif("EFFV2_TUNE_FACTS" in os.environ, reason="runs the other tests, not itself")
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_every_fact_about_optimizers_and_schedules_holds_on_the_other_backends(
    backend: str, run_python: Callable[..., str]
) -> None:
    if find_spec(backend) is None:
        pytest.skip(f"needs {backend}, which is not installed")
    here = Path(__file__).parent
    files = here.rglob("test_*.py")
    arguments = ["-q", "-p", "no:cacheprovider", "-m", "not slow", *map(str, sorted(files))]
    code = f"import sys, pytest; sys.exit(pytest.main({arguments!r}))"

    said = run_python(code, KERAS_BACKEND=backend, EFFV2_TUNE_FACTS="1")

    assert " passed" in said
