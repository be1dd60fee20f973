"""The public network is a functional Keras model with the outputs of the one that is trained."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import pytest

import effv2_tune
from effv2_tune.catalog import TINY, find_variant
from effv2_tune.errors import TuneError
from effv2_tune.network import preprocess, training_network

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PIXELS = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)

FACTS = """
import json, sys, tempfile
import keras, numpy as np
import effv2_tune
from effv2_tune.network import preprocess, training_network

pixels = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
scaled = np.asarray(preprocess(pixels, 32, scaling="tf"))
facts = {}

net = effv2_tune.efficientnet_v2("tiny", classes=10, input_shape=(32, 32, 3), seed=3)
facts["functional"] = type(net) is keras.Model or type(net).__name__ == "Functional"
facts["inputs"] = [list(x.shape) for x in net.inputs]
facts["outputs"] = [list(x.shape) for x in net.outputs]
facts["layers"] = len(net.layers)
rows = []
net.summary(print_fn=rows.append)
facts["summary"] = all(name in rows[0] for name in ("stem_conv", "avg_pool", "predictions"))
facts["avg_pool"] = list(net.get_layer("avg_pool").output.shape)
features = keras.Model(net.input, net.get_layer("avg_pool").output)
facts["stock"] = all(type(layer).__module__.startswith("keras.") for layer in net.layers)

def largest(a, b):
    return float(np.abs(np.asarray(a) - np.asarray(b)).max())

fast = training_network("tiny", classes=10, resolution=32, seed=3)
facts["same start"] = all(
    np.array_equal(a, b) for name, layer in fast.layers_by_name.items()
    for a, b in zip(layer.get_weights(), net.get_layer(name).get_weights(), strict=True))
rng = np.random.default_rng(1)
for name, layer in fast.layers_by_name.items():
    values = [w * (1 + 0.1 * rng.random(w.shape)) + 0.01 * rng.random(w.shape)
              for w in layer.get_weights()]
    layer.set_weights(values)
    net.get_layer(name).set_weights(values)
wanted = np.asarray(keras.ops.softmax(fast(scaled)))
facts["spread"] = float(wanted.std())
facts["call"] = largest(net(pixels), wanted)
# Keras' own training loop may import TensorFlow for its data adapters.
facts["tensorflow"] = "tensorflow" in sys.modules
facts["predict"] = largest(net.predict(pixels, verbose=0), wanted)
facts["features"] = largest(features(pixels), fast.extract(scaled, training=False))
raw = effv2_tune.efficientnet_v2("tiny", classes=10, input_shape=(32, 32, 3),
    include_preprocessing=False, classifier_activation=None)
raw.set_weights(net.get_weights()[-len(raw.get_weights()):])
facts["logits"] = largest(raw(scaled), fast(scaled))

labels = np.arange(4)
net.compile("sgd", "sparse_categorical_crossentropy")
history = net.fit(pixels, labels, epochs=2, batch_size=2, verbose=0)
facts["loss"] = bool(np.isfinite(history.history["loss"]).all())
facts["trained"] = largest(net(pixels), wanted) > 1e-6
with tempfile.TemporaryDirectory() as folder:
    net.save(f"{folder}/net.keras")
    again = keras.saving.load_model(f"{folder}/net.keras")
    facts["saved"] = largest(again(pixels), net(pixels))
