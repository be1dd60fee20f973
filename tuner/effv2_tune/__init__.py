"""Finds the Pareto-optimal EfficientNetV2 recipes of accuracy and training time.

>>> import effv2_tune
>>> study = effv2_tune.Study.load("quickstart")
>>> study.run()                  # doctest: +SKIP
>>> study.front()                # doctest: +SKIP

Importing the package loads no framework: each name loads what it needs when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from effv2_tune.keras_backend import set_keras_backend
from effv2_tune.lazy import lazy_names

if TYPE_CHECKING:
    from effv2_tune.interop import EfficientNetV2HyperModel, EfficientNetV2Tuner, OptunaOracle
    from effv2_tune.network import efficientnet_v2
    from effv2_tune.optimizers import AdaBelief, CyclicalLearningRate
    from effv2_tune.pareto import pareto_front
    from effv2_tune.session import Study, objective
    from effv2_tune.study import Measurement, Recipe, Trial
    from effv2_tune.training import train

__all__ = [
    "AdaBelief",
    "CyclicalLearningRate",
    "EfficientNetV2HyperModel",
    "EfficientNetV2Tuner",
    "Measurement",
    "OptunaOracle",
    "Recipe",
    "Study",
    "Trial",
    "efficientnet_v2",
    "objective",
    "pareto_front",
    "train",
]


set_keras_backend()

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "optimizers": "AdaBelief CyclicalLearningRate",
        "interop": "EfficientNetV2HyperModel EfficientNetV2Tuner OptunaOracle",
        "study": "Measurement Recipe Trial",
        "session": "Study objective",
        "network": "efficientnet_v2",
        "pareto": "pareto_front",
        "training": "train",
    },
)
