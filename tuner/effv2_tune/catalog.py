"""Lists the EfficientNetV2 variants, their cost and their weight files, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from effv2_tune.errors import TuneError, did_you_mean
from effv2_tune.tables import read_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Kind = Literal["fused", "mbconv"]
Padding = Literal["same", "symmetric"]
Scaling = Literal["torch", "tf"]
Layout = Literal["released", "keras"]

TOTAL_STRIDE = 32
MIN_RESOLUTION = 32
KERNEL_SIZE = 3

WEIGHT_SETS = ("imagenet", "imagenet21k", "imagenet21k-ft1k")
"""The sets of released weights, by name."""

KERAS_WEIGHTS = "imagenet-keras"
"""The `imagenet` files of `keras.applications`: another source of the same training."""

SCRATCH_SCALING: Scaling = "tf"
"""How inputs are scaled where training starts from random weights: x / 128 - 1."""

SCALINGS: Mapping[Scaling, tuple[tuple[float, float, float], tuple[float, float, float]]]
SCALINGS = MappingProxyType(
    {
        # (x / 255 - mean) / std with ImageNet's mean and std, in units of 0 to 255.
        "torch": (
            (0.485 * 255, 0.456 * 255, 0.406 * 255),
            (0.229 * 255, 0.224 * 255, 0.225 * 255),
        ),
        # x / 128 - 1. Also in circulation: x / 127.5 - 1; this is what the weights were trained on.
        "tf": ((128.0, 128.0, 128.0), (128.0, 128.0, 128.0)),
    }
)
"""For each scaling, the mean and the divisor of each channel of an image in 0 to 255."""


@dataclass(frozen=True)
class Stage:
    """A run of equal blocks; the first one changes width and size.

    Attributes:
        kind: `fused` (one 3x3 convolution widens) or `mbconv` (1x1, then 3x3 depthwise, with
            squeeze-and-excitation).
        stride: Stride of the first block; every later block has 1.
        expansion: How many times wider the inside of a block is than its input.
        width_in: Channels that enter the stage.
        width_out: Channels that leave each block.
        repeats: Number of blocks.
    """

    kind: Kind
    stride: int
    expansion: int
    width_in: int
    width_out: int
    repeats: int


@dataclass(frozen=True)
class Block:
    """One block of a variant, with all its properties.

    Attributes:
        name: Prefix of its layers, e.g. `stack_3_block0_`.
        stage: Stage it belongs to, from 0.
        position: Index among all blocks of the variant, from 0.
        kind: See `Stage`.
        stride: Stride of its 3x3 convolution.
        expansion: See `Stage`.
        width_in: Channels in.
        width_out: Channels out.
    """

    name: str
    stage: int
    position: int
    kind: Kind
    stride: int
    expansion: int
    width_in: int
    width_out: int

    @property
    def width_inside(self) -> int:
        """Channels of the widened part."""
        return self.width_in * self.expansion

    @property
    def squeeze_width(self) -> int:
        """Channels of the squeeze: a quarter of the channels that *enter* the block."""
        return max(1, self.width_in // 4)

    @property
    def has_shortcut(self) -> bool:
        """Whether the input is added to the output."""
        return self.stride == 1 and self.width_in == self.width_out


@dataclass(frozen=True)
class Variant:
    """A network of the family.

    Attributes:
        name: `b0` to `b3`, `t`, `s`, `m`, `l`, `xl`.
        stem_width: Channels of the first convolution.
        stages: What follows the stem.
        head_width: Channels of the last convolution, and so of the pooled features.
        native_resolution: Pixels at which the published accuracy was measured.
        train_resolution: Pixels at which the published weights were trained.
        dropout: Dropout rate before the classifier in the published training.
        imagenet_top1: Top-1 accuracy of the released `imagenet` weights, from 0 to 1 (README of
            keras_efficientnet_v2); None where none were released.
        batch_norm_epsilon: Added to the variance in batch normalization.
        padding: `same` as TensorFlow does it, or `symmetric` zeros as PyTorch does.
    """

    name: str
    stem_width: int
    stages: tuple[Stage, ...]
    head_width: int
    native_resolution: int
    train_resolution: int
    dropout: float
    imagenet_top1: float | None
    batch_norm_epsilon: float = 1e-3
    padding: Padding = "same"

    @property
    def blocks(self) -> tuple[Block, ...]:
        """Every block, from the input to the output."""
        return tuple(_blocks(self))


def _blocks(variant: Variant) -> Iterator[Block]:
    position = 0
    for number, stage in enumerate(variant.stages):
        for repeat in range(stage.repeats):
            first = repeat == 0
            yield Block(
                name=f"stack_{number}_block{repeat}_",
                stage=number,
                position=position,
                kind=stage.kind,
                stride=stage.stride if first else 1,
                expansion=stage.expansion,
                width_in=stage.width_in if first else stage.width_out,
                width_out=stage.width_out,
            )
            position += 1


def _stages(widths: tuple[int, ...], repeats: tuple[int, ...]) -> tuple[Stage, ...]:
    """The family's sequence of kinds, strides and expansions, at these widths and depths."""
    kinds: tuple[tuple[Kind, int, int], ...] = (
        ("fused", 1, 1),
        ("fused", 2, 4),
        ("fused", 2, 4),
        ("mbconv", 2, 4),
        ("mbconv", 1, 6),
        ("mbconv", 2, 6),
        ("mbconv", 1, 6),
    )
    return tuple(
        Stage(kind, stride, expansion, width_in, width_out, repeat)
        for (kind, stride, expansion), width_in, width_out, repeat in zip(
            kinds, widths, widths[1:], repeats, strict=False
        )
    )


