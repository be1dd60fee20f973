"""Defines the forward pass of a variant, once for every kind of model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from effv2_tune.catalog import Block, Variant
    from effv2_tune.tensor import Tensor

    Layers = Mapping[str, Any]
    Drop = Callable[[Block, Tensor], Tensor]


class GlueOps(Protocol):
    """The operations between the layers with weights.

    `name` is the name of the layer where the operation is one. Tensors are [batch, height, width,
    channels].
    """

    def silu(self, x: Tensor, name: str) -> Tensor:
        """X times the sigmoid of x."""

    def pad(self, x: Tensor, name: str) -> Tensor:
        """Add a border of zeros, one pixel wide."""

    def squeeze(self, x: Tensor, name: str) -> Tensor:
        """Average over height and width, which stay as axes of length 1."""

    def multiply(self, x: Tensor, gate: Tensor, name: str) -> Tensor:
        """X times the gate, which is [batch, 1, 1, channels]."""

    def add(self, x: Tensor, shortcut: Tensor, name: str) -> Tensor:
        """X plus the shortcut."""


def feature_map(
    variant: Variant,
    layers: Layers,
    glue: GlueOps,
    images: Tensor,
    *,
    drop: Drop = lambda _, x: x,
    training: bool | None = None,
) -> Tensor:
    """Run the backbone: scaled images to the feature map before pooling.

    Args:
        variant: The network.
        layers: Its layers with weights, by released name.
        glue: The operations between them.
        images: [batch, height, width, 3], scaled as the weights expect.
        drop: Stochastic depth: applied to a residual branch before the shortcut is added; by
            default it changes nothing.
        training: The `training` argument of batch normalization; None leaves it to Keras, for
            functional models.

    Returns:
        [batch, height / 32, width / 32, head_width], rounded up.
    """

    def normed(x: Tensor, conv: str, norm: str) -> Tensor:
        # `stateless_call` sets no call context: without the argument, inference is the default.
        mode = {} if training is None else {"training": training}
        return layers[norm](layers[conv](x), **mode)

    x = images
    if variant.padding == "symmetric":
        x = glue.pad(x, "stem_pad")
    x = normed(x, "stem_conv", "stem_bn")
    x = glue.silu(x, "stem_swish")
    for block in variant.blocks:
        x = _run_block(block, layers, glue, x, drop=drop, normed=normed, padding=variant.padding)
    x = normed(x, "post_conv", "post_bn")
    return glue.silu(x, "post_swish")


def _run_block(
    block: Block,
    layers: Layers,
    glue: GlueOps,
    inputs: Tensor,
    *,
    drop: Drop,
    normed: Callable[[Tensor, str, str], Tensor],
    padding: str,
) -> Tensor:
    name, x = block.name, inputs

    def padded(x: Tensor, part: str) -> Tensor:
        pads = padding == "symmetric" and block.stride > 1
        return glue.pad(x, f"{name}{part}pad") if pads else x

    if block.kind == "fused" and block.expansion == 1:
        x = glue.silu(normed(padded(x, "fu_"), f"{name}fu_conv", f"{name}fu_bn"), f"{name}fu_swish")
    else:
        if block.kind == "fused":
            x = padded(x, "sortcut_")
        x = glue.silu(normed(x, f"{name}sortcut_conv", f"{name}sortcut_bn"), f"{name}sortcut_swish")
        if block.kind == "mbconv":
            x = normed(padded(x, "MB_dw_"), f"{name}MB_dw_", f"{name}MB_dw_bn")
            x = glue.silu(x, f"{name}MB_dw_swish")
            gate = layers[f"{name}se_1_conv"](glue.squeeze(x, f"{name}se_squeeze"))
            x = glue.multiply(x, layers[f"{name}se_2_conv"](gate), f"{name}se_excite")
        x = normed(x, f"{name}MB_pw_conv", f"{name}MB_pw_bn")
    return glue.add(drop(block, x), inputs, f"{name}add") if block.has_shortcut else x
