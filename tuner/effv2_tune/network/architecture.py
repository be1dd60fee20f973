"""How an image goes through the layers of a variant: one definition for every kind of model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from effv2_tune.catalog import Block, Variant

    Layers = Mapping[str, Any]
    Drop = Callable[[Block, Any], Any]


class GlueOps(Protocol):
    """What lies between the layers with weights.

    `name` is the name that a layer for it would have. Tensors are [batch, height, width, channels].
    """

    def silu(self, x: Any, name: str) -> Any:
        """X times the sigmoid of x."""

    def pad(self, x: Any, name: str) -> Any:
        """A border of zeros, one pixel wide."""

    def squeeze(self, x: Any, name: str) -> Any:
        """The mean over height and width, which stay as axes of length 1."""

    def multiply(self, x: Any, gate: Any, name: str) -> Any:
        """X times the gate, which is [batch, 1, 1, channels]."""

    def add(self, x: Any, shortcut: Any, name: str) -> Any:
        """X plus the shortcut."""

    def pool(self, x: Any, name: str) -> Any:
        """The mean over height and width, [batch, channels] in float32."""


def extract_features(
    variant: Variant,
    layers: Layers,
    words: GlueOps,
    images: Any,
    *,
    drop: Drop,
    training: bool | None = None,
) -> Any:
    """Pooled features of scaled images.

    Args:
        variant: The network.
        layers: Its layers, by released name.
        words: What lies between them.
        images: [batch, height, width, 3], scaled as the weights expect.
        drop: What a residual block does to its branch before the shortcut is added.
        training: What batch normalization is told; None leaves it to Keras, for functional models.

    Returns:
        [batch, head_width], float32.
    """

    def normed(x: Any, conv: str, norm: str) -> Any:
        # `stateless_call` sets no call context: what is not said here would run as in inference.
        said = {} if training is None else {"training": training}
        return layers[norm](layers[conv](x), **said)

    x = images
    if variant.padding == "symmetric":
        x = words.pad(x, "stem_pad")
    x = normed(x, "stem_conv", "stem_bn")
    x = words.silu(x, "stem_swish")
    for block in variant.blocks:
        x = _run_block(block, layers, words, x, drop=drop, normed=normed, padding=variant.padding)
    x = normed(x, "post_conv", "post_bn")
    x = words.silu(x, "post_swish")
    return words.pool(x, "avg_pool")


def _run_block(
    block: Block,
    layers: Layers,
    words: GlueOps,
    inputs: Any,
    *,
    drop: Drop,
    normed: Callable[[Any, str, str], Any],
    padding: str,
) -> Any:
    name, x = block.name, inputs

    def padded(x: Any, part: str) -> Any:
        pads = padding == "symmetric" and block.stride > 1
        return words.pad(x, f"{name}{part}pad") if pads else x

    if block.kind == "fused" and block.expansion == 1:
        x = words.silu(
            normed(padded(x, "fu_"), f"{name}fu_conv", f"{name}fu_bn"), f"{name}fu_swish"
        )
    else:
        if block.kind == "fused":
            x = padded(x, "sortcut_")
        x = words.silu(
            normed(x, f"{name}sortcut_conv", f"{name}sortcut_bn"), f"{name}sortcut_swish"
        )
        if block.kind == "mbconv":
            x = normed(padded(x, "MB_dw_"), f"{name}MB_dw_", f"{name}MB_dw_bn")
            x = words.silu(x, f"{name}MB_dw_swish")
            gate = layers[f"{name}se_1_conv"](words.squeeze(x, f"{name}se_squeeze"))
            x = words.multiply(x, layers[f"{name}se_2_conv"](gate), f"{name}se_excite")
        x = normed(x, f"{name}MB_pw_conv", f"{name}MB_pw_bn")
    return words.add(drop(block, x), inputs, f"{name}add") if block.has_shortcut else x
