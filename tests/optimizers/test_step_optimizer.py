"""The update of all weights at once is the update of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import pytest
from keras import ops

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

BACKEND = keras.backend.backend()

SHAPES = [(3, 3, 2, 4), (4,), (), (8, 5), (5,)]
rng = np.random.default_rng(1)
START = [rng.standard_normal(shape).astype("float32") for shape in SHAPES]
GRADIENTS = [[rng.standard_normal(shape).astype("float32") for shape in SHAPES] for _ in range(12)]

CYCLE = {"initial_learning_rate": 1e-3, "maximal_learning_rate": 5e-2, "step_size": 4.0}
COSINE = {
    "initial_learning_rate": 1e-3,
    "maximal_learning_rate": 5e-2,
    "warmup_steps": 3.0,
    "decay_steps": 7.0,
}

TWINS: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "adabelief": (
        lambda: StepOptimizer(
            StaticConfig(schedule="triangular2", clip=True, average=True),
            CYCLE | {"weight_decay": 0.1, "global_clipnorm": 2.0, "ema_momentum": 0.8},
        ),
        lambda: AdaBelief(
            CyclicalLearningRate.triangular2(1e-3, 5e-2, 4),
            weight_decay=0.1,
            global_clipnorm=2.0,
            use_ema=True,
            ema_momentum=0.8,
        ),
    ),
    "adabelief-amsgrad": (
        lambda: StepOptimizer(StaticConfig(rectify=False, amsgrad=True), {"learning_rate": 1e-2}),
        lambda: AdaBelief(1e-2, rectify=False, amsgrad=True),
    ),
    "adamw": (
        lambda: StepOptimizer(StaticConfig("adamw", "cosine"), COSINE | {"weight_decay": 0.004}),
        lambda: AdamW(CosineLearningRate(1e-3, 5e-2, 7, 3)),
    ),
    "adamw-amsgrad": (
        lambda: StepOptimizer(
            StaticConfig("adamw", "exponential", amsgrad=True),
            CYCLE | {"gamma": 0.9, "beta_1": 0.7},
        ),
        lambda: AdamW(
            CyclicalLearningRate.exponential(1e-3, 5e-2, 4, gamma=0.9),
            None,
            beta_1=0.7,
            amsgrad=True,
        ),
    ),
    "sgd": (
        lambda: StepOptimizer(StaticConfig("sgd"), {"learning_rate": 1e-2, "momentum": 0.9}),
        lambda: SGD(1e-2, 0.9),
    ),
    "sgd-nesterov": (
        lambda: StepOptimizer(
            StaticConfig("sgd", nesterov=True),
            {"learning_rate": 1e-2, "momentum": 0.9, "weight_decay": 0.2},
        ),
        lambda: SGD(1e-2, 0.9, nesterov=True, weight_decay=0.2),
    ),
    "rmsprop": (
        lambda: StepOptimizer(
            StaticConfig("rmsprop", "warmup"),
            {
                "initial_learning_rate": 0.0,
                "maximal_learning_rate": 1e-2,
                "warmup_steps": 5.0,
                "weight_decay": 0.1,
            },
        ),
        lambda: RMSprop(WarmupLearningRate(0.0, 1e-2, 5), weight_decay=0.1),
    ),
    "lion": (
        lambda: StepOptimizer(
            StaticConfig("lion", "cosine"), COSINE | {"beta_1": 0.8, "weight_decay": 0.2}
        ),
        lambda: Lion(CosineLearningRate(1e-3, 5e-2, 7, 3), 0.8, weight_decay=0.2),
    ),
    "rmsprop-cyclical": (
        lambda: StepOptimizer(
            StaticConfig("rmsprop", "triangular2"),
            CYCLE | {"warmup_steps": 6.0, "rho": 0.8, "momentum": 0.5, "epsilon": 1e-2},
        ),
        lambda: RMSprop(
            CyclicalLearningRate(1e-3, 5e-2, 4, "triangular2", warmup_steps=6), 0.8, 0.5, 1e-2
        ),
    ),
}


def new_variables() -> list[Any]:
    names = [f"{'bias' if len(shape) < 2 else 'kernel'}_{len(shape)}" for shape in SHAPES]
    return [keras.Variable(start, name=name) for start, name in zip(START, names, strict=True)]


def train(optimizer: Any, variables: Sequence[Any], gradients: Any = GRADIENTS) -> None:
    for step in gradients:
        optimizer.apply([ops.convert_to_tensor(gradient) for gradient in step], variables)


def assert_close(found: Sequence[Any], expected: Sequence[Any]) -> None:
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-6, atol=2e-7)


@pytest.mark.parametrize(("make_flat", "make"), TWINS.values(), ids=TWINS)
def test_it_computes_the_numbers_of_the_keras_optimizer(
    make_flat: Callable[[], Any], make: Callable[[], Any]
) -> None:
    flat, optimizer = make_flat(), make()
    ours, theirs = new_variables(), new_variables()
    flat.build(ours)
    optimizer.build(theirs)
    for step in GRADIENTS:
        assert float(flat.learning_rate()) == pytest.approx(float(optimizer.learning_rate))
        train(flat, ours, [step])
        train(optimizer, theirs, [step])

    assert_close([v.numpy() for v in ours], [v.numpy() for v in theirs])
    if flat.config.average:
        averages = optimizer._model_variables_moving_average
        found = [ops.convert_to_numpy(average) for average in flat.averaged_weights()]
        assert_close(found, [average.numpy() for average in averages])


def test_weights_that_do_not_decay_are_left_out() -> None:
    flat = StepOptimizer(StaticConfig(), {"learning_rate": 1e-2, "weight_decay": 0.5})
    optimizer = AdaBelief(1e-2, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    ours, theirs = new_variables(), new_variables()
    flat.build(ours, decays=["bias" not in variable.name for variable in ours])
    optimizer.build(theirs)

    train(flat, ours)
    train(optimizer, theirs)

    assert_close([v.numpy() for v in ours], [v.numpy() for v in theirs])


RULES: dict[str, tuple[StaticConfig, dict[str, float]]] = {
    "adabelief": (StaticConfig(average=True), {"weight_decay": 0.1}),
    "adabelief-amsgrad": (StaticConfig(rectify=False, amsgrad=True, clip=True), {}),
    "adamw": (StaticConfig("adamw"), {"weight_decay": 0.1}),
    "sgd": (StaticConfig("sgd"), {"momentum": 0.9, "weight_decay": 0.1}),
    "sgd-nesterov": (StaticConfig("sgd", nesterov=True), {"momentum": 0.9}),
    "rmsprop": (StaticConfig("rmsprop", l2=True), {"l2": 0.1, "weight_decay": 0.1}),
    "lion": (StaticConfig("lion"), {"weight_decay": 0.1}),
    "schedule_free": (StaticConfig("schedule_free"), {"weight_decay": 0.1}),
}
#: Of the variables of SHAPES: deepest first as in a network, a run of two, and one out of order.
DEPTHS = [3, 1, 1, 2, 0]


def trained_with_depths(
    config: StaticConfig, hyperparameters: dict[str, float], depths: Sequence[int] | None
) -> list[np.ndarray]:
    """The weights after all gradients, by a compiled step as in training."""
    flat = StepOptimizer(config, {"learning_rate": 1e-2} | hyperparameters)
    variables = new_variables()
    flat.build(variables, depths=depths)
    if BACKEND == "jax":
        import jax

        step = jax.jit(flat.stateless_apply)
        weights, state = [jax.numpy.array(start) for start in START], flat.initial_state()
        for gradients in GRADIENTS:
            weights, state = step(state, gradients, weights)
        return [np.asarray(weight) for weight in weights]
    train(flat, variables)
    return [variable.numpy() for variable in variables]


@pytest.mark.parametrize(("config", "hyperparameters"), RULES.values(), ids=RULES)
def test_layer_decay_1_is_no_layer_decay_bit_for_bit(
    config: StaticConfig, hyperparameters: dict[str, float]
) -> None:
    found = trained_with_depths(config, hyperparameters | {"layer_decay": 1.0}, DEPTHS)
    expected = trained_with_depths(config, hyperparameters, None)

    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(("config", "hyperparameters"), RULES.values(), ids=RULES)
def test_each_depth_has_the_learning_rate_times_the_decay_to_that_power(
    config: StaticConfig, hyperparameters: dict[str, float]
) -> None:
    found = trained_with_depths(config, hyperparameters | {"layer_decay": 0.75}, DEPTHS)

    for position, depth in enumerate(DEPTHS):
        rate = {"learning_rate": 1e-2 * 0.75**depth}
        alone = trained_with_depths(config, hyperparameters | rate, None)[position]
        np.testing.assert_allclose(found[position], alone, rtol=2e-6, atol=2e-7)


def test_one_depth_throughout_leaves_the_update_as_it_is() -> None:
    config, hyperparameters = RULES["adamw"]

    found = trained_with_depths(config, hyperparameters | {"layer_decay": 0.5}, [0] * len(SHAPES))

    for one, other in zip(found, trained_with_depths(config, hyperparameters, None), strict=True):
        np.testing.assert_array_equal(one, other)


def test_l2_is_in_the_gradient_of_kernels_before_it_is_clipped() -> None:
    config = StaticConfig("sgd", l2=True, clip=True)
    values = {"learning_rate": 0.5, "l2": 0.3, "global_clipnorm": 2.0}
    flat = StepOptimizer(config, values)
    variables = new_variables()
    flat.build(variables)

    train(flat, variables, GRADIENTS[:1])

    gradients = [
        gradient + 0.3 * start if start.ndim > 1 else gradient
        for gradient, start in zip(GRADIENTS[0], START, strict=True)
    ]
    norm = np.sqrt(sum(np.sum(np.square(gradient)) for gradient in gradients))
    assert norm > 2
    expected = [
        start - 0.5 * gradient * 2 / norm for start, gradient in zip(START, gradients, strict=True)
    ]
    assert_close([variable.numpy() for variable in variables], expected)


def test_one_variable_alone_is_updated() -> None:
    flat = StepOptimizer(StaticConfig("sgd"), {"learning_rate": 0.5})
    variable = keras.Variable([1.0, 2.0])
    flat.build([variable])

    flat.apply([ops.convert_to_tensor(np.asarray([1.0, 1.0], "float32"))], [variable])

    assert variable.numpy().tolist() == [0.5, 1.5]


def test_an_average_that_warms_up_soon_forgets_the_first_steps() -> None:
    slow = StepOptimizer(
        StaticConfig("sgd", average=True, average_warms_up=True),
        {"learning_rate": 1.0, "momentum": 0.0, "ema_momentum": 0.4},
    )
    variable = keras.Variable([0.0])
    slow.build([variable])
    found = []
    for _ in range(6):
        # The weight counts the steps: 1, 2, 3, ...
        slow.apply([ops.convert_to_tensor(np.asarray([-1.0], "float32"))], [variable])
        found.append(float(ops.convert_to_numpy(slow.averaged_weights()[0])[0]))

    expected = [1.0]
    for step, kept in enumerate([2 / 11, 3 / 12, 4 / 13, 5 / 14, 0.4], start=2):
        expected.append(expected[-1] * kept + step * (1 - kept))
    assert found == pytest.approx(expected, rel=1e-6)


def test_half_precision_weights_have_float32_moments() -> None:
    variable = keras.Variable(np.ones(3), dtype="bfloat16")
    flat = StepOptimizer(StaticConfig(average=True), {"learning_rate": 0.1})
    flat.build([variable])

    flat.apply([ops.ones(3, dtype="bfloat16")], [variable])

    dtypes = {keras.backend.standardize_dtype(held.dtype) for held in flat.variables[1:]}
    assert dtypes == {"float32"}
    assert keras.backend.standardize_dtype(variable.dtype) == "bfloat16"


def test_its_variables_have_names_of_their_own_that_never_change() -> None:
    flat = StepOptimizer(StaticConfig(amsgrad=True, average=True), {"learning_rate": 0.1})
    flat.build(new_variables())
    names = [held.name for held in flat.variables]

    assert len(set(names)) == len(names)
    assert names[:2] == ["iterations", "hyperparameters"]
    vectors = ["first_moment", "second_moment", "largest_second_moment", "weight_average"]
    if BACKEND == "jax":
        vectors = [f"{name}_{position}" for name in vectors for position in range(len(SHAPES))]
    assert names[2:] == vectors


@pytest.mark.parametrize(("make_flat", "make"), TWINS.values(), ids=TWINS)
def test_restored_by_name_it_goes_on_exactly(
    make_flat: Callable[[], Any], make: Callable[[], Any]
) -> None:
    del make
    flat, again = make_flat(), make_flat()
    ours, theirs = new_variables(), new_variables()
    flat.build(ours)
    again.build(theirs)
    train(flat, ours, GRADIENTS[:7])
    kept = {held.name: held.numpy().copy() for held in flat.variables}
    weights = [variable.numpy().copy() for variable in ours]

    for held in again.variables:
        held.assign(kept[held.name])
    for variable, weight in zip(theirs, weights, strict=True):
        variable.assign(weight)
    train(flat, ours, GRADIENTS[7:])
    train(again, theirs, GRADIENTS[7:])

    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


@pytest.mark.skipif(BACKEND != "jax", reason="carried states are for JAX")
@pytest.mark.parametrize(("make_flat", "make"), TWINS.values(), ids=TWINS)
def test_a_carried_donated_state_gives_the_same_weights(
    make_flat: Callable[[], Any], make: Callable[[], Any]
) -> None:
    import jax

    del make
    flat, in_place = make_flat(), make_flat()
    ours = new_variables()
    flat.build(ours)
    in_place.build(ours)
    weights, state = [jax.numpy.array(start) for start in START], flat.initial_state()
    step = jax.jit(flat.stateless_apply, donate_argnums=(0, 2))
    for gradients in GRADIENTS:
        weights, state = step(state, gradients, weights)
    flat.load_state(state)
    train(in_place, ours)

    assert step._cache_size() == 1
    assert_close(weights, [variable.numpy() for variable in ours])
    for one, other in zip(flat.variables, in_place.variables, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-5, atol=1e-7)
    flat.reset()
    assert int(flat.variables[0].numpy()) == 0


@pytest.mark.skipif(BACKEND != "tensorflow", reason="graphs of TensorFlow")
def test_its_graph_is_smaller_and_hardly_grows() -> None:
    import tensorflow as tf

    def operations(optimizer: Any, count: int) -> int:
        variables = [keras.Variable(np.ones(3, "float32")) for _ in range(count)]
        optimizer.build(variables)
        step = tf.function(lambda: optimizer.apply([v.value + 1.0 for v in variables], variables))
        return len(step.get_concrete_function().graph.get_operations())

    def flat() -> Any:
        return StepOptimizer(StaticConfig(), {"learning_rate": 0.1})

    few, many = operations(flat(), 10), operations(flat(), 50)
    assert many < operations(keras.optimizers.AdamW(0.1), 50) / 2
    assert (many - few) / 40 < 15
