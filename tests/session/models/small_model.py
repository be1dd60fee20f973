"""A small network with random weights, saved as `train` saves a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from PIL import Image

from effv2_tune.network import stock_model, training_network
from effv2_tune.study.model_facts import ModelFacts, add_facts
from effv2_tune.study.recipe import DataSpec, Recipe

if TYPE_CHECKING:
    from pathlib import Path

CLASSES = ("ant", "bee", "cat", "dog", "eel", "fox")


def save_model(
    path: Path, *, fit: Any = "crop", shape: tuple[int, int] = (48, 48), resize: Any = "bilinear"
) -> Any:
    """Save a model for images stored at a height and width; returns it."""
    network = training_network("tiny", classes=len(CLASSES), seed=1)
    rng = np.random.default_rng(0)
    for layer in network.layers:
        for weight in layer.variables:
            noise = np.abs(rng.standard_normal(tuple(weight.shape))).astype("float32")
            weight.assign(np.asarray(keras.ops.convert_to_numpy(weight)) + 0.3 * noise * weight)
    model = stock_model(
        network,
        image_shape=(*shape, 3),
        resolution=40,
        scaling="tf",
        interpolation=resize,
        fit=fit,
    )
    recipe = Recipe(variant="tiny", resolution=40, resize=resize, data=DataSpec(fit=fit))
    facts = ModelFacts.of(recipe, classes=CLASSES, image_shape=(*shape, 3), data_digest="0" * 64)
    path.parent.mkdir(parents=True, exist_ok=True)
    model.save(path)
    add_facts(path, facts)
    return model


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    """A smooth picture, which survives a resize by one program as by another."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