def _variant(row: Mapping[str, str]) -> Variant:
    widths = tuple(map(int, row["widths"].split()))
    return Variant(
        row["name"],
        stem_width=widths[0],
        stages=_stages(widths, tuple(map(int, row["repeats"].split()))),
        head_width=int(row["head_width"]),
        native_resolution=int(row["native_resolution"]),
        train_resolution=int(row["train_resolution"]),
        dropout=float(row["dropout"]),
        imagenet_top1=_accuracy(row["imagenet_top1"]),
        batch_norm_epsilon=float(row["batch_norm_epsilon"]),
        padding="symmetric" if row["padding"] == "symmetric" else "same",
    )


def _accuracy(text: str) -> float | None:
    return float(text) if text else None


# Widths begin with the stem's. google/automl, efficientnetv2/effnetv2_configs.py; B1 to B3 are B0
# times (1.0, 1.1), (1.1, 1.2), (1.2, 1.4) in width and depth, rounded to 8 without a lower guard.
# T is timm's efficientnetv2_rw_t, as released by keras_efficientnet_v2.
VARIANTS: Mapping[str, Variant] = MappingProxyType(
    {row["name"]: _variant(row) for row in read_table("variants")}
)
"""The nine networks of the family, by name."""

TINY = Variant(
    "tiny",
    stem_width=8,
    stages=(
        Stage("fused", 1, 1, 8, 8, 2),
        Stage("fused", 2, 4, 8, 8, 1),
        Stage("mbconv", 2, 4, 8, 16, 2),
    ),
    head_width=32,
    native_resolution=32,
    train_resolution=32,
    dropout=0.2,
    imagenet_top1=None,
)
"""A network with every kind of block that trains in seconds: for tests and self-tests."""


def find_variant(name: str) -> Variant:
    """The variant called `name`: one of `VARIANTS`, or `tiny`, which tests and self-tests use.

    Raises:
        TuneError: No variant has this name.
    """
    if name == TINY.name:
        return TINY
    if name not in VARIANTS:
        raise TuneError(
            f"No EfficientNetV2 variant is called {name!r}{did_you_mean(name, VARIANTS) or '.'}",
            hint=f"There are: {', '.join(VARIANTS)}.",
        )
    return VARIANTS[name]


