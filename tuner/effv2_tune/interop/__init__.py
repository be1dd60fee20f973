"""Objects for people who drive Keras Tuner or Optuna themselves.

* `OptunaOracle`: any Optuna sampler as a `keras_tuner.Oracle`, with several objectives.
* `EfficientNetV2Tuner`: a `keras_tuner.Tuner` whose trials are trained by our worker process.
* `EfficientNetV2HyperModel`: our network with our optimizer as a `keras_tuner.HyperModel`.
* `to_hyperparameters`, `config_of`: a search space for Keras Tuner, and the way back.
* `oracle_process`: Keras Tuner's own oracles, asked over a pipe by `search.keras_tuner_engine`.

Importing the package loads no framework: each name loads Keras Tuner when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from effv2_tune.interop.hypermodel import EfficientNetV2HyperModel
    from effv2_tune.interop.optuna_oracle import OptunaOracle
    from effv2_tune.interop.parameters import config_of, to_hyperparameters
    from effv2_tune.interop.tuner import EfficientNetV2Tuner

__all__ = [
    "EfficientNetV2HyperModel",
    "EfficientNetV2Tuner",
    "OptunaOracle",
    "config_of",
    "to_hyperparameters",
]

_HOMES = {
    "EfficientNetV2HyperModel": "hypermodel",
    "EfficientNetV2Tuner": "tuner",
    "OptunaOracle": "optuna_oracle",
    "config_of": "parameters",
    "to_hyperparameters": "parameters",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
