"""What a user is handed: stock layers, uint8 in, and the same outputs."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from PIL import Image

from effv2_tune.data.decode import fit_to
from effv2_tune.errors import TuneError
from effv2_tune.network import (
    classifier,
    load_weights,
    preprocess,
    stock_model,
    training_network,
)
from effv2_tune.network.export_model import _fit, _to_color

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


@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
def test_a_model_for_any_size_leaves_images_of_the_stored_size_as_they_are(fit: Any) -> None:
    network = trained()
    facts: Any = {"image_shape": (40, 48, 3), "resolution": 64, "scaling": "tf"}

    fixed = stock_model(network, **facts)
    any_size = stock_model(network, **facts, fit=fit)

    assert any_size.input_shape == (None, None, None, 3)
    assert np.array_equal(fixed.predict(IMAGES, verbose=0), any_size.predict(IMAGES, verbose=0))


def fitted(photo: Image.Image, fit: Any) -> tuple[Any, Any]:
    """A photo at 48 x 40 px by the layer of the model, and by the code that reads files."""
    images = keras.Input((None, None, 3), dtype="uint8")
    model = keras.Model(images, _fit(_to_color(images), 40, 48, fit=fit))
    found = model.predict(np.asarray(photo)[None], verbose=0)[0]
    return found, np.asarray(fit_to(photo, (48, 40), fit)).astype("float32")


def noise(width: int, height: int) -> Image.Image:
    values = np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


@pytest.mark.parametrize(
    ("fit", "width", "height"),
    [("squash", 170, 90), ("squash", 20, 17), ("crop", 120, 80), ("crop", 96, 120)],
)
def test_a_model_for_any_size_fits_images_as_files_are_fitted(
    fit: str, width: int, height: int
) -> None:
    """Where crops are at whole pixels; Pillow rounds twice, to half a level each.

    At the edge of a crop Pillow blends with the pixels beyond it, which Keras has cut off before.
    """
    found, wanted = fitted(noise(width, height), fit)
    edge = 1 if fit == "crop" else 0

    inside = (slice(edge, 40 - edge), slice(edge, 48 - edge))
    assert np.abs(found - wanted)[inside].max() <= 1.01


def test_a_model_for_any_size_pads_with_black() -> None:
    """Resized with the border, the image is blended with it in the rows beside it."""
    found, wanted = fitted(noise(96, 60), "pad")

    assert np.abs(found - wanted)[7:-7].max() <= 1.01
    assert not found[:4].any()
    assert not found[-4:].any()
    assert not wanted[:5].any()


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


def test_with_both_views_it_gives_their_mean_probabilities() -> None:
    network = trained()
    facts: Any = {"image_shape": (40, 48, 3), "resolution": 64, "scaling": "torch"}
    one, both = (stock_model(network, **facts, evaluation_flip=flip) for flip in (False, True))
    mirrored = np.ascontiguousarray(IMAGES[:, :, ::-1])

    wanted = (numbers(one(IMAGES)) + numbers(one(mirrored))) / 2

    assert np.abs(numbers(one(IMAGES)) - numbers(one(mirrored))).max() > 1e-3
    assert np.abs(numbers(both(IMAGES)) - wanted).max() < 1e-5
    assert np.abs(numbers(both(mirrored)) - wanted).max() < 1e-5
    assert all(type(layer).__module__.startswith("keras.") for layer in both.layers)


def test_a_file_with_both_views_gives_its_weights_to_a_network(tmp_path: Any) -> None:
    network, fresh = trained(), training_network("tiny", classes=10, dropout=0.3)
    facts: Any = {"image_shape": (40, 48, 3), "resolution": 64, "scaling": "torch"}
    stock_model(network, **facts, evaluation_flip=True).save(tmp_path / "model.keras")

    load_weights(fresh, str(tmp_path / "model.keras"))

    assert all(map(np.array_equal, map(numbers, network.weights), map(numbers, fresh.weights)))


@pytest.mark.parametrize("evaluation_flip", [False, True])
def test_saved_it_opens_without_this_package(
    tmp_path: Any,
    run_python: Any,
    evaluation_flip: bool,  # noqa: FBT001 - pytest gives it by name
) -> None:
    stock = stock_model(
        trained(),
        image_shape=(40, 48, 3),
        resolution=64,
        scaling="torch",
        evaluation_flip=evaluation_flip,
    )
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
