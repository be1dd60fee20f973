"""New numbers and fresh starts without a new trace; numbers that are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import pytest
from tests.optimizers.small_problem import GRADIENTS, START, new_variables, train, trained

from effv2_tune.errors import TuneError
from effv2_tune.optimizers import (
    SGD,
    AdaBelief,
    AdamW,
    CosineLearningRate,
    CyclicalLearningRate,
    Lion,
    RMSprop,
    StaticConfig,
    StepOptimizer,
    WarmupLearningRate,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ON_JAX = keras.backend.backend() == "jax"
ON_TENSORFLOW = keras.backend.backend() == "tensorflow"


SCHEDULE = {"initial_learning_rate": 1e-3, "maximal_learning_rate": 1e-1, "step_size": 3.0}

# Each pair differs in every number, and in nothing else.
PAIRS: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "adabelief": (
        lambda: AdaBelief(1e-3, weight_decay=1e-4, global_clipnorm=1.0, use_ema=True),
        lambda: AdaBelief(
            3e-2,
            beta_1=0.8,
            beta_2=0.95,
            epsilon=1e-8,
            weight_decay=0.0,
            sma_threshold=4.5,
            global_clipnorm=0.5,
            use_ema=True,
            ema_momentum=0.7,
        ),
    ),
    "adabelief-cyclical-warm-up": (
        lambda: AdaBelief(
            CyclicalLearningRate.exponential(1e-3, 1e-1, 3, gamma=0.9),
            rectify=False,
            amsgrad=True,
            total_steps=10,
            clipnorm=1.0,
            loss_scale_factor=2.0,
        ),
        lambda: AdaBelief(
            CyclicalLearningRate(2e-3, 3e-1, 4.5, "exponential", gamma=0.8, warmup_steps=2),
            0.85,
            0.9,
            1e-9,
            rectify=False,
            amsgrad=True,
            total_steps=20,
            warmup_proportion=0.3,
            min_lr=1e-3,
            clipnorm=0.4,
            loss_scale_factor=4.0,
        ),
    ),
    "adamw": (
        lambda: AdamW(CosineLearningRate(1e-3, 1e-1, 20, 3), clipvalue=1.0),
        lambda: AdamW(CosineLearningRate(0, 2e-1, 9, 2), 0.1, 0.7, 0.9, 1e-3, clipvalue=0.2),
    ),
    "sgd": (
        lambda: SGD(1e-2, 0.9, nesterov=True, weight_decay=1e-3),
        lambda: SGD(3e-2, 0.0, nesterov=True, weight_decay=1e-2),
    ),
    "rmsprop": (
        lambda: RMSprop(WarmupLearningRate(0.0, 1e-2, 3), weight_decay=1e-3),
        lambda: RMSprop(WarmupLearningRate(1e-3, 2e-2, 5), 0.8, 0.5, 1e-2, 1e-2),
    ),
    "lion": (
        lambda: Lion(WarmupLearningRate(0.0, 1e-3, 3), weight_decay=1e-1),
        lambda: Lion(WarmupLearningRate(1e-4, 3e-3, 5), 0.8, 0.95, 3e-1),
    ),
    "flat-rmsprop": (
        lambda: StepOptimizer(
            StaticConfig("rmsprop", "warmup", l2=True),
            {"initial_learning_rate": 0.0, "maximal_learning_rate": 1e-2, "l2": 1e-3},
        ),
        lambda: StepOptimizer(
            StaticConfig("rmsprop", "warmup", l2=True),
            {
                "initial_learning_rate": 1e-3,
                "maximal_learning_rate": 2e-2,
                "warmup_steps": 4.0,
                "rho": 0.8,
                "momentum": 0.5,
                "epsilon": 1e-2,
                "weight_decay": 0.1,
                "layer_decay": 0.9,
                "l2": 1e-2,
            },
        ),
    ),
    "flat-adabelief": (
        lambda: StepOptimizer(
            StaticConfig(schedule="triangular2", clip=True, average=True), SCHEDULE
        ),
        lambda: StepOptimizer(
            StaticConfig(schedule="triangular2", clip=True, average=True),
            {
                "initial_learning_rate": 2e-3,
                "maximal_learning_rate": 2e-1,
                "step_size": 4.0,
                "warmup_steps": 5.0,
                "beta_1": 0.8,
                "beta_2": 0.95,
                "epsilon": 1e-8,
                "sma_threshold": 4.5,
                "weight_decay": 0.3,
                "layer_decay": 0.9,
                "global_clipnorm": 0.5,
                "ema_momentum": 0.7,
            },
        ),
    ),
    "flat-sgd": (
        lambda: StepOptimizer(StaticConfig("sgd", nesterov=True), {"learning_rate": 1e-2}),
        lambda: StepOptimizer(
            StaticConfig("sgd", nesterov=True),
            {"learning_rate": 3e-2, "momentum": 0.9, "weight_decay": 0.1, "layer_decay": 0.9},
        ),
    ),
}
pairs = pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)


def assert_same(found: Sequence[Any], expected: Sequence[Any]) -> None:
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pairs
def test_the_pairs_differ_in_every_number(pair: tuple[Any, Any]) -> None:
    one, other = (make().hyperparameters for make in pair)

    assert one.keys() == other.keys()
    assert all(one[name] != other[name] for name in one)


@pairs
def test_new_numbers_and_a_reset_make_it_a_new_optimizer(pair: tuple[Any, Any]) -> None:
    one, other = (make() for make in pair)
    variables = new_variables()
    one.build(variables)
    train(one, variables)

    one.set_hyperparameters(other.hyperparameters)
    one.reset()
    for variable, start in zip(variables, START, strict=True):
        variable.assign(start)

    assert one.hyperparameters == other.hyperparameters
    assert_same(train(one, variables), trained(other))


@pytest.mark.skipif(not ON_TENSORFLOW, reason="traces of TensorFlow")
@pairs
def test_tensorflow_traces_once_for_all_numbers(pair: tuple[Any, Any]) -> None:
    import tensorflow as tf

    one, other = (make() for make in pair)
    variables = new_variables()
    one.build(variables)
    traces = []

    @tf.function
    def step(*gradients: Any) -> None:
        traces.append(1)
        one.apply(list(gradients), variables)

    for gradients in GRADIENTS:
        step(*map(tf.constant, gradients))
    one.set_hyperparameters(other.hyperparameters)
    one.reset()
    for variable, start in zip(variables, START, strict=True):
        variable.assign(start)
    for gradients in GRADIENTS:
        step(*map(tf.constant, gradients))

    assert len(traces) == 1
    for found, expected in zip(variables, trained(other), strict=True):
        np.testing.assert_allclose(found.numpy(), expected, rtol=2e-5, atol=1e-7)


@pytest.mark.skipif(not ON_TENSORFLOW, reason="graphs of TensorFlow")
@pairs
def test_tensorflow_builds_the_same_graph_for_both(pair: tuple[Any, Any]) -> None:
    import tensorflow as tf

    def graph(optimizer: Any) -> list[tuple[str, str]]:
        variables = new_variables()
        optimizer.build(variables)
        step = tf.function(lambda *gradients: optimizer.apply(list(gradients), variables))
        concrete = step.get_concrete_function(*map(tf.constant, GRADIENTS[0]))
        graphs = [concrete.graph.as_graph_def()]
        nodes = [
            n
            for g in graphs
            for n in (*g.node, *(m for f in g.library.function for m in f.node_def))
        ]
        return [(node.op, str(node.attr["value"])) for node in nodes]

    one, other = (graph(make()) for make in pair)

    assert one == other


@pytest.mark.skipif(not ON_JAX, reason="programs of JAX")
@pairs
def test_jax_lowers_both_to_the_same_program(pair: tuple[Any, Any]) -> None:
    import jax

    def program(optimizer: Any) -> str:
        variables = new_variables()
        optimizer.build(variables)
        carried = (
            optimizer.initial_state()
            if isinstance(optimizer, StepOptimizer)
            else [variable.value for variable in optimizer.variables]
        )

        def step(state: Any, gradients: Any, weights: Any) -> Any:
            return optimizer.stateless_apply(state, gradients, weights)

        return jax.jit(step).lower(carried, GRADIENTS[0], START).as_text()

    one, other = (program(make()) for make in pair)

    assert one == other


@pairs
def test_a_refused_number_changes_nothing(pair: tuple[Any, Any]) -> None:
    optimizer = pair[0]()
    before = optimizer.hyperparameters

    with pytest.raises(TuneError, match=r"weight_decay must be|Unknown hyperparameter"):
        optimizer.set_hyperparameters(dict(reversed(before.items())) | {"weight_decay": -1.0})
    with pytest.raises(TuneError, match="Unknown hyperparameter 'bete_1'"):
        optimizer.set_hyperparameters({"bete_1": 0.5})

    assert optimizer.hyperparameters == before
