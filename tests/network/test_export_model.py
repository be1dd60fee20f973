"""What a user is handed: stock layers, uint8 in, and the same outputs."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from effv2_tune.errors import TuneError
from effv2_tune.network import classifier, preprocess, stock_model, training_network

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 40, 48, 3), dtype=np.uint8)


def numbers(tensor: Any) -> np.ndarray[Any, Any]:
    return np.asarray(keras.ops.convert_to_numpy(tensor))


def trained(name: str = "tiny", **options: Any) -> Any:
    """A network whose moving statistics and weights are no longer the initial ones."""
    network = training_network(name, **{"classes": 10, "dropout": 0.3, **options})
    rng = np.random.default_rng(0)
    for layer in network.layers:
        for weight in layer.variables:
            noise = np.abs(rng.standard_normal(tuple(weight.shape))).astype("float32")
            weight.assign(numbers(weight) * (1 + 0.1 * noise) + 0.01 * noise)
    return network


@pytest.mark.parametrize("name", ["tiny", "t"])
@pytest.mark.parametrize(
    ("scaling", "interpolation", "resolution"),
    [("tf", "bilinear", 64), ("torch", "bicubic", 32)],
)
def test_it_gives_what_the_network_gives(
    name: str, scaling: Any, interpolation: str, resolution: int
) -> None:
    network = trained(name)
    stock = stock_model(
        network,
        image_shape=(40, 48, 3),
        resolution=resolution,
        scaling=scaling,
        interpolation=interpolation,
    )
    scaled = preprocess(IMAGES, resolution, scaling=scaling, interpolation=interpolation)

    wanted = numbers(keras.ops.softmax(network(scaled)))

    assert wanted.std() > 1e-3
    assert np.abs(numbers(stock(IMAGES, training=False)) - wanted).max() < 1e-5
    assert all(type(layer).__module__.startswith("keras.") for layer in stock.layers)


def test_calling_it_without_saying_whether_it_trains_does_not_train() -> None:
    """Resizing says `training` to the layers after it: keras-team/keras#23166."""
    stock = stock_model(trained(), image_shape=(40, 48, 3), resolution=32, scaling="tf")
    before = [numbers(weight) for weight in stock.weights]
    first = numbers(stock(IMAGES))

    assert np.array_equal(first, numbers(stock(IMAGES, training=False)))
    assert np.allclose(first, stock.predict(IMAGES, verbose=0), atol=1e-6)
    assert all(map(np.array_equal, before, map(numbers, stock.weights)))
    stock(IMAGES, training=True)
    assert not all(map(np.array_equal, before, map(numbers, stock.weights)))


def test_saved_it_opens_without_this_package(tmp_path: Any, run_python: Any) -> None:
    stock = stock_model(trained(), image_shape=(40, 48, 3), resolution=64, scaling="torch")
    stock.save(tmp_path / "model.keras")
    np.save(tmp_path / "images.npy", IMAGES)
    np.save(tmp_path / "outputs.npy", numbers(stock(IMAGES)))
    code = f"""
import sys
sys.modules["effv2_tune"] = None  # importing it fails
import keras, numpy as np
model = keras.saving.load_model(r"{tmp_path}/model.keras")
outputs = np.asarray(model(np.load(r"{tmp_path}/images.npy")))
print(np.abs(outputs - np.load(r"{tmp_path}/outputs.npy")).max())
"""

    assert float(run_python(code, KERAS_BACKEND="jax").splitlines()[-1]) < 1e-5


def test_trunk_and_head_make_one_model() -> None:
    whole = trained(seed=3)
    trunk, head = trained(seed=3, classes=None), classifier("tiny", classes=10)
    head.set_weights(head.get_weights())
    head.get_layer("predictions").set_weights(whole.get_layer("predictions").get_weights())
    facts: Any = {"image_shape": (40, 48, 3), "resolution": 32, "scaling": "tf"}

    assert np.array_equal(
        numbers(stock_model(trunk, head, **facts)(IMAGES)),
        numbers(stock_model(whole, **facts)(IMAGES)),
    )
    with pytest.raises(TuneError, match="needs one classifier, found none"):
        stock_model(trunk, **facts)
    with pytest.raises(TuneError, match="needs one classifier, found two"):
        stock_model(whole, head, **facts)


def test_a_network_trained_in_bfloat16_is_handed_over_in_float32() -> None:
    network = trained(dtype="mixed_bfloat16")
    stock = stock_model(network, image_shape=(40, 48, 3), resolution=32, scaling="tf")

    wanted = keras.ops.softmax(network(preprocess(IMAGES, 32, scaling="tf")))

    assert {layer.dtype_policy.name for layer in stock.layers if layer.weights} == {"float32"}
    assert np.abs(numbers(stock(IMAGES)) - numbers(wanted)).max() < 3e-2


def test_grey_images_are_repeated_over_the_channels() -> None:
    network, grey = trained(), IMAGES[..., :1]
    stock = stock_model(network, image_shape=(40, 48, 1), resolution=32, scaling="torch")
    coloured = np.repeat(grey, 3, axis=-1)

    wanted = keras.ops.softmax(network(preprocess(coloured, 32, scaling="torch")))

    assert np.abs(numbers(stock(grey)) - numbers(wanted)).max() < 1e-6


def test_images_are_scaled_as_published() -> None:
    x = IMAGES[:, :32, :32].astype("float64")
    imagenet = (x / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]

    assert np.array_equal(numbers(preprocess(IMAGES[:, :32, :32], 32, scaling="tf")), x / 128 - 1)
    assert np.allclose(
        numbers(preprocess(IMAGES[:, :32, :32], 32, scaling="torch")), imagenet, atol=1e-6
    )


def test_resizing_keeps_fractions_and_flat_images() -> None:
    ramp = np.arange(4, dtype="uint8").reshape(1, 1, 4, 1).repeat(4, axis=1).repeat(3, axis=3)
    resized = numbers(preprocess(ramp, 8, scaling="tf"))[0, 0, :, 0] * 128 + 128

    assert np.allclose(resized, [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3], atol=1e-4)
