"""Lists the EfficientNetV2 variants, their cost and their weight files, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from effv2_tune.errors import TuneError, did_you_mean

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


# Widths begin with the stem's. google/automl, efficientnetv2/effnetv2_configs.py; B1 to B3 are B0
# times (1.0, 1.1), (1.1, 1.2), (1.2, 1.4) in width and depth, rounded to 8 without a lower guard.
# T is timm's efficientnetv2_rw_t, as released by keras_efficientnet_v2.
VARIANTS: Mapping[str, Variant] = MappingProxyType(
    {
        variant.name: variant
        for variant in (
            Variant(
                "b0",
                stem_width=32,
                stages=_stages((32, 16, 32, 48, 96, 112, 192), (1, 2, 2, 3, 5, 8)),
                head_width=1280,
                native_resolution=224,
                train_resolution=192,
                dropout=0.2,
                imagenet_top1=0.78748,
            ),
            Variant(
                "b1",
                stem_width=32,
                stages=_stages((32, 16, 32, 48, 96, 112, 192), (2, 3, 3, 4, 6, 9)),
                head_width=1280,
                native_resolution=240,
                train_resolution=192,
                dropout=0.2,
                imagenet_top1=0.7987,
            ),
            Variant(
                "b2",
                stem_width=32,
                stages=_stages((32, 16, 32, 56, 104, 120, 208), (2, 3, 3, 4, 6, 10)),
                head_width=1408,
                native_resolution=260,
                train_resolution=208,
                dropout=0.3,
                imagenet_top1=0.80642,
            ),
            Variant(
                "b3",
                stem_width=40,
                stages=_stages((40, 16, 40, 56, 112, 136, 232), (2, 3, 3, 5, 7, 12)),
                head_width=1536,
                native_resolution=300,
                train_resolution=240,
                dropout=0.3,
                imagenet_top1=0.82098,
            ),
            Variant(
                "t",
                stem_width=24,
                stages=_stages((24, 24, 40, 48, 104, 128, 208), (2, 4, 4, 6, 9, 14)),
                head_width=1024,
                native_resolution=320,
                train_resolution=224,
                dropout=0.2,
                imagenet_top1=0.82506,
                batch_norm_epsilon=1e-5,
                padding="symmetric",
            ),
            Variant(
                "s",
                stem_width=24,
                stages=_stages((24, 24, 48, 64, 128, 160, 256), (2, 4, 4, 6, 9, 15)),
                head_width=1280,
                native_resolution=384,
                train_resolution=300,
                dropout=0.2,
                imagenet_top1=0.8386,
            ),
            Variant(
                "m",
                stem_width=24,
                stages=_stages((24, 24, 48, 80, 160, 176, 304, 512), (3, 5, 5, 7, 14, 18, 5)),
                head_width=1280,
                native_resolution=480,
                train_resolution=384,
                dropout=0.3,
                imagenet_top1=0.8509,
            ),
            Variant(
                "l",
                stem_width=32,
                stages=_stages((32, 32, 64, 96, 192, 224, 384, 640), (4, 7, 7, 10, 19, 25, 7)),
                head_width=1280,
                native_resolution=480,
                train_resolution=384,
                dropout=0.4,
                imagenet_top1=0.855,
            ),
            Variant(
                "xl",
                stem_width=32,
                stages=_stages((32, 32, 64, 96, 192, 256, 512, 640), (4, 8, 8, 16, 24, 32, 8)),
                head_width=1280,
                native_resolution=512,
                train_resolution=384,
                dropout=0.4,
                imagenet_top1=None,
            ),
        )
    }
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
    """A convolution with batch normalization: what it costs."""

    kernel_size: int
    inputs_per_output: int
    width_out: int
    pixels: int


def _convolutions(variant: Variant, resolution: int) -> Iterator[_Convolution]:
    side = _halved(resolution)
    yield _Convolution(KERNEL_SIZE, 3, variant.stem_width, side**2)
    for block in variant.blocks:
        before, side = side, side if block.stride == 1 else _halved(side)
        if block.kind == "fused":
            wide = block.width_out if block.expansion == 1 else block.width_inside
            yield _Convolution(KERNEL_SIZE, block.width_in, wide, side**2)
        else:
            yield _Convolution(1, block.width_in, block.width_inside, before**2)
            yield _Convolution(KERNEL_SIZE, 1, block.width_inside, side**2)
        if not (block.kind == "fused" and block.expansion == 1):
            yield _Convolution(1, block.width_inside, block.width_out, side**2)
    yield _Convolution(1, variant.stages[-1].width_out, variant.head_width, side**2)


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
    convolutions = sum(
        conv.kernel_size**2 * conv.inputs_per_output * conv.width_out * conv.pixels
        for conv in _convolutions(variant, resolution)
    )
    squeezes = sum(2 * wide * narrow for wide, narrow in _squeezes(variant))
    return convolutions + squeezes + variant.head_width * classes


def count_activations(variant: Variant, resolution: int, classes: int = 1000) -> int:
    """Output values of all convolutions and the classifier for one image (timm's count).

    Args:
        variant: The network.
        resolution: Side of the square image, in pixels.
        classes: Outputs of the classifier.
    """
    convolutions = sum(conv.width_out * conv.pixels for conv in _convolutions(variant, resolution))
    return convolutions + sum(wide + narrow for wide, narrow in _squeezes(variant)) + classes


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


_RELEASED_URL = (
    "https://github.com/leondgarse/keras_efficientnet_v2/releases/download/effnetv2_pretrained/"
)
_KERAS_URL = "https://storage.googleapis.com/tensorflow/keras-applications/efficientnet_v2/"
_SUFFIXES = {"imagenet": "imagenet", "imagenet21k": "21k", "imagenet21k-ft1k": "21k-ft1k"}
_CLASSES = {"imagenet": 1000, "imagenet21k": 21843, "imagenet21k-ft1k": 1000}

# keras_efficientnet_v2/efficientnet_v2.py, FILE_HASH_DICT, of release 1.2.2.
_RELEASED_MD5 = {
    ("b0", "imagenet"): "9abdc43cb00f4cb06a8bdae881f412d6",
    ("b0", "imagenet21k"): "5dbb4252df24b931e74cdd94d150f25a",
    ("b0", "imagenet21k-ft1k"): "4e4da4eb629897e4d6271e131039fe75",
    ("b1", "imagenet"): "5d4223b59ff268828d5112a1630e234e",
    ("b1", "imagenet21k"): "a50ae65b50ceff7f5283be2f4506d2c2",
    ("b1", "imagenet21k-ft1k"): "5f1aee82209f4f0f20bd24460270564e",
    ("b2", "imagenet"): "1814bc08d4bb7a5e0ed3ccfe1cf18650",
    ("b2", "imagenet21k"): "9f718a8bbb7b63c5313916c5e504790d",
    ("b2", "imagenet21k-ft1k"): "ec384b84441ddf6419938d1e5a0cbef2",
    ("b3", "imagenet"): "cda85b8494c7ec5a68dffb335a254bab",
    ("b3", "imagenet21k"): "ade5bdbbdf1d54c4561aa41511525855",
    ("b3", "imagenet21k-ft1k"): "4a27827b0b2df508bed31ae231003bb1",
    ("t", "imagenet"): "4a0ff9cb396665734d7ca590fa29681b",
    ("s", "imagenet"): "3b91df2c50c7a56071cca428d53b8c0d",
    ("s", "imagenet21k"): "10b05d878b64f796ab984a5316a4a1c3",
    ("s", "imagenet21k-ft1k"): "93046a0d601da46bfce9d4ca14224c83",
    ("m", "imagenet"): "ac3fd0ff91b35d18d1df8f1895efe1d5",
    ("m", "imagenet21k"): "3923c286366b2a5137f39d1e5b14e202",
    ("m", "imagenet21k-ft1k"): "0c236c3020e3857de1e5f2939abd0cc6",
    ("l", "imagenet"): "2b65f5789f4d2f1bf66ecd6d9c5c2d46",
    ("l", "imagenet21k"): "7970f913eec1b4918e007c8580726412",
    ("l", "imagenet21k-ft1k"): "30327edcf1390d10e9a0de42a2d731e3",
    ("xl", "imagenet21k"): "c97de2770f55701f788644336181e8ee",
    ("xl", "imagenet21k-ft1k"): "9aaa2bd3c9495b23357bc6593eee5bce",
}

# keras/src/applications/efficientnet_v2.py, WEIGHTS_HASHES (files with the classifier).
_KERAS_MD5 = {
    "b0": "21ecbf6da12460d5c40bb2f29ceb2188",
    "b1": "069f0534ff22adf035c89e2d9547a9dc",
    "b2": "424e49f28180edbde1e94797771950a7",
    "b3": "1f1fc43bd98a6e4fd8fdfd551e02c7a0",
    "s": "e1d88a8495beba45748fedd0cecbe016",
    "m": "a3bf6aa3276309f4fc6a34aa114c95cd",
    "l": "27e6d408b53c7ebc868fefa357689935",
}

# Self-tested top-1 of the fine-tuned weights, README of keras_efficientnet_v2.
_FT1K_TOP1 = {"s": 0.84328, "m": 0.85606, "l": 0.86294, "xl": 0.86532}

# B0 to B3 were trained with the recipe of the first EfficientNet, T with PyTorch.
_TORCH_SCALED = frozenset({"b0", "b1", "b2", "b3", "t"})


def _released_file(variant: str, weights: str, md5: str) -> WeightFile:
    top1 = VARIANTS[variant].imagenet_top1 if weights == "imagenet" else None
    return WeightFile(
        variant=variant,
        weights=weights,
        url=f"{_RELEASED_URL}efficientnetv2-{variant}-{_SUFFIXES[weights]}.h5",
        md5=md5,
        scaling="torch" if weights == "imagenet" and variant in _TORCH_SCALED else "tf",
        classes=_CLASSES[weights],
        layout="released",
        top1=_FT1K_TOP1.get(variant) if weights == "imagenet21k-ft1k" else top1,
    )


def _keras_file(variant: str, md5: str) -> WeightFile:
    return WeightFile(
        variant=variant,
        weights=KERAS_WEIGHTS,
        url=f"{_KERAS_URL}efficientnetv2-{variant}.h5",
        md5=md5,
        scaling="torch" if variant in _TORCH_SCALED else "tf",
        classes=1000,
        layout="keras",
        top1=None,
    )


WEIGHT_FILES: Mapping[tuple[str, str], WeightFile] = MappingProxyType(
    {key: _released_file(*key, md5) for key, md5 in _RELEASED_MD5.items()}
    | {(variant, KERAS_WEIGHTS): _keras_file(variant, md5) for variant, md5 in _KERAS_MD5.items()}
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


def scaling_for(variant: str, weights: str | None) -> Scaling:
    """How images must be scaled for `weights` of `variant`; `tf` from scratch.

    Raises:
        TuneError: As `find_weight_file`.
    """
    if weights is None:
        return SCRATCH_SCALING
    return find_weight_file(variant, weights).scaling
