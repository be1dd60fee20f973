"""Loads pretrained weights: the whole backbone or an error, the classifier head where it fits."""

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
from effv2_tune.errors import TuneError, UnavailableError
from effv2_tune.network.pretrained.files import fetch_weights
from effv2_tune.network.pretrained.weight_io import (
    read_input_scaling,
    read_weights,
    rename_keras_applications,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from effv2_tune.catalog import Scaling, Variant

_HEAD = "predictions"
_NAMED_LAYERS = 3


@dataclass(frozen=True)
class LoadedWeights:
    """What was loaded into a network.

    Attributes:
        source: The requested weight set or path.
        path: Of the file.
        layers: Number of layers that were filled.
        head_loaded: Whether the classifier was among them.
        file_classes: Outputs of the classifier in the file; None where it has none.
        scaling: Of the images that the network expects.
    """

    source: str
    path: Path
    layers: int
    head_loaded: bool
    file_classes: int | None
    scaling: Scaling

    def __str__(self) -> str:
        """Summarize it in one line."""
        if self.head_loaded:
            head = "the classifier too"
        elif self.file_classes is None:
            head = "no classifier in the file"
        else:
            head = f"not its classifier of {self.file_classes} classes"
        return f"{self.layers} layers loaded from {self.path.name} ({self.source}), {head}"


def find_weights(variant: str, weights: str) -> Path:
    """Return the local path of `weights` of `variant`, after a download if necessary.

    Args:
        variant: Name of the variant.
        weights: One of `catalog.WEIGHT_SETS`, `catalog.KERAS_WEIGHTS`, or the path of a `.h5`,
            `.weights.h5` or `.keras` file.

    Raises:
        TuneError: No such weights, or they cannot be downloaded.
    """
    if not _is_path(weights):
        return fetch_weights(find_weight_file(variant, weights))
    path = Path(weights).expanduser()
    if not path.is_file():
        raise UnavailableError(
            f"There is no weight file {weights}.",
            hint="Use the path of a .h5, .weights.h5 or .keras file, or one of: "
            f"{', '.join((*WEIGHT_SETS, KERAS_WEIGHTS))}.",
        )
    return path


def _is_path(weights: str) -> bool:
    return weights.endswith((".h5", ".hdf5", ".keras")) or "/" in weights


def input_scaling(variant: str, weights: str | None) -> Scaling:
    """Return the scaling of images for a network of `variant` that starts from `weights`.

    Known for a released set, a file with the name of a released one, and a `.keras` with a layer
    `scale` (`stock_model`, `efficientnet_v2`). Any other file, and random weights, use `tf`.

    Args:
        variant: Name of the variant.
        weights: As for `find_weights`; None (or `none`) for random weights.

    Raises:
        TuneError: No such weights, or the model in the file scales in another way.
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
    for scaling, statistics in SCALINGS.items():
        if np.allclose(found, statistics):
            return scaling
    raise TuneError(
        f"The model in {weights} scales its images by {found[0]} and {found[1]}.",
        hint=f"The known scalings are: {', '.join(SCALINGS)}.",
    )


def load_weights(network: Any, weights: str) -> LoadedWeights:
    """Fill `network` with pretrained weights, in place.

    Every layer of the backbone is filled, or nothing is. The classifier is filled where the network
    has one with as many classes as the file's; otherwise it is left unchanged.

    Args:
        network: From `training_network`.
        weights: As for `find_weights`.

    Raises:
        TuneError: The weights cannot be downloaded or read, or do not fit; names the first such
            layers.
    """
    return fill_layers(network.layers_by_name, network.variant, weights)


def fill_layers(layers: Mapping[str, Any], variant: Variant, weights: str) -> LoadedWeights:
    """Fill layers, by released name, with pretrained weights; otherwise as `load_weights`."""
    path = find_weights(variant.name, weights)
    scaling = input_scaling(variant.name, weights)
    arrays = rename_keras_applications(read_weights(path), variant)
    expected = {name: _shapes(layer.variables) for name, layer in layers.items()}
    head_loaded = _HEAD in layers and expected[_HEAD] == _shapes(arrays.get(_HEAD, ()))
    if not head_loaded:
        expected.pop(_HEAD, None)
    _check_fit(expected, arrays, path=path, variant=variant.name)
    for name in expected:
        for variable, value in zip(layers[name].variables, arrays[name], strict=True):
            variable.assign(value)
    return LoadedWeights(
        source=weights,
        path=path,
        layers=len(expected),
        head_loaded=head_loaded,
        file_classes=arrays[_HEAD][0].shape[-1] if _HEAD in arrays else None,
        scaling=scaling,
    )


def _shapes(arrays: Any) -> list[tuple[int, ...]]:
    return [tuple(array.shape) for array in arrays]


def _check_fit(
    expected: Mapping[str, list[tuple[int, ...]]],
    arrays: Mapping[str, Any],
    *,
    path: Path,
    variant: str,
) -> None:
    shapes = {name: _shapes(arrays[name]) for name in expected if name in arrays}
    missing = [name for name in expected if name not in shapes]
    misfits = [
        f"{name}: {shape}, not {expected[name]}"
        for name, shape in shapes.items()
        if shape != expected[name]
    ]
    if not missing and not misfits:
        return
    problems = []
    if missing:
        problems.append(f"{len(missing)} layers are missing ({_first(missing)})")
    if misfits:
        problems.append(f"{len(misfits)} layers have other shapes ({_first(misfits)})")
    raise TuneError(
        f"{path} does not fit variant {variant!r}: {'; '.join(problems)}.",
        hint="Use weights of this variant, or the variant of these weights. Nothing was loaded.",
    )


def _first(names: list[str]) -> str:
    more = ", ..." if len(names) > _NAMED_LAYERS else ""
    return ", ".join(names[:_NAMED_LAYERS]) + more
