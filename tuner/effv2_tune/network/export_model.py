"""Exports a trained network as a model of stock Keras layers, with resizing and scaling inside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import keras

from effv2_tune.errors import TuneError
from effv2_tune.network.architecture import feature_map
from effv2_tune.network.functional import StockLayers, classify, pool, scale
from effv2_tune.network.layers import LayerMaker, network_layers

if TYPE_CHECKING:
    from effv2_tune.catalog import Scaling
    from effv2_tune.tensor import Tensor


Fit: TypeAlias = Literal["crop", "pad", "squash"]

#: The layer that makes images of any size fit the size that images were stored at for training.
FIT_LAYER = "fit"

# Whatever the global dtype policy is.
_PLAIN = {"dtype": "float32"}


def stock_model(
    network: Any,
    head: Any | None = None,
    *,
    image_shape: tuple[int, int, int],
    resolution: int,
    scaling: Scaling,
    interpolation: str = "bilinear",
    fit: Fit | None = None,
    evaluation_flip: bool = False,
) -> Any:
    """Rebuild a trained network from stock Keras layers: uint8 images in, probabilities out.

    Saved as `.keras`, it opens wherever Keras does, without this package. Its outputs are those of
    `preprocess`, then `network` in inference. It computes in float32, whatever the network was
    trained in; its layers have the released names.

    Args:
        network: From `training_network`, with or without a classifier.
        head: From `classifier`, where the network has none.
        image_shape: Height, width and channels (3, or 1: grey) of the images that go in, uint8 in
            0 to 255.
        resolution: Side in pixels that they are resized to.
        scaling: As the network was trained.
        interpolation: As the network was trained.
        fit: If given, the model takes images of any height and width, and first makes them fit
            `image_shape` in this way, with antialiasing, as image files are prepared for training.
            Images of that shape are left as they are.
        evaluation_flip: Whether its outputs are the mean probabilities of each image and its mirror
            image.

    Returns:
        A functional model from uint8 [batch, height, width, channels] to probabilities [batch,
        classes].

    Raises:
        TuneError: Neither the network nor `head` is a classifier, or both are.
    """
    if (network.classes is None) == (head is None):
        found = "none" if head is None else "two"
        raise TuneError(
            f"An exported model needs one classifier, found {found}.",
            hint="Pass a network with classes, or one without and a head from `classifier`.",
        )
    variant = network.variant
    make = LayerMaker(
        variant,
        dtype="float32",
        batch_norm_momentum=network.batch_norm_momentum,
        batch_norm_epsilon=network.batch_norm_epsilon,
    )
    classes = (network if head is None else head).classes
    layers = network_layers(variant, make, classes=classes, activation="softmax")

    height, width, channels = image_shape
    shape = image_shape if fit is None else (None, None, channels)
    images = keras.Input(shape, dtype="uint8", name="images")
    x = _to_color(images)
    x = x if fit is None else _fit(x, height, width, fit=fit)
    scaled = scale(_resize(x, resolution, interpolation=interpolation), scaling)
    one_view = keras.Input(scaled.shape[1:], name="scaled") if evaluation_flip else scaled
    features = feature_map(variant, layers, StockLayers("float32"), one_view)
    outputs = classify(pool(features), layers)
    if evaluation_flip:
        outputs = _mean_of_views(keras.Model(one_view, outputs, name="one_view"), scaled)
    model = keras.Model(images, outputs, name=network.name)

    trained = {**network.layers_by_name, **({} if head is None else head.layers_by_name)}
    for name, layer in layers.items():
        for variable, source in zip(layer.variables, trained[name].variables, strict=True):
            # By way of NumPy: on JAX the trained value may be spread over several devices.
            variable.assign(keras.ops.convert_to_numpy(keras.ops.convert_to_tensor(source)))
    return model


def _mean_of_views(model: Any, images: Tensor) -> Tensor:
    """The mean outputs of a model for images and their mirror images, left to right."""
    mirrored = keras.ops.flip(images, axis=2)
    return keras.layers.Average(name="views", **_PLAIN)([model(images), model(mirrored)])


def _to_color(images: Tensor) -> Tensor:
    """Integer images of any number of channels as float32 of three."""
    # Resizing rounds integer images: so they become float32 first.
    x = keras.layers.Rescaling(1.0, name="to_float", **_PLAIN)(images)
    if x.shape[-1] == 1:
        x = keras.layers.Concatenate(name="grey_to_color", **_PLAIN)([x, x, x])
    return x


def _fit(x: Tensor, height: int, width: int, *, fit: Fit) -> Tensor:
    """`data.decode.fit_to` in a stock layer, without its rounding to integers."""
    return keras.layers.Resizing(
        height,
        width,
        interpolation="bilinear",
        antialias=True,
        crop_to_aspect_ratio=fit == "crop",
        pad_to_aspect_ratio=fit == "pad",
        data_format="channels_last",
        name=FIT_LAYER,
        **_PLAIN,
    )(x, training=False)  # see _resize


def _resize(x: Tensor, resolution: int, *, interpolation: str) -> Tensor:
    """`preprocessing.preprocess` up to its scaling in stock layers, operation by operation."""
    if tuple(x.shape[1:3]) == (resolution, resolution):
        return x
    return keras.layers.Resizing(
        resolution,
        resolution,
        interpolation=interpolation,
        antialias=False,
        data_format="channels_last",
        name="resize",
        **_PLAIN,
        # By default, Resizing sets `training` for every layer after it when the model is called
        # without the argument: https://github.com/keras-team/keras/pull/23166. A call with
        # training=True still trains.
    )(x, training=False)
