"""Builds functional Keras models of a variant from stock layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import keras

from effv2_tune.catalog import SCALINGS
from effv2_tune.errors import TuneError
from effv2_tune.network.architecture import feature_map
from effv2_tune.network.build import check_rates, check_resolution, resolve_variant
from effv2_tune.network.initializers import initialise_layers
from effv2_tune.network.layers import CLASSIFIER, LayerMaker, network_layers
from effv2_tune.network.pretrained.weights import fill_layers, input_scaling
from effv2_tune.network.stages import freeze_stages

if TYPE_CHECKING:
    from effv2_tune.catalog import Block, Scaling, Variant
    from effv2_tune.network.architecture import Drop, Layers
    from effv2_tune.network.stages import TrainableFrom
    from effv2_tune.tensor import Tensor

Pooling: TypeAlias = Literal["avg", "max"]

_LAST = {"data_format": "channels_last"}
_POOLS = {
    "avg": keras.layers.GlobalAveragePooling2D,
    "max": keras.layers.GlobalMaxPooling2D,
}


class StockLayers:
    """Implements `GlueOps` by stock Keras layers.

    Args:
        dtype: Keras dtype policy or its name.
    """

    def __init__(self, dtype: Any) -> None:
        self._dtype = {"dtype": dtype}

    def silu(self, x: Tensor, name: str) -> Tensor:
        """X times the sigmoid of x."""
        return keras.layers.Activation("silu", name=name, **self._dtype)(x)

    def pad(self, x: Tensor, name: str) -> Tensor:
        """Add a border of zeros, one pixel wide."""
        return keras.layers.ZeroPadding2D(1, name=name, **_LAST, **self._dtype)(x)

    def squeeze(self, x: Tensor, name: str) -> Tensor:
        """Average over height and width, which stay as axes of length 1."""
        pool = keras.layers.GlobalAveragePooling2D
        return pool(keepdims=True, name=name, **_LAST, **self._dtype)(x)

    def multiply(self, x: Tensor, gate: Tensor, name: str) -> Tensor:
        """X times the gate."""
        return keras.layers.Multiply(name=name, **self._dtype)([x, gate])

    def add(self, x: Tensor, shortcut: Tensor, name: str) -> Tensor:
        """X plus the shortcut."""
        return keras.layers.Add(name=name, **self._dtype)([x, shortcut])


def efficientnet_v2(
    variant: str | Variant,
    *,
    include_top: bool = True,
    weights: str | None = None,
    input_shape: tuple[int | None, int | None, int] | None = None,
    pooling: Pooling | None = None,
    classes: int = 1000,
    classifier_activation: str | None = "softmax",
    include_preprocessing: bool = True,
    dropout: float | None = None,
    stochastic_depth: float = 0.2,
    trainable_from: TrainableFrom = 0,
    seed: int = 0,
    dtype: Any = None,
    name: str | None = None,
) -> Any:
    """Build an EfficientNetV2 (Tan and Le, arXiv 2104.00298) as a functional Keras model.

    The arguments of `keras.applications` mean what they mean there. All layers are stock Keras
    layers with the names of the released files: `post_swish` gives the last feature map, `avg_pool`
    the features, `predictions` is the classifier. A seed gives the same weights on every backend.

    Args:
        variant: A name in `catalog.VARIANTS`, `tiny`, or a `catalog.Variant`.
        include_top: Whether pooling, dropout and the classifier are part of the model.
        weights: Name of a weight set such as `imagenet`, or the path of a weight file, as in
            `load_weights`; None for random ones. A classifier of another number of classes stays
            random, where keras.applications raises an error.
        input_shape: Height, width (32 or more, or None for any) and 3; by default the variant's
            native resolution with the top, any size without.
        pooling: Without the top: `avg` or `max` for features [batch, head_width], None for the
            feature map [batch, height / 32, width / 32, head_width].
        classes: Outputs of the classifier.
        classifier_activation: None for logits.
        include_preprocessing: Whether the model scales its images itself, by the statistics that
            its weights expect. Otherwise they must be scaled (`preprocess`).
        dropout: Rate before the classifier; None for that of the published training.
        stochastic_depth: Rate that the blocks approach linearly, from 0 at the first one.
        trainable_from: First stage that is trained, as in `training_network`.
        seed: Of the initial weights and of all randomness in training.
        dtype: Keras dtype policy or its name, e.g. `mixed_bfloat16`; None for the global one.
        name: Of the model.

    Returns:
        A model from images [batch, height, width, 3] in 0 to 255 (any dtype) to probabilities
        [batch, classes], float32.

    Raises:
        TuneError: An argument is unknown or out of range, or the weights cannot be loaded.
    """
    found = resolve_variant(variant)
    rate = found.dropout if dropout is None else dropout
    check_rates(dropout=rate, stochastic_depth=stochastic_depth)
    _check_pooling(pooling)
    policy = keras.dtype_policies.get(dtype or keras.config.dtype_policy())
    layers = network_layers(
        found,
        LayerMaker(found, dtype=policy),
        classes=classes if include_top else None,
        activation=classifier_activation,
    )
    initialise_layers(layers, seed=seed)
    if weights is not None:
        fill_layers(layers, found, weights)
    first = freeze_stages(layers, found, trainable_from)

    images = keras.Input(_image_shape(input_shape, found, include_top=include_top), name="images")
    x = scale(images, input_scaling(found.name, weights)) if include_preprocessing else images
    drop = _stochastic_depth(found, stochastic_depth, first_stage=first, seed=seed, dtype=policy)
    x = feature_map(found, layers, StockLayers(policy), x, drop=drop)
    if include_top:
        x = classify(pool(x), layers, dropout=rate, seed=seed)
    elif pooling is not None:
        x = pool(x, pooling)
    return keras.Model(images, x, name=name or f"efficientnetv2_{found.name}")


def scale(images: Tensor, scaling: Scaling) -> Tensor:
    """Scale images in 0 to 255 by the layer `scale`, in float32 under every dtype policy."""
    mean, divisor = SCALINGS[scaling]
    variance = [deviation**2 for deviation in divisor]
    return keras.layers.Normalization(
        mean=list(mean), variance=variance, name="scale", dtype="float32"
    )(images)


def pool(x: Tensor, pooling: Pooling = "avg") -> Tensor:
    """Pool a feature map to [batch, channels], in float32 under every dtype policy."""
    return _POOLS[pooling](name=f"{pooling}_pool", **_LAST, dtype="float32")(x)


def classify(features: Tensor, layers: Layers, *, dropout: float = 0.0, seed: int = 0) -> Tensor:
    """Apply the classifier head to pooled features."""
    if dropout:
        layer = keras.layers.Dropout(dropout, seed=seed, name="top_dropout", dtype="float32")
        features = layer(features)
    return layers[CLASSIFIER](features)


def _stochastic_depth(
    variant: Variant, rate: float, *, first_stage: int, seed: int, dtype: Any
) -> Drop:
    """Drop residual branches by a `Dropout` layer each; stages that are not trained have none."""

    def drop(block: Block, x: Tensor) -> Tensor:
        # google/automl, effnetv2_model.py: linearly over all blocks, residual or not.
        block_rate = rate * block.position / len(variant.blocks)
        if not block_rate or block.stage < first_stage:
            return x
        return keras.layers.Dropout(
            block_rate,
            noise_shape=(None, 1, 1, 1),
            seed=seed + block.position,
            name=f"{block.name}drop",
            dtype=dtype,
        )(x)

    return drop


def _image_shape(
    shape: tuple[int | None, int | None, int] | None, variant: Variant, *, include_top: bool
) -> tuple[int | None, int | None, int]:
    if shape is None:
        side = variant.native_resolution if include_top else None
        return side, side, 3
    if len(shape) != 3 or shape[-1] != 3:  # noqa: PLR2004 - height, width, RGB
        raise TuneError(
            f"input_shape: {shape} is not (height, width, 3).",
            hint="EfficientNetV2 takes RGB images, channels last.",
        )
    for side in shape[:2]:
        if side is not None:
            check_resolution(side)
    return shape


def _check_pooling(pooling: str | None) -> None:
    if pooling not in {None, *_POOLS}:
        raise TuneError(
            f"There is no pooling {pooling!r}.", hint=f"Use {' or '.join(_POOLS)}, or None."
        )
