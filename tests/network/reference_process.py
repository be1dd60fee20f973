"""Prints how far networks with drawn weights are from the reference values, as JSON.

Run as a script, by tests: `network_reference.py REFERENCE.json DTYPE WEIGHTS VARIANT...` on the
backend that KERAS_BACKEND names. WEIGHTS is `drawn`, or `calm` for smaller kernels; what is calm
or float64 is held against `network_float64.json`.
"""

from __future__ import annotations

import json
import sys
import time
import zlib
from pathlib import Path
from typing import Any

import keras
import numpy as np

from effv2_tune.network import preprocess, training_network


def drawn(name: str, shape: tuple[int, ...], seed: int) -> np.ndarray[Any, Any]:
    """The weight `name` of `shape`, by the rule of the reference."""
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    n = rng.standard_normal(shape).astype("float32")
    leaf = name.rsplit("/", 1)[-1]
    if leaf == "gamma":
        return 1 + 0.1 * n
    if leaf in ("beta", "moving_mean", "bias"):
        return 0.1 * n
    if leaf == "moving_variance":
        return 1 + 0.1 * np.abs(n)
    fan_in = shape[0] * shape[1] if leaf == "depthwise_kernel" else int(np.prod(shape[:-1]))
    return n * np.float32(np.sqrt(1.5 / fan_in))


def file_names(layer: Any) -> list[str]:
    """The names that a layer's weights have in the released files."""
    depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
    return [
        "depthwise_kernel" if depthwise and weight.name == "kernel" else weight.name
        for weight in layer.variables
    ]


def difference(found: Any, first: list[list[float]], norms: list[float]) -> float:
    """The largest relative error of the first eight numbers and of the norm, over both images."""
    found = np.asarray(keras.ops.convert_to_numpy(found), "float64")
    scale = np.linalg.norm(first, axis=1)
    return float(
        max(
            np.max(np.linalg.norm(found[:, :8] - first, axis=1) / scale),
            np.max(np.abs(np.linalg.norm(found, axis=1) / norms - 1)),
        )
    )


def compare(
    name: str, wanted: dict[str, Any], *, dtype: str, kernel_scale: float
) -> dict[str, Any]:
    """What the network called `name` gives, beside what it should."""
    start = time.perf_counter()
    network = training_network(name, classes=1000, resolution=wanted["px"], dtype=dtype)
    layers = []
    for layer in network.layers:
        names = file_names(layer)
        shapes = [list(weight.shape) for weight in layer.variables]
        layers.append({"layer": layer.name, "weights": dict(zip(names, shapes, strict=True))})
        for leaf, weight in zip(names, layer.variables, strict=True):
            value = drawn(f"{layer.name}/{leaf}", tuple(weight.shape), wanted["seed"])
            weight.assign(value * np.float32(kernel_scale if leaf.endswith("kernel") else 1))
    px = wanted["px"]
    rng = np.random.default_rng([wanted["seed"], px])
    images = rng.integers(0, 256, (2, px, px, 3), dtype=np.uint8)
    scaled = keras.ops.cast(preprocess(images, px, scaling=wanted["rescale_mode"]), dtype)
    features = network.extract(scaled, training=False)
    logits = network.get_layer("predictions")(features)
    return {
        "same_layers": layers == wanted["layers"],
        "parameters": sum(int(np.prod(w.shape)) for x in network.layers for w in x.variables),
        "features": difference(features, wanted["features_first8"], wanted["features_norm"]),
        "logits": difference(logits, wanted["logits_first8"], wanted["logits_norm"]),
        "seconds": round(time.perf_counter() - start, 1),
    }


if __name__ == "__main__":
    _, path, dtype, weights, *names = sys.argv
    reference = json.loads(Path(path).read_text())
    if (dtype, weights) != ("float32", "drawn"):
        outputs = json.loads(Path(__file__).with_name("network_float64.json").read_text())
        reference = {name: reference[name] | outputs[weights][name] for name in names}
    scale = {"drawn": 1.0, "calm": 0.92}[weights]
    results = {
        name: compare(name, reference[name], dtype=dtype, kernel_scale=scale) for name in names
    }
    sys.stdout.write(json.dumps(results))
