"""The network made for training: rates, stages, precision, options."""

from __future__ import annotations

import json
from typing import Any

import keras
import numpy as np
import pytest

from effv2_tune.catalog import TINY, find_variant
from effv2_tune.errors import TuneError
from effv2_tune.network import (
    classifier,
    drop_rate_variables,
    preprocess,
    set_drop_rates,
    training_network,
)
from effv2_tune.network.pretrained.weight_io import keras_applications_names

IMAGES = np.random.default_rng(0).normal(size=(4, 32, 32, 3)).astype("float32")


def tiny(**options: Any) -> Any:
    return training_network("tiny", **{"classes": 10, **options})


def numbers(tensor: Any) -> np.ndarray[Any, Any]:
    return np.asarray(keras.ops.convert_to_numpy(tensor))


def relative(found: Any, wanted: Any) -> float:
    return float(np.linalg.norm(numbers(found) - numbers(wanted)) / np.linalg.norm(numbers(wanted)))


def shake(model: Any, seed: int = 0) -> None:
    """Give every weight of a model another value, as training would."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        for weight in layer.variables:
            noise = rng.standard_normal(tuple(weight.shape)).astype("float32")
            old = numbers(weight)
            positive = weight.name == "moving_variance"
            weight.assign(old * (1 + 0.1 * np.abs(noise)) if positive else old + 0.03 * noise)


# --- rates ----------------------------------------------------------------------------------------


def test_rates_of_zero_leave_no_trace_of_the_random_numbers() -> None:
    first, second = (tiny(dropout=0.0, stochastic_depth=0.0, seed=0) for _ in range(2))
    second.seed_generator.state.assign([99, 3])

    assert np.array_equal(
        numbers(first(IMAGES, training=True)), numbers(second(IMAGES, training=True))
    )


def test_dropout_of_zero_is_exactly_the_identity_in_training() -> None:
    network = tiny(trainable_from="head", dropout=0.0, stochastic_depth=0.5)

    assert np.array_equal(numbers(network(IMAGES, training=True)), numbers(network(IMAGES)))


def test_dropout_drops_and_rescales_the_features_and_differs_from_step_to_step() -> None:
    head = classifier("tiny", classes=3, dropout=0.25)
    head.get_layer("predictions").kernel.assign(np.ones((TINY.head_width, 3), "float32"))
    features = np.ones((500, TINY.head_width), "float32")

    first, second = (numbers(head(features, training=True))[:, 0] for _ in range(2))

    kept = first * 0.75  # how many of the 32 features were kept
    assert np.allclose(kept, np.round(kept), atol=1e-4)
    assert kept.mean() == pytest.approx(0.75 * TINY.head_width, rel=0.02)
    assert not np.array_equal(first, second)


def test_stochastic_depth_grows_linearly_over_all_blocks() -> None:
    network = tiny(stochastic_depth=0.5)

    factors = {place: numbers(x).ravel() for place, x in network._branch_factors(20_000).items()}

    # Blocks 0, 1 and 2 keep width and size, and 4; block 0 has rate 0; block 3 has no shortcut.
    assert [block.has_shortcut for block in TINY.blocks] == [True, True, False, False, True]
    assert set(factors) == {1, 4}
    for place, factor in factors.items():
        rate = 0.5 * place / 5
        assert set(np.round(np.unique(factor), 5)) == {0, np.float32(round(1 / (1 - rate), 5))}
        assert np.mean(factor == 0) == pytest.approx(rate, abs=0.02)


def test_new_rates_compile_nothing_anew() -> None:
    tf = pytest.importorskip("tensorflow")
    network = tiny()
    traces = []

    @tf.function
    def step(images: Any) -> Any:
        traces.append(1)
        return network(images, training=True)

    outputs = []
    for rate in (0.0, 0.3, 0.6):
        set_drop_rates(network, dropout=rate, stochastic_depth=rate)
        outputs.append(numbers(step(tf.constant(IMAGES))))

    assert len(traces) == 1
    assert not np.allclose(outputs[0], outputs[1])
    assert set(drop_rate_variables(network)) == {"dropout", "stochastic_depth"}
    assert not any(rate.trainable for rate in drop_rate_variables(network).values())


def test_on_jax_too_and_with_the_same_initial_weights(run_python: Any) -> None:
    code = """
import json, jax, numpy as np
from effv2_tune.network import training_network, drop_rate_variables, set_drop_rates
network = training_network("tiny", classes=10, dropout=0.0, stochastic_depth=0.0)
images = np.random.default_rng(0).normal(size=(4, 32, 32, 3)).astype("float32")
traces = []
@jax.jit
def step(trainable, other, images):
    traces.append(1)
    return network.stateless_call(trainable, other, images, training=True)
def run():
    outputs, other = step([v.value for v in network.trainable_variables],
                          [v.value for v in network.non_trainable_variables], images)
    for variable, value in zip(network.non_trainable_variables, other):
        variable.assign(value)
    return np.asarray(outputs)
