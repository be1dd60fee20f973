"""Pretrained weights into a network: the whole trunk or an error, the head where it fits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from effv2_tune.catalog import (
    KERAS_WEIGHTS,
    SCALINGS,
    SCRATCH_SCALING,
    WEIGHT_FILES,
    WEIGHT_SETS,
    find_weight_file,
)
from effv2_tune.errors import TuneError
from effv2_tune.network.pretrained.files import fetch_weights
from effv2_tune.network.pretrained.weight_io import (
    read_input_scaling,
    read_weights,
    rename_keras_applications,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from effv2_tune.catalog import Scaling
    from effv2_tune.files.download import OnBytes

_HEAD = "predictions"
_NAMED_LAYERS = 3


@dataclass(frozen=True)
class LoadedWeights:
    """What was loaded into a network.

    Attributes:
        source: The weight set or path that was asked for.
        path: The file it came from.
        layers: Number of layers that were filled.
        head_loaded: Whether the classifier was among them.
        file_classes: Outputs of the classifier in the file; None where it has none.
        scaling: How images must be scaled that go in.
    """

    source: str
    path: Path
    layers: int
    head_loaded: bool
    file_classes: int | None
    scaling: Scaling

    def __str__(self) -> str:
        """One sentence for people."""
        if self.head_loaded:
            head = "the classifier too"
        elif self.file_classes is None:
            head = "no classifier in the file"
        else:
            head = f"not its classifier of {self.file_classes} classes"
        return f"{self.layers} layers loaded from {self.path.name} ({self.source}), {head}"


def find_weights(
    variant: str,
    weights: str,
    *,
    folder: str | Path | None = None,
    progress: OnBytes | None = None,
) -> Path:
    """The path of `weights` of `variant` on this machine, downloaded if need be.

    Args:
        variant: Name of the variant.
        weights: One of `catalog.WEIGHT_SETS`, `catalog.KERAS_WEIGHTS`, or the path of a `.h5`,
            `.weights.h5` or `.keras` file.
        folder: As in `fetch_weights`.
        progress: As in `fetch_weights`.

    Raises:
        TuneError: No such weights, or they cannot be had.
    """
    if not _is_path(weights):
        return fetch_weights(find_weight_file(variant, weights), folder=folder, progress=progress)
    path = Path(weights).expanduser()
    if not path.is_file():
        raise TuneError(
            f"There is no weight file {weights}.",
            hint="Give a path to a .h5, .weights.h5 or .keras file, or one of: "
            f"{', '.join((*WEIGHT_SETS, KERAS_WEIGHTS))}.",
        )
    return path


def _is_path(weights: str) -> bool:
    return weights.endswith((".h5", ".hdf5", ".keras")) or "/" in weights


def input_scaling(variant: str, weights: str | None) -> Scaling:
    """How images must be scaled for a network of `variant` that starts from `weights`.

    A released set has its own; so has a file with the name of a released one, and a `.keras` that
    `stock_model` made. Any other file, and random weights, are taken to expect `tf`.

    Args:
        variant: Name of the variant.
        weights: As for `find_weights`; None (or `none`) for random weights.

    Raises:
        TuneError: No such weights, or the model in the file scales in a way of its own.
    """
    if weights is None or weights == "none":
        return SCRATCH_SCALING
    if not _is_path(weights):
        return find_weight_file(variant, weights).scaling
    path = find_weights(variant, weights)
    for file in WEIGHT_FILES.values():
        if file.file_name == path.name:
            return file.scaling
    found = read_input_scaling(path)
    if found is None:
        return SCRATCH_SCALING
    for scaling, numbers in SCALINGS.items():
        if np.allclose(found, numbers):
            return scaling
    raise TuneError(
        f"The model in {weights} scales its images by {found[0]} and {found[1]}.",
        hint=f"Known are: {', '.join(SCALINGS)}.",
    )


def load_weights(
    network: Any,
    weights: str,
    *,
    folder: str | Path | None = None,
    progress: OnBytes | None = None,
) -> LoadedWeights:
    """Fill `network` with pretrained weights, in place.

    Every layer of the trunk is filled, or nothing is. The classifier is filled where the network
    has one and its classes are as many as the file's; otherwise it stays as it is.

    Args:
        network: From `efficientnet_v2`.
        weights: As for `find_weights`.
        folder: As in `fetch_weights`.
        progress: As in `fetch_weights`.

    Raises:
        TuneError: The weights cannot be had or read, or do not fit; names the first such layers.
    """
    variant = network.variant
    path = find_weights(variant.name, weights, folder=folder, progress=progress)
    scaling = input_scaling(variant.name, weights)
    found = rename_keras_applications(read_weights(path), variant)
    layers = network.layers_by_name
    wanted = {name: _shapes(layer.variables) for name, layer in layers.items()}
    head_loaded = _HEAD in layers and _HEAD in found and wanted[_HEAD] == _shapes(found[_HEAD])
    if not head_loaded:
        wanted.pop(_HEAD, None)
    _check_fit(wanted, found, path=path, variant=variant.name)
    for name in wanted:
        for variable, value in zip(layers[name].variables, found[name], strict=True):
            variable.assign(value)
    return LoadedWeights(
        source=weights,
        path=path,
        layers=len(wanted),
        head_loaded=head_loaded,
        file_classes=found[_HEAD][0].shape[-1] if _HEAD in found else None,
        scaling=scaling,
    )


def _shapes(arrays: Any) -> list[tuple[int, ...]]:
    return [tuple(array.shape) for array in arrays]


def _check_fit(
    wanted: Mapping[str, list[tuple[int, ...]]],
    found: Mapping[str, Any],
    *,
    path: Path,
    variant: str,
) -> None:
    missing = [name for name in wanted if name not in found]
    misfits = [name for name in wanted if name in found and _shapes(found[name]) != wanted[name]]
    if not missing and not misfits:
        return
    sentences = []
    if missing:
        sentences.append(f"{len(missing)} layers are missing ({_first(missing)})")
    if misfits:
        shown = _first(f"{name}: {_shapes(found[name])}, not {wanted[name]}" for name in misfits)
        sentences.append(f"{len(misfits)} layers have other shapes ({shown})")
    raise TuneError(
        f"{path} does not fit variant {variant!r}: {'; '.join(sentences)}.",
        hint="Give weights of this variant, or the variant of these weights. Nothing was loaded.",
    )


def _first(names: Any) -> str:
    listed = list(names)
    more = ", ..." if len(listed) > _NAMED_LAYERS else ""
    return ", ".join(listed[:_NAMED_LAYERS]) + more
