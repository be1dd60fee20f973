"""A trained network rebuilt from stock Keras layers, with resizing and scaling inside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras

from effv2_tune.catalog import SCALINGS
from effv2_tune.errors import TuneError
from effv2_tune.network.architecture import extract_features
from effv2_tune.network.layers import CLASSIFIER, LayerMaker, classifier_layer, trunk_layers

if TYPE_CHECKING:
    from effv2_tune.catalog import Block, Scaling


# Whatever the global dtype policy is.
_PLAIN = {"dtype": "float32"}
_POOLING = {"data_format": "channels_last", **_PLAIN}


class _StockLayers:
    """The words between the layers as stock layers, which every Keras can load."""

    def silu(self, x: Any, name: str) -> Any:
        return keras.layers.Activation("silu", name=name, **_PLAIN)(x)

    def pad(self, x: Any, name: str) -> Any:
        return keras.layers.ZeroPadding2D(1, name=name, **_POOLING)(x)

    def squeeze(self, x: Any, name: str) -> Any:
        return keras.layers.GlobalAveragePooling2D(keepdims=True, name=name, **_POOLING)(x)

    def multiply(self, x: Any, gate: Any, name: str) -> Any:
        return keras.layers.Multiply(name=name, **_PLAIN)([x, gate])

    def add(self, x: Any, shortcut: Any, name: str) -> Any:
        return keras.layers.Add(name=name, **_PLAIN)([x, shortcut])

    def pool(self, x: Any, name: str) -> Any:
        return keras.layers.GlobalAveragePooling2D(name=name, **_POOLING)(x)


def stock_model(
    network: Any,
    head: Any | None = None,
    *,
    image_shape: tuple[int, int, int],
    resolution: int,
    scaling: Scaling,
    interpolation: str = "bilinear",
) -> Any:
    """A functional model of stock layers with the weights of `network`: uint8 in, softmax out.

    Saved as `.keras`, it opens wherever Keras does, without this package. It gives what
    `preprocess`, then `network` give in inference. It computes in float32, whatever the network
    was trained in; its layers have the released names.

    Args:
        network: From `efficientnet_v2`, with or without a classifier.
        head: From `classifier`, where the network has none.
        image_shape: Height, width and channels (3, or 1: grey) of the images that go in, uint8 in
            0 to 255.
        resolution: Side in pixels that they are resized to.
        scaling: As the network was trained.
        interpolation: As the network was trained.

    Returns:
        A model from uint8 [batch, height, width, channels] to probabilities [batch, classes].

    Raises:
        TuneError: Neither the network nor `head` is a classifier, or both are.
    """
    if (network.classes is None) == (head is None):
        found = "no classifier" if head is None else "two classifiers"
        raise TuneError(
            f"A model for users needs one classifier; here is {found}.",
            hint="Give a network with classes, or one without and a head from `classifier`.",
        )
    variant = network.variant
    make = LayerMaker(
        variant,
        dtype="float32",
        batch_norm_momentum=network.batch_norm_momentum,
        batch_norm_epsilon=network.batch_norm_epsilon,
    )
    layers = {layer.name: layer for layer in trunk_layers(variant, make)}
    top = network if head is None else head
    layers[CLASSIFIER] = classifier_layer(variant, top.classes, activation="softmax")

    images = keras.Input(image_shape, dtype="uint8", name="images")
    scaled = _preprocess(images, resolution, scaling=scaling, interpolation=interpolation)
    features = extract_features(variant, layers, _StockLayers(), scaled, drop=_keep)
    model = keras.Model(images, layers[CLASSIFIER](features), name=network.name)

    trained = {**network.layers_by_name, **({} if head is None else head.layers_by_name)}
    for name, layer in layers.items():
        for variable, source in zip(layer.variables, trained[name].variables, strict=True):
            # By way of NumPy: on JAX the trained value may lie on several devices.
            variable.assign(keras.ops.convert_to_numpy(keras.ops.convert_to_tensor(source)))
    return model


def _keep(block: Block, x: Any) -> Any:  # noqa: ARG001 - the signature of `Drop`
    """Stochastic depth in inference: nothing."""
    return x


def _preprocess(images: Any, resolution: int, *, scaling: Scaling, interpolation: str) -> Any:
    """`preprocessing.preprocess` in stock layers, operation by operation."""
    # Resizing rounds what it makes of whole numbers: so they become float32 first.
    x = keras.layers.Rescaling(1.0, name="to_float", **_PLAIN)(images)
    if x.shape[-1] == 1:
        x = keras.layers.Concatenate(name="grey_to_color", **_PLAIN)([x, x, x])
    if tuple(x.shape[1:3]) != (resolution, resolution):
        x = keras.layers.Resizing(
            resolution,
            resolution,
            interpolation=interpolation,
            antialias=False,
            data_format="channels_last",
            name="resize",
            **_PLAIN,
            # Left alone, Resizing says "training" to every layer after it when the model is called
            # without saying either: https://github.com/keras-team/keras/pull/23166. A call that
            # says training=True still trains.
        )(x, training=False)
    mean, divisor = SCALINGS[scaling]
    return keras.layers.Normalization(
        mean=list(mean), variance=[number**2 for number in divisor], name="scale", **_PLAIN
    )(x)