# --- cost -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Convolution:
    """A convolution with batch normalization: what it costs.

    Attributes:
        kernel_size: Rows and columns of the kernel.
        inputs_per_output: Channels that an output channel is computed from.
        width_out: Output channels.
        side: Rows and columns of the output.
        zeros: Taps of the kernel's rows that are in the padding, over all rows of the output.
    """

    kernel_size: int
    inputs_per_output: int
    width_out: int
    side: int
    zeros: int = 0

    @property
    def pixels(self) -> int:
        """Of the output."""
        return self.side**2

    @property
    def macs(self) -> int:
        """Multiply-accumulates."""
        return self.kernel_size**2 * self.inputs_per_output * self.width_out * self.pixels

    @property
    def valid_macs(self) -> int:
        """Multiply-accumulates without those of the padding."""
        taps = self.kernel_size * self.side - self.zeros
        return taps**2 * self.inputs_per_output * self.width_out


def _convolutions(variant: Variant, resolution: int) -> Iterator[_Convolution]:
    side = _halved(resolution)
    yield _Convolution(KERNEL_SIZE, 3, variant.stem_width, side, _zeros(resolution, 2))
    for block in variant.blocks:
        before, side = side, side if block.stride == 1 else _halved(side)
        zeros = _zeros(before, block.stride)
        if block.kind == "fused":
            wide = block.width_out if block.expansion == 1 else block.width_inside
            yield _Convolution(KERNEL_SIZE, block.width_in, wide, side, zeros)
        else:
            yield _Convolution(1, block.width_in, block.width_inside, before)
            yield _Convolution(KERNEL_SIZE, 1, block.width_inside, side, zeros)
        if not (block.kind == "fused" and block.expansion == 1):
            yield _Convolution(1, block.width_inside, block.width_out, side)
    yield _Convolution(1, variant.stages[-1].width_out, variant.head_width, side)


def _zeros(side: int, stride: int) -> int:
    """Taps of a kernel of 3 that are in the padding, along one axis of an image of this side."""
    # With stride 2 and an even side, one of the two paddings is not reached.
    return 1 if stride != 1 and side % 2 == 0 else 2