plain = run()
set_drop_rates(network, dropout=0.5, stochastic_depth=0.5)
first, second = run(), run()
print(json.dumps([len(traces), plain.tolist(), bool(np.allclose(first, second)),
                  np.asarray(network.seed_generator.state).tolist()]))
"""
    traces, plain, equal, seeds = json.loads(run_python(code, KERAS_BACKEND="jax").splitlines()[-1])
    here = tiny(dropout=0.0, stochastic_depth=0.0)(IMAGES, training=True)

    assert traces == 1
    assert not equal
    assert seeds == [0, 6]  # two draws a step
    assert relative(plain, here) < 1e-5


def test_a_rate_out_of_range_or_unknown_is_refused() -> None:
    with pytest.raises(TuneError, match="dropout 1 is not a rate"):
        tiny(dropout=1.0)
    with pytest.raises(TuneError, match=r"stochastic_depth -0\.1 is not a rate"):
        set_drop_rates(tiny(), stochastic_depth=-0.1)
    with pytest.raises(TuneError, match="no drop rate 'stochastic_depth'"):
        set_drop_rates(classifier("tiny", classes=2), stochastic_depth=0.1)


# --- the parts together ---------------------------------------------------------------------------


def test_trunk_and_classifier_alone_make_the_whole() -> None:
    whole = tiny(dropout=0.1)
    trunk, head = tiny(classes=None), classifier("tiny", classes=10)

    assert tuple(trunk(IMAGES).shape) == (4, TINY.head_width)
    assert np.array_equal(numbers(head(trunk(IMAGES))), numbers(whole(IMAGES)))


def test_options_reach_the_layers() -> None:
    network = tiny(
        batch_norm_momentum=0.5, batch_norm_epsilon=0.01, classifier_activation="softmax"
    )

    norm = network.get_layer("stem_bn")
    assert (norm.momentum, norm.epsilon) == (0.5, 0.01)
    assert np.allclose(numbers(network(IMAGES)).sum(axis=1), 1)
    assert training_network("t", classes=2).get_layer("stem_bn").epsilon == 1e-5
    assert training_network("b0", classes=2).resolution == 224


def test_any_size_from_32_pixels_and_odd_ones_work() -> None:
    network = tiny()

    for side in (32, 33, 47):
        assert tuple(network(np.zeros((1, side, side, 3), "float32")).shape) == (1, 10)
    with pytest.raises(TuneError, match="31 is too small"):
        tiny(resolution=31)


def test_a_network_is_saved_and_opened_with_its_settings(tmp_path: Any) -> None:
    network = tiny(trainable_from=2, stochastic_depth=0.4, resolution=48)
    shake(network)
    network.save(tmp_path / "network.keras")

    again = keras.saving.load_model(tmp_path / "network.keras")

    assert np.array_equal(numbers(again(IMAGES)), numbers(network(IMAGES)))
    assert again.get_config() == network.get_config()
    assert again.variant == TINY


def test_a_step_of_training_reaches_every_trained_weight() -> None:
    tf = pytest.importorskip("tensorflow")
    network = tiny(dropout=0.0, stochastic_depth=0.0)

    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(network(IMAGES, training=True) ** 2)
    gradients = tape.gradient(loss, [v.value for v in network.trainable_variables])

    assert all(np.abs(gradient).max() > 0 for gradient in gradients)


# --- precision and peers --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tiny", pytest.param("b0", marks=pytest.mark.slow)])
def test_mixed_bfloat16_stays_within_three_hundredths_of_float32(name: str) -> None:
    images = np.random.default_rng(1).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
    exact = training_network(name, classes=10)
    mixed = training_network(name, classes=10, dtype="mixed_bfloat16")
    shake(exact)
    for mine, theirs in zip(mixed.variables, exact.variables, strict=True):
        mine.assign(theirs)
    scaled = preprocess(images, 64, scaling="tf")

    features = mixed.extract(scaled, training=False)

    assert keras.backend.standardize_dtype(features.dtype) == "float32"
    assert keras.backend.standardize_dtype(mixed(scaled).dtype) == "float32"
    assert np.isfinite(numbers(features)).all()
    assert np.isfinite(numbers(mixed(scaled, training=True))).all()
    assert relative(features, exact.extract(scaled, training=False)) < 3e-2


@pytest.mark.parametrize(
    "name", ["b0", *(pytest.param(x, marks=pytest.mark.slow) for x in ("b1", "b2", "b3", *"sml"))]
)
def test_the_network_is_that_of_keras_applications(name: str) -> None:
    peer = getattr(keras.applications, f"EfficientNetV2{name.upper()}")(
        weights=None,
        classes=10,
        input_shape=(64, 64, 3),
        include_preprocessing=False,
        classifier_activation=None,
    )
    network = training_network(name, classes=10)
    shake(network)
    for released, theirs in keras_applications_names(find_variant(name)):
        peer.get_layer(theirs).set_weights(network.get_layer(released).get_weights())
    images = np.random.default_rng(2).normal(size=(2, 64, 64, 3)).astype("float32")

    assert relative(network(images), peer(images, training=False)) < 1e-5
