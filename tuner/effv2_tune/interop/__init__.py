"""Integrates the search with Keras Tuner and Optuna programs.

* `OptunaOracle`: any Optuna sampler as a `keras_tuner.Oracle`, with several objectives.
* `EfficientNetV2Tuner`: a `keras_tuner.Tuner` whose trials are trained by a worker process.
* `EfficientNetV2HyperModel`: network and optimizer of a study as a `keras_tuner.HyperModel`.
* `to_hyperparameters`, `config_of`: a search space for Keras Tuner, and the inverse.
* `oracle_process`: Keras Tuner's own oracles in a subprocess, for `search.engines.keras_tuner`.

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

_MODULES = {
    "EfficientNetV2HyperModel": "hypermodel",
    "EfficientNetV2Tuner": "tuner",
    "OptunaOracle": "optuna_oracle",
    "config_of": "parameters",
    "to_hyperparameters": "parameters",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
