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

from typing import TYPE_CHECKING

from effv2_tune.lazy import lazy_names

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
    from effv2_tune.network.stages import depths_from_head, stage_of, variables_by_stage

__all__ = [
    "LoadedWeights",
    "classifier",
    "depths_from_head",
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

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "pretrained.weights": "LoadedWeights find_weights input_scaling load_weights",
        "build": "classifier drop_rate_variables set_drop_rates training_network",
        "functional": "efficientnet_v2",
        "initializers": "initialise",
        "preprocessing": "preprocess",
        "stages": "depths_from_head stage_of variables_by_stage",
        "export_model": "stock_model",
    },
)
