"""Reads weights from `.h5`, `.weights.h5` and `.keras` files by layer name."""

from __future__ import annotations

import contextlib
import io
import json
import zipfile
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from effv2_tune.errors import TuneError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from effv2_tune.catalog import Block, Variant

    Arrays = tuple[np.ndarray[Any, Any], ...]

# The order of the weights in Keras layers.
_ORDER = ("kernel", "gamma", "beta", "bias", "moving_mean", "moving_variance")


def read_weights(path: Path) -> dict[str, Arrays]:
    """Read the weights in a file by layer name, each layer's in the order of Keras.

    Args:
        path: A whole-model or weights-only `.h5` of Keras 2 (as released), a `.weights.h5` of
            Keras 3, or a `.keras`.

    Raises:
        TuneError: The file is none of these, or does not name its layers.
    """
    with _reading(path):
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                content = io.BytesIO(archive.read("model.weights.h5"))
            with h5py.File(content, "r") as file:
                weights = _read_groups(file)
        else:
            with h5py.File(path, "r") as file:
                weights = _read_any(file)
    if not weights:
        raise TuneError(
            f"{path} holds no weights of named layers.",
            hint="Use a .h5, .weights.h5 or .keras file that Keras wrote (Keras 3.10 and later "
            "write the names of layers into .weights.h5).",
        )
    return weights


def check_readable(path: Path) -> None:
    """Check that a file has the format of weights and is not cut off; its arrays are not read.

    Raises:
        TuneError: It is not, or it is.
    """
    with _reading(path):
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                archive.getinfo("model.weights.h5")
        else:
            h5py.File(path, "r").close()


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Raise the errors of a weight file as an UnavailableError."""
    try:
        yield
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise UnavailableError(
            f"{path} cannot be read as weights: {error}.",
            hint="Use a .h5, .weights.h5 or .keras file that Keras wrote.",
        ) from error


def _read_any(file: h5py.File) -> dict[str, Arrays]:
    model = file.get("model_weights", file)
    legacy = _attribute(model, "layer_names")
    if not legacy:
        return _read_groups(file)
    return {name: arrays for name in legacy if (arrays := _legacy_arrays(model[name]))}


def _legacy_arrays(group: h5py.Group) -> Arrays:
    names = _attribute(group, "weight_names")
    return tuple(np.asarray(group[name]) for name in sorted(names, key=_weight_index))


def _weight_index(weight_name: str) -> int:
    """Index of a weight such as `stem_bn/gamma:0` in its layer."""
    leaf = weight_name.rsplit("/", 1)[-1].split(":", maxsplit=1)[0].removeprefix("depthwise_")
    return _ORDER.index(leaf) if leaf in _ORDER else len(_ORDER)


def _attribute(group: h5py.Group, name: str) -> list[str]:
    """Read a list of names; one too long for HDF5 is split into `name0`, `name1`, ..."""
    if name in group.attrs:
        parts = [group.attrs[name]]
    else:
        parts = []
        while f"{name}{len(parts)}" in group.attrs:
            parts.append(group.attrs[f"{name}{len(parts)}"])
    return [
        text.decode() if isinstance(text, bytes) else str(text) for part in parts for text in part
    ]


def _read_groups(file: h5py.File) -> dict[str, Arrays]:
    """Read Keras 3: each layer is a group with a subgroup `vars` of numbered arrays and a name."""
    weights: dict[str, Arrays] = {}

    def visit(_: str, item: Any) -> None:
        if not isinstance(item, h5py.Group) or "vars" not in item:
            return
        variables = item["vars"]
        name = variables.attrs.get("name", item.attrs.get("name"))
        if name is not None and len(variables):
            weights[str(name)] = tuple(
                np.asarray(variables[key]) for key in sorted(variables, key=int)
            )

    file.visititems(visit)
    return weights


def read_input_scaling(path: Path) -> tuple[list[float], list[float]] | None:
    """Read mean and divisor of the layer `scale`; None unless a `.keras` file has one.

    Args:
        path: Any weight file.
    """
    if not zipfile.is_zipfile(path):
        return None
    with zipfile.ZipFile(path) as archive:
        layers = json.loads(archive.read("config.json"))["config"].get("layers", [])
    for layer in layers:
        config = layer["config"]
        if layer["class_name"] == "Normalization" and config["name"] == "scale":
            return config["mean"], [variance**0.5 for variance in config["variance"]]
    return None


def rename_keras_applications(
    weights: Mapping[str, Arrays], variant: Variant
) -> Mapping[str, Arrays]:
    """Rename weights of keras.applications to the released names; others stay as they are."""
    if "top_conv" not in weights:
        return weights
    released = {keras_name: name for name, keras_name in keras_applications_names(variant)}
    return {released.get(name, name): arrays for name, arrays in weights.items()}


def keras_applications_names(variant: Variant) -> Iterator[tuple[str, str]]:
    """Yield (released name, name in `keras.applications`) of every layer with weights."""
    yield "stem_conv", "stem_conv"
    yield "stem_bn", "stem_bn"
    for block in variant.blocks:
        yield from _block_names(block)
    yield "post_conv", "top_conv"
    yield "post_bn", "top_bn"
    yield "predictions", "predictions"


def _block_names(block: Block) -> Iterator[tuple[str, str]]:
    repeat = int(block.name.rstrip("_").rsplit("block", 1)[-1])
    prefix = f"block{block.stage + 1}{chr(ord('a') + repeat)}_"
    if block.kind == "fused" and block.expansion == 1:
        pairs = {"fu_conv": "project_conv", "fu_bn": "project_bn"}
    else:
        pairs = {
            "sortcut_conv": "expand_conv",
            "sortcut_bn": "expand_bn",
            "MB_pw_conv": "project_conv",
            "MB_pw_bn": "project_bn",
        }
    if block.kind == "mbconv":
        pairs |= {
            "MB_dw_": "dwconv2",
            "MB_dw_bn": "bn",
            "se_1_conv": "se_reduce",
            "se_2_conv": "se_expand",
        }
    for released, keras_name in pairs.items():
        yield f"{block.name}{released}", f"{prefix}{keras_name}"
