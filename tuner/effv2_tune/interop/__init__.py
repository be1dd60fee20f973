"""Integrates the search with Keras Tuner and Optuna programs.

* `OptunaOracle`: any Optuna sampler as a `keras_tuner.Oracle`, with several objectives.
* `EfficientNetV2Tuner`: a `keras_tuner.Tuner` whose trials are trained by a worker process.
* `EfficientNetV2HyperModel`: network and optimizer of a study as a `keras_tuner.HyperModel`.
* `to_hyperparameters`, `config_of`: a search space for Keras Tuner, and the inverse.
* `oracle_process`: Keras Tuner's own oracles in a subprocess, for `search.engines.keras_tuner`.

Importing the package loads no framework: each name loads Keras Tuner when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from effv2_tune.lazy import lazy_names

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

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "hypermodel": "EfficientNetV2HyperModel",
        "tuner": "EfficientNetV2Tuner",
        "optuna_oracle": "OptunaOracle",
        "parameters": "config_of to_hyperparameters",
    },
)