print(json.dumps(facts))
"""


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_it_is_a_functional_model_of_stock_layers_that_trains_saves_and_opens(
    backend: str, run_python: Callable[..., str]
) -> None:
    facts = json.loads(run_python(FACTS, KERAS_BACKEND=backend).splitlines()[-1])

    assert facts["functional"]
    assert facts["inputs"] == [[None, 32, 32, 3]]
    assert facts["outputs"] == [[None, 10]]
    assert facts["layers"] > 50
    assert facts["summary"]
    assert facts["avg_pool"] == [None, TINY.head_width]
    assert facts["stock"]
    assert facts["same start"]
    assert facts["spread"] > 1e-3
    for output in ("call", "predict", "features", "logits"):
        assert facts[output] < 1e-5, output
    assert facts["loss"]
    assert facts["trained"]
    assert facts["saved"] < 1e-6
    assert facts["tensorflow"] == (backend == "tensorflow")


def small(**options: Any) -> Any:
    return effv2_tune.efficientnet_v2(
        "tiny", **{"classes": 10, "input_shape": (32, 32, 3), **options}
    )


def outputs(model: Any, images: Any = PIXELS, **call: Any) -> Any:
    return np.asarray(keras.ops.convert_to_numpy(model(images, **call)))


def test_without_the_top_it_gives_the_feature_map_or_pooled_features() -> None:
    whole, bare = small(), small(include_top=False, input_shape=None)
    average, largest = (small(include_top=False, pooling=pooling) for pooling in ("avg", "max"))

    assert bare.output.shape == (None, None, None, TINY.head_width)
    feature_map = outputs(bare)
    assert np.allclose(outputs(average), feature_map.mean(axis=(1, 2)), atol=1e-6)
    assert np.allclose(outputs(largest), feature_map.max(axis=(1, 2)), atol=1e-6)
    inner = keras.Model(whole.input, whole.get_layer("post_swish").output)
    assert np.allclose(outputs(inner), feature_map, atol=1e-6)


@pytest.mark.parametrize("name", ["tiny", "b0", "t"])
def test_the_default_input_has_the_native_resolution(name: str) -> None:
    network = effv2_tune.efficientnet_v2(name, classes=3)

    side = find_variant(name).native_resolution
    assert network.input.shape == (None, side, side, 3)


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_dropout_and_stochastic_depth_act_in_training_alone(dtype: str) -> None:
    quiet = small(dropout=0.0, stochastic_depth=0.0, dtype=dtype, trainable_from="head")
    noisy = small(dropout=0.5, stochastic_depth=0.5, dtype=dtype)

    drops = [layer.name for layer in noisy.layers if isinstance(layer, keras.layers.Dropout)]
    rates = [noisy.get_layer(name).rate for name in drops]
    assert len(drops) == 3
    assert rates == pytest.approx([0.5 / 5, 0.5 * 4 / 5, 0.5])
    assert drops[-1] == "top_dropout"
    assert not [x for x in quiet.layers if isinstance(x, keras.layers.Dropout)]
    assert np.array_equal(outputs(noisy), outputs(quiet))
    assert np.array_equal(outputs(quiet, training=True), outputs(quiet))
    assert not np.allclose(outputs(noisy, training=True), outputs(noisy, training=True), atol=1e-6)
    assert noisy.output.dtype == "float32"


def test_only_the_stages_from_the_first_trained_one_are_trained() -> None:
    network = small(trainable_from=2, stochastic_depth=0.5)
    fast = training_network("tiny", classes=10, trainable_from=2)

    trained = {layer.name for layer in network.layers if layer.trainable_weights}
    assert trained == {x.name for x in fast.layers_by_name.values() if x.trainable_weights}
    drops = [x.name for x in network.layers if isinstance(x, keras.layers.Dropout)]
    assert drops == [f"{TINY.blocks[4].name}drop", "top_dropout"]


def test_weights_of_a_file_and_their_scaling_go_into_the_model(tmp_path: Path) -> None:
    source = small(seed=7)
    source.save(tmp_path / "source.keras")
    fast = training_network("tiny", classes=10, seed=7)
    fast.save_weights(tmp_path / "fast.weights.h5")

    for name in ("source.keras", "fast.weights.h5"):
        assert np.array_equal(outputs(small(weights=str(tmp_path / name))), outputs(source)), name
    other_head = small(classes=4, weights=str(tmp_path / "source.keras"))
    own_head = small(classes=4).get_layer("predictions").get_weights()
    assert all(map(np.array_equal, other_head.get_layer("predictions").get_weights(), own_head))
    stem = source.get_layer("stem_conv").get_weights()
    assert all(map(np.array_equal, other_head.get_layer("stem_conv").get_weights(), stem))


def test_without_preprocessing_images_must_be_scaled_beforehand() -> None:
    inside, outside = small(), small(include_preprocessing=False)
    scaled = preprocess(PIXELS, 32, scaling="tf")

    assert "scale" not in {layer.name for layer in outside.layers}
    assert np.allclose(outputs(inside), outputs(outside, scaled), atol=1e-6)
    assert np.array_equal(outputs(inside), outputs(inside, PIXELS.astype("float32")))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_shape": (31, 64, 3)}, "A resolution of 31 is too small"),
        ({"input_shape": (64, 64, 1)}, r"input_shape: \(64, 64, 1\) is not \(height, width, 3\)"),
        ({"include_top": False, "pooling": "sum"}, "There is no pooling 'sum'"),
        ({"dropout": 1.0}, "dropout 1 is not a rate"),
        ({"trainable_from": 9}, "cannot be trained from stage 9"),
        ({"weights": "imagenet"}, "of variant 'tiny' were never released"),
    ],
)
def test_wrong_arguments_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(TuneError, match=message):
        small(**options)
