"""Finds the Pareto-optimal EfficientNetV2 recipes of accuracy and training time.

>>> import effv2_tune
>>> study = effv2_tune.Study.load("quickstart")
>>> study.run()                  # doctest: +SKIP
>>> study.front()                # doctest: +SKIP

Importing the package loads no framework: each name loads what it needs when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from effv2_tune.host import set_keras_backend

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

_PACKAGES = {
    "AdaBelief": "optimizers",
    "CyclicalLearningRate": "optimizers",
    "EfficientNetV2HyperModel": "interop",
    "EfficientNetV2Tuner": "interop",
    "Measurement": "study",
    "OptunaOracle": "interop",
    "Recipe": "study",
    "Study": "session",
    "Trial": "study",
    "efficientnet_v2": "network",
    "objective": "session",
    "pareto_front": "pareto",
    "train": "training",
}


set_keras_backend()


def __getattr__(name: str) -> Any:
    if name not in _PACKAGES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PACKAGES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
