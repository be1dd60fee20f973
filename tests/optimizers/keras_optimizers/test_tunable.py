"""What Keras' base class offers works on these optimizers, and so do saving and training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from keras import ops

import effv2_tune
from effv2_tune.errors import TuneError
from effv2_tune.optimizers import (
    SGD,
    AdaBelief,
    AdamW,
    ConstantLearningRate,
    CosineLearningRate,
    CyclicalLearningRate,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SHAPES = [(3, 2), (2,), (4,)]
rng = np.random.default_rng(2)
START = [rng.standard_normal(shape).astype("float32") for shape in SHAPES]
GRADIENTS = [[rng.standard_normal(shape).astype("float32") for shape in SHAPES] for _ in range(8)]


def new_variables() -> list[Any]:
    names = ["kernel", "bias", "gamma"]
    return [keras.Variable(start, name=name) for start, name in zip(START, names, strict=True)]


def train(optimizer: Any, variables: Sequence[Any], gradients: Any = GRADIENTS) -> list[Any]:
    for step in gradients:
        optimizer.apply([ops.convert_to_tensor(gradient) for gradient in step], variables)
    return [variable.numpy().copy() for variable in variables]


def trained(optimizer: Any, gradients: Any = GRADIENTS) -> list[Any]:
    variables = new_variables()
    optimizer.build(variables)
    return train(optimizer, variables, gradients)


def assert_close(found: Sequence[Any], expected: Sequence[Any], rtol: float = 1e-5) -> None:
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=rtol, atol=1e-6)


def test_the_package_offers_it_by_name() -> None:
    assert effv2_tune.AdaBelief is AdaBelief
    assert effv2_tune.CyclicalLearningRate is CyclicalLearningRate


@pytest.mark.parametrize(
    "options",
    [
        {"clipnorm": 0.5},
        {"clipvalue": 0.1},
        {"global_clipnorm": 0.7},
        {"use_ema": True, "ema_momentum": 0.6, "ema_overwrite_frequency": 3},
        {"loss_scale_factor": 8.0},
        {"gradient_accumulation_steps": 4},
        {"gradient_accumulation_steps": 2, "global_clipnorm": 0.5, "use_ema": True},
    ],
    ids=str,
)
def test_the_options_of_the_base_class_mean_what_they_mean_in_keras(
    options: dict[str, Any],
) -> None:
    found, expected = (
        np.concatenate([weight.ravel() for weight in trained(make(0.05, 0.01, **options))])
        for make in (AdamW, keras.optimizers.AdamW)
    )

    assert np.linalg.norm(found - expected) < 1e-5 * np.linalg.norm(expected)


def test_accumulated_gradients_are_averaged() -> None:
    pairs = [GRADIENTS[:2], GRADIENTS[2:4], GRADIENTS[4:6], GRADIENTS[6:]]
    means = [[(a + b) / 2 for a, b in zip(*pair, strict=True)] for pair in pairs]

    assert_close(
        trained(AdaBelief(0.05, gradient_accumulation_steps=2)), trained(AdaBelief(0.05), means)
    )


def test_a_global_clip_scales_all_gradients_alike() -> None:
    scaled = []
    for step in GRADIENTS:
        norm = np.sqrt(sum(np.sum(gradient**2) for gradient in step))
        scaled.append([gradient * min(1.0, 0.7 / norm) for gradient in step])

    assert_close(trained(AdaBelief(0.05, global_clipnorm=0.7)), trained(AdaBelief(0.05), scaled))


def test_the_average_of_the_weights_is_an_exponential_one() -> None:
    optimizer, variables = AdaBelief(0.05, use_ema=True, ema_momentum=0.6), new_variables()
    optimizer.build(variables)
    average = None
    for step in GRADIENTS:
        weight = train(optimizer, variables, [step])[0]
        average = weight if average is None else 0.6 * average + 0.4 * weight

    optimizer.finalize_variable_values(variables)

    assert_close([variables[0].numpy()], [average])


def test_excluded_variables_do_not_decay() -> None:
    optimizer = AdaBelief(0.05, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    found = trained(optimizer)

    plain, decayed = trained(AdaBelief(0.05)), trained(AdaBelief(0.05, weight_decay=0.5))

    assert_close([found[1]], [plain[1]], rtol=0)
    assert_close([found[0], found[2]], [decayed[0], decayed[2]], rtol=0)
    assert not np.allclose(decayed[1], plain[1])


def test_a_decay_far_below_float32_resolution_of_1_still_decays() -> None:
    # 1 - learning rate * decay is 1 in float32 here: it must not be computed.
    optimizer = SGD(1e-3, weight_decay=1e-5)
    variable = keras.Variable([1e-6])
    optimizer.build([variable])
    zero = ops.zeros(1)
    before = float(variable.numpy()[0])

    optimizer.set_hyperparameters({"weight_decay": 1e-4})
    optimizer.apply([zero], [variable])

    assert float(variable.numpy()[0]) == pytest.approx(before * (1 - 1e-7), rel=7e-8)
    assert float(variable.numpy()[0]) < before


def test_moments_are_float32_for_half_precision_weights() -> None:
    variable = keras.Variable(np.ones(3), dtype="bfloat16")
    optimizer = AdaBelief(0.1, amsgrad=True)
    optimizer.build([variable])

    optimizer.apply([ops.ones(3, dtype="bfloat16")], [variable])

    moments = [v for v in optimizer.variables if "moment" in v.name]
    assert [keras.backend.standardize_dtype(moment.dtype) for moment in moments] == ["float32"] * 3
    assert keras.backend.standardize_dtype(variable.dtype) == "bfloat16"


@st.composite
def optimizers(draw: st.DrawFn) -> Any:
    """Any of the optimizers, with any switches."""
    kind = draw(st.sampled_from([AdaBelief, AdamW, SGD]))
    rate = draw(
        st.sampled_from(
            [
                0.02,
                CyclicalLearningRate.triangular2(1e-3, 5e-2, 2.5),
                CyclicalLearningRate.exponential(1e-3, 5e-2, 3, gamma=0.9, scale_mode="cycle"),
                CosineLearningRate(1e-3, 5e-2, 9, 2),
            ]
        )
    )
    options: dict[str, Any] = draw(
        st.sampled_from(
            [
                {},
                {"clipnorm": 0.5},
                {"use_ema": True, "ema_momentum": 0.7},
                {"gradient_accumulation_steps": 2},
            ]
        )
    )
    options["weight_decay"] = draw(st.sampled_from([None, 0.0, 1e-2]))
    if kind is AdaBelief:
        options |= {
            "rectify": draw(st.booleans()),
            "amsgrad": draw(st.booleans()),
            "total_steps": draw(st.sampled_from([0, 7])),
            "beta_1": draw(st.floats(0, 0.99)),
        }
    if kind is SGD:
        options |= {"momentum": draw(st.floats(0, 0.99)), "nesterov": draw(st.booleans())}
    return kind(rate, **options)


@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.too_slow])
@given(optimizers(), st.integers(0, 7))
def test_saved_after_any_step_and_loaded_it_goes_on_exactly(optimizer: Any, steps: int) -> None:
    variables = new_variables()
    optimizer.build(variables)
    weights = train(optimizer, variables, GRADIENTS[:steps])

    described = keras.optimizers.serialize(optimizer)
    store: dict[str, Any] = {}
    optimizer.save_own_variables(store)
    again = keras.optimizers.deserialize(described)
    copies = new_variables()
    again.build(copies)
    again.load_own_variables(store)
    for variable, weight in zip(copies, weights, strict=True):
        variable.assign(weight)

    assert again.hyperparameters == optimizer.hyperparameters
    for found, expected in zip(
        train(again, copies, GRADIENTS[steps:]),
        train(optimizer, variables, GRADIENTS[steps:]),
        strict=True,
    ):
        np.testing.assert_array_equal(found, expected)


def small_model(optimizer: Any, **compile_arguments: Any) -> Any:
    drawn = keras.initializers.GlorotUniform
    layers = [
        keras.layers.Dense(3, kernel_initializer=drawn(seed=1)),
        keras.layers.Dense(1, kernel_initializer=drawn(seed=2)),
    ]
    model = keras.Sequential([keras.Input((4,)), *layers])
    model.compile(optimizer, loss="mse", **compile_arguments)
    return model


INPUTS = rng.standard_normal((16, 4)).astype("float32")
TARGETS = INPUTS.sum(axis=1, keepdims=True)


def fit(model: Any, epochs: int = 1) -> None:
    model.fit(INPUTS, TARGETS, batch_size=4, epochs=epochs, verbose=0, shuffle=False)


@pytest.mark.parametrize(
    "make",
    [
        lambda: AdaBelief(
            CyclicalLearningRate.triangular2(1e-3, 5e-2, 3), weight_decay=1e-3, amsgrad=True
        ),
        lambda: AdaBelief(0.01, total_steps=30, use_ema=True, clipnorm=1.0),
        lambda: AdamW(CosineLearningRate(0, 1e-2, 20, 3)),
        lambda: SGD(1e-2, 0.9, nesterov=True),
    ],
    ids=["adabelief-cyclical", "adabelief-warm-up", "adamw", "sgd"],
)
def test_a_keras_file_continues_with_the_same_next_step(make: Any, tmp_path: Path) -> None:
    model = small_model(make())
    fit(model)
    model.optimizer.set_hyperparameters(
        {"beta_1": 0.7} if "beta_1" in model.optimizer.hyperparameters else {}
    )
    model.save(tmp_path / "model.keras")

    again = keras.models.load_model(tmp_path / "model.keras")
    fit(model)
    fit(again)

    assert type(again.optimizer) is type(model.optimizer)
    assert int(again.optimizer.iterations) == int(model.optimizer.iterations) == 8
    for one, other in zip(model.variables, again.variables, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_it_trains() -> None:
    model = small_model(AdaBelief(CyclicalLearningRate.triangular2(1e-3, 1e-1, 20), epsilon=1e-7))
    before = model.evaluate(INPUTS, TARGETS, verbose=0)

    fit(model, epochs=30)

    assert model.evaluate(INPUTS, TARGETS, verbose=0) < before / 5


def test_a_loss_scale_optimizer_can_hold_it() -> None:
    inner = AdaBelief(0.01)
    model = small_model(keras.optimizers.LossScaleOptimizer(inner))

    fit(model)

    assert int(inner.iterations) == 4


def test_the_trace_of_fit_survives_new_numbers() -> None:
    optimizer = AdaBelief(CyclicalLearningRate.triangular(1e-3, 1e-2, 3), weight_decay=1e-3)
    model = small_model(optimizer)
    fit(model)
    function = model.train_function
    before = model.get_weights()

    optimizer.set_hyperparameters({"initial_learning_rate": 0.0, "maximal_learning_rate": 0.0})
    fit(model)

    assert model.train_function is function
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_embeddings_train() -> None:
    model = keras.Sequential(
        [keras.Input((2,), dtype="int32"), keras.layers.Embedding(5, 3), keras.layers.Flatten()]
    )
    model.add(keras.layers.Dense(1))
    model.compile(AdaBelief(0.01), loss="mse")
    before = model.get_weights()[0].copy()

    model.fit(np.asarray([[0, 1], [1, 1]]), np.ones((2, 1)), verbose=0)

    after = model.get_weights()[0]
    assert np.any(after[1] != before[1])
    np.testing.assert_array_equal(after[2:], before[2:])


def test_an_unknown_schedule_number_is_named() -> None:
    with pytest.raises(TuneError, match="Unknown hyperparameter 'step_size'"):
        AdaBelief(0.1).set_hyperparameters({"step_size": 3})


@pytest.mark.parametrize("make", [AdaBelief, AdamW, SGD])
def test_a_constant_schedule_is_the_number_that_it_holds(make: Any) -> None:
    optimizer = make(ConstantLearningRate(0.25))
    assert optimizer.hyperparameters["learning_rate"] == 0.25
    assert make.from_config(optimizer.get_config()).get_config()["learning_rate"] == 0.25

    optimizer.learning_rate = ConstantLearningRate(0.5)
    assert float(optimizer.learning_rate) == 0.5
