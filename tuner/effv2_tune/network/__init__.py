"""EfficientNetV2 networks and their pretrained weights.

For a Keras user (importing the package itself loads no framework):

    model = efficientnet_v2("b0", weights="imagenet", classes=10)      # functional, stock layers

For a trainer, the same network, faster to build and to run:

    network = training_network("b0", classes=10, resolution=128, trainable_from=0, seed=0)
    report = load_weights(network, "imagenet")            # the whole backbone; head if it fits
    scaling = input_scaling("b0", "imagenet")             # also for paths, and for none

    # in the step, on the device: uint8 [batch, height, width, 3] to logits
    images = preprocess(batch, 128, scaling=scaling, interpolation="bilinear")
    logits = network(images, training=True)               # JAX: network.stateless_call(...)

    set_drop_rates(network, dropout=0.1, stochastic_depth=0.2)         # variables: no new trace
    initialise(network, seed=1)                           # new weights and random state in place
    variables_by_stage(network)                           # {0: [...], ..., stages + 1: [head]}

    # frozen backbone: features once, then the classifier alone
    backbone = training_network("b0", classes=None, trainable_from="head")
    features = backbone(images)                           # [batch, head_width]
    head = classifier("b0", classes=10)                   # head(features, training=True)

    # exported: stock Keras layers only, uint8 in, probabilities out
    stock = stock_model(network, image_shape=(32, 32, 3), resolution=128, scaling=scaling)
    stock = stock_model(backbone, head, image_shape=(32, 32, 3), resolution=128, scaling=scaling)
    stock.save("model.keras")

`network(images)` is inference. Stages before `trainable_from` always run as in inference.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from effv2_tune.network.build import (
        classifier,
        drop_rate_variables,
        set_drop_rates,
        training_network,
    )
    from effv2_tune.network.export_model import stock_model
    from effv2_tune.network.functional import efficientnet_v2
    from effv2_tune.network.initializers import initialise
    from effv2_tune.network.preprocessing import preprocess
    from effv2_tune.network.pretrained.weights import (
        LoadedWeights,
        find_weights,
        input_scaling,
        load_weights,
    )
    from effv2_tune.network.stages import stage_of, variables_by_stage

__all__ = [
    "LoadedWeights",
    "classifier",
    "drop_rate_variables",
    "efficientnet_v2",
    "find_weights",
    "initialise",
    "input_scaling",
    "load_weights",
    "preprocess",
    "set_drop_rates",
    "stage_of",
    "stock_model",
    "training_network",
    "variables_by_stage",
]

_MODULES = {
    "LoadedWeights": "pretrained.weights",
    "classifier": "build",
    "efficientnet_v2": "functional",
    "find_weights": "pretrained.weights",
    "initialise": "initializers",
    "input_scaling": "pretrained.weights",
    "load_weights": "pretrained.weights",
    "preprocess": "preprocessing",
    "drop_rate_variables": "build",
    "set_drop_rates": "build",
    "stage_of": "stages",
    "stock_model": "export_model",
    "training_network": "build",
    "variables_by_stage": "stages",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use: most of them load Keras."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
