"""Creates the layers of a variant that have weights, under the released names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from effv2_tune.catalog import KERNEL_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from effv2_tune.catalog import Block, Variant

CLASSIFIER = "predictions"


# google/automl, efficientnetv2/effnetv2_model.py: conv_ and dense_kernel_initializer.
_CONVOLUTION = keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")
_CLASSIFIER = keras.initializers.VarianceScaling(1 / 3, "fan_out", "uniform")


@dataclass(frozen=True)
class LayerKinds:
    """Classes of layers: stock ones, or faster subclasses that compute the same."""

    depthwise: type = keras.layers.DepthwiseConv2D
    batch_norm: type = keras.layers.BatchNormalization


class LayerMaker:
    """Creates built layers with zeros for weights; `initialise` or a weight file fills them.

    Their configs show the initializers of the published training.

    Args:
        variant: The network that the layers are for.
        dtype: Keras dtype policy, or its name.
        batch_norm_momentum: Share of the old moving average that each step keeps.
        batch_norm_epsilon: Added to the variance in batch normalization; None for the variant's
            own.
        kinds: Classes of the layers that have a faster subclass.
    """

    def __init__(
        self,
        variant: Variant,
        *,
        dtype: Any,
        batch_norm_momentum: float = 0.9,
        batch_norm_epsilon: float | None = None,
        kinds: LayerKinds | None = None,
    ) -> None:
        self._kinds = kinds or LayerKinds()
        self._symmetric = variant.padding == "symmetric"
        self._options = {"dtype": dtype, "data_format": "channels_last"}
        epsilon = variant.batch_norm_epsilon if batch_norm_epsilon is None else batch_norm_epsilon
        self._batch_norm = {"momentum": batch_norm_momentum, "epsilon": epsilon, "dtype": dtype}

    def convolution(
        self,
        name: str,
        width_in: int,
        width_out: int,
        *,
        kernel_size: int = 1,
        stride: int = 1,
        activation: str | None = None,
        use_bias: bool = False,
    ) -> Any:
        """A convolution, without bias by default."""
        layer = keras.layers.Conv2D(
            width_out,
            kernel_size,
            strides=stride,
            padding=self._padding(stride),
            activation=activation,
            use_bias=use_bias,
            kernel_initializer=_CONVOLUTION,
            name=name,
            **self._options,
        )
        return _built(layer, (None, None, None, width_in))

    def depthwise(self, name: str, width: int, *, stride: int) -> Any:
        """A 3x3 depthwise convolution without bias."""
        layer = self._kinds.depthwise(
            KERNEL_SIZE,
            strides=stride,
            padding=self._padding(stride),
            use_bias=False,
            depthwise_initializer=_CONVOLUTION,
            name=name,
            **self._options,
        )
        return _built(layer, (None, None, None, width))

    def batch_norm(self, name: str, width: int) -> Any:
        """A batch normalization over channels, which come last."""
        layer = self._kinds.batch_norm(name=name, **self._batch_norm)
        return _built(layer, (None, None, None, width))

    def gate(self, name: str, width_in: int, width_out: int, *, activation: str) -> Any:
        """A 1x1 convolution with bias and activation, of squeeze-and-excitation."""
        return self.convolution(name, width_in, width_out, activation=activation, use_bias=True)

    def _padding(self, stride: int) -> str:
        # At stride 1 both paddings are the same; at stride 2, zeros are padded beforehand.
        return "valid" if self._symmetric and stride > 1 else "same"


def _built(layer: Any, input_shape: tuple[int | None, ...]) -> Any:
    """Build a layer with zeros of NumPy: on JAX, an initializer is compiled for each new shape."""
    initializers = {name: value for name, value in vars(layer).items() if "_initializer" in name}
    for name in initializers:
        setattr(layer, name, _zeros)
    layer.build(input_shape)
    for name, initializer in initializers.items():
        setattr(layer, name, initializer)
    return layer


def _zeros(shape: tuple[int, ...], dtype: str | None = None) -> np.ndarray[Any, Any]:
    return np.zeros(shape, dtype or "float32")


def classifier_layer(variant: Variant, classes: int, *, activation: str | None) -> Any:
    """Create the classifier: pooled features to classes, in float32 under every dtype policy."""
    layer = keras.layers.Dense(
        classes,
        activation=activation,
        kernel_initializer=_CLASSIFIER,
        dtype="float32",
        name=CLASSIFIER,
    )
    return _built(layer, (None, variant.head_width))


def network_layers(
    variant: Variant, make: LayerMaker, *, classes: int | None, activation: str | None
) -> dict[str, Any]:
    """Create every layer with weights, by released name; without a classifier for None classes."""
    layers = {layer.name: layer for layer in _backbone_layers(variant, make)}
    if classes is not None:
        layers[CLASSIFIER] = classifier_layer(variant, classes, activation=activation)
    return layers


def _backbone_layers(variant: Variant, make: LayerMaker) -> Iterator[Any]:
    """Create the layers from the stem to the last convolution, in the order of the files."""
    yield make.convolution("stem_conv", 3, variant.stem_width, kernel_size=KERNEL_SIZE, stride=2)
    yield make.batch_norm("stem_bn", variant.stem_width)
    for block in variant.blocks:
        yield from _block_layers(block, make)
    yield make.convolution("post_conv", variant.stages[-1].width_out, variant.head_width)
    yield make.batch_norm("post_bn", variant.head_width)


def _block_layers(block: Block, make: LayerMaker) -> Iterator[Any]:
    name, wide = block.name, block.width_inside
    fused: dict[str, Any] = {"kernel_size": KERNEL_SIZE, "stride": block.stride}
    if block.kind == "fused" and block.expansion == 1:
        yield make.convolution(f"{name}fu_conv", block.width_in, block.width_out, **fused)
        yield make.batch_norm(f"{name}fu_bn", block.width_out)
        return
    # The released files really spell it "sortcut".
    if block.kind == "fused":
        yield make.convolution(f"{name}sortcut_conv", block.width_in, wide, **fused)
        yield make.batch_norm(f"{name}sortcut_bn", wide)
    else:
        yield make.convolution(f"{name}sortcut_conv", block.width_in, wide)
        yield make.batch_norm(f"{name}sortcut_bn", wide)
        yield make.depthwise(f"{name}MB_dw_", wide, stride=block.stride)
        yield make.batch_norm(f"{name}MB_dw_bn", wide)
        yield make.gate(f"{name}se_1_conv", wide, block.squeeze_width, activation="silu")
        yield make.gate(f"{name}se_2_conv", block.squeeze_width, wide, activation="sigmoid")
    yield make.convolution(f"{name}MB_pw_conv", wide, block.width_out)
    yield make.batch_norm(f"{name}MB_pw_bn", block.width_out)