def _halved(side: int) -> int:
    # Both paddings give ceil(side / 2) at stride 2.
    return -(-side // 2)


def _squeezes(variant: Variant) -> Iterator[tuple[int, int]]:
    """(channels, squeezed channels) of every squeeze-and-excitation."""
    for block in variant.blocks:
        if block.kind == "mbconv":
            yield block.width_inside, block.squeeze_width


def count_parameters(variant: Variant, classes: int | None = None) -> int:
    """Number of weights, moving statistics included.

    Args:
        variant: The network.
        classes: Outputs of the classifier; None for the network without one.
    """
    convolutions = sum(
        conv.kernel_size**2 * conv.inputs_per_output * conv.width_out + 4 * conv.width_out
        for conv in _convolutions(variant, MIN_RESOLUTION)
    )
    squeezes = sum(2 * wide * narrow + wide + narrow for wide, narrow in _squeezes(variant))
    classifier = (variant.head_width + 1) * classes if classes else 0
    return convolutions + squeezes + classifier


def count_moving_statistics(variant: Variant) -> int:
    """Number of weights that no gradient changes: means and variances of batch normalization."""
    return sum(2 * conv.width_out for conv in _convolutions(variant, MIN_RESOLUTION))


def count_macs(variant: Variant, resolution: int, classes: int = 1000) -> int:
    """Multiply-accumulates of a forward pass over one image: convolutions, squeezes, classifier.

    Args:
        variant: The network.
        resolution: Side of the square image, in pixels.
        classes: Outputs of the classifier.
    """
    return sum(conv.macs for conv in _convolutions(variant, resolution)) + _products(
        variant, classes
    )


def count_valid_macs(variant: Variant, resolution: int, classes: int = 1000) -> int:
    """The same without the padding of images, as XLA counts them."""
    return sum(conv.valid_macs for conv in _convolutions(variant, resolution)) + _products(
        variant, classes
    )


def _products(variant: Variant, classes: int) -> int:
    """Multiply-accumulates of squeezes and classifier."""
    squeezes = sum(2 * wide * narrow for wide, narrow in _squeezes(variant))
    return squeezes + variant.head_width * classes


def count_activations(variant: Variant, resolution: int, classes: int = 1000) -> int:
    """Output values of all convolutions and the classifier for one image (timm's count).

    Args:
        variant: The network.
        resolution: Side of the square image, in pixels.
        classes: Outputs of the classifier.
    """
    convolutions = sum(conv.width_out * conv.pixels for conv in _convolutions(variant, resolution))
    return convolutions + sum(wide + narrow for wide, narrow in _squeezes(variant)) + classes


def convolution_outputs(variant: Variant, resolution: int) -> Iterator[tuple[int, int]]:
    """Channels and pixels of the output of every convolution, each before a batch normalization.

    Args:
        variant: The network.
        resolution: Side of the square image, in pixels.
    """
    return ((conv.width_out, conv.pixels) for conv in _convolutions(variant, resolution))


def count_widest_activation(variant: Variant, resolution: int) -> int:
    """Output values of the convolution with the largest output for one image.

    Args:
        variant: The network.
        resolution: Side of the square image, in pixels.
    """
    return max(conv.width_out * conv.pixels for conv in _convolutions(variant, resolution))


# --- weight files ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class WeightFile:
    """A file of trained weights that can be downloaded.

    Attributes:
        variant: Name of the variant.
        weights: Name of the weight set: one of `WEIGHT_SETS`, or `KERAS_WEIGHTS`.
        url: Its address.
        md5: Checksum of its bytes, in hexadecimal.
        scaling: How input images must be scaled.
        classes: Outputs of the classifier in the file.
        layout: The layer names that the file uses.
        top1: ImageNet top-1 accuracy at the native resolution, from 0 to 1, where measured.
    """

    variant: str
    weights: str
    url: str
    md5: str
    scaling: Scaling
    classes: int
    layout: Layout
    top1: float | None

    @property
    def file_name(self) -> str:
        """Last part of the URL."""
        return self.url.rsplit("/", 1)[-1]


_URLS: Mapping[Layout, str] = {
    "released": "https://github.com/leondgarse/keras_efficientnet_v2/releases/download/"
    "effnetv2_pretrained/",
    "keras": "https://storage.googleapis.com/tensorflow/keras-applications/efficientnet_v2/",
}


def _weight_file(row: Mapping[str, str]) -> WeightFile:
    layout: Layout = "keras" if row["layout"] == "keras" else "released"
    return WeightFile(
        variant=row["variant"],
        weights=row["weights"],
        url=_URLS[layout] + row["file_name"],
        md5=row["md5"],
        scaling="torch" if row["scaling"] == "torch" else "tf",
        classes=int(row["classes"]),
        layout=layout,
        top1=_accuracy(row["top1"]),
    )


# Checksums: FILE_HASH_DICT of keras_efficientnet_v2 1.2.2 and WEIGHTS_HASHES of Keras,
# applications/efficientnet_v2.py (the files with a classifier). Top-1: README of
# keras_efficientnet_v2. B0 to B3 were trained with the recipe of the first EfficientNet and T with
# PyTorch, hence their scaling.
WEIGHT_FILES: Mapping[tuple[str, str], WeightFile] = MappingProxyType(
    {(row["variant"], row["weights"]): _weight_file(row) for row in read_table("weight_files")}
)
"""Every file of trained weights, by (variant, weight set)."""


def weight_sets_of(variant: str) -> tuple[str, ...]:
    """Names of the weight sets that exist for `variant`."""
    return tuple(weights for name, weights in WEIGHT_FILES if name == variant)


def find_weight_file(variant: str, weights: str) -> WeightFile:
    """The file of trained weights called `weights` of `variant`.

    Raises:
        TuneError: There is no such variant or weight set, or it was never released for this
            variant; the hint lists what exists.
    """
    find_variant(variant)
    known = (*WEIGHT_SETS, KERAS_WEIGHTS)
    if weights not in known:
        raise TuneError(
            f"No weight set is called {weights!r}{did_you_mean(weights, known) or '.'}",
            hint=f"There are: {', '.join(known)}; or a path to a .h5, .weights.h5 or .keras file.",
        )
    if (variant, weights) not in WEIGHT_FILES:
        existing = weight_sets_of(variant)
        others = [name for name in VARIANTS if (name, weights) in WEIGHT_FILES]
        raise TuneError(
            f"The weights {weights!r} of variant {variant!r} were never released.",
            hint=f"For {variant!r} there is {', '.join(existing) or 'none'}; "
            f"{weights!r} exists for {', '.join(others)}.",
        )
    return WEIGHT_FILES[variant, weights]
