"""AdaBelief and cyclical learning rates whose numbers are variables.

How a trainer uses this room (importing the package itself loads no framework):

    config = StaticConfig(schedule="triangular2", clip=True, average=True)
    optimizer = StepOptimizer(config, hyperparameters)
    optimizer.build(network.trainable_variables)
    optimizer.apply(gradients, variables)                              # TensorFlow, in tf.function
    weights, state = optimizer.stateless_apply(state, gradients, weights)              # JAX, in jit

    set_hyperparameters(optimizer, {"weight_decay": 1e-4, "gamma": 0.9})  # no retrace
    reset(optimizer)                                                   # step 0, in place
    learning_rate_at(ScheduleSettings("triangular2", values), steps)  # numpy, for plots

How a person uses it, with any Keras model:

    model.compile(AdaBelief(CyclicalLearningRate(1e-4, 5e-2, step_size=704)), loss=...)

From the ground up: `checks` (which numbers are refused), `curves` (learning rates as plain
functions of the step), `config`, `rules` (one step as functions on arrays), `schedules`,
`tunable`, `adabelief`, `adamw` and `sgd` (Keras objects), `layout` and `flat` (all weights at
once), `hyperparameters`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from effv2_tune.optimizers.curves import ScheduleSettings, learning_rate_at
    from effv2_tune.optimizers.hyperparameters import reset, set_hyperparameters
    from effv2_tune.optimizers.keras_optimizers.adabelief import AdaBelief
    from effv2_tune.optimizers.keras_optimizers.adamw import AdamW
    from effv2_tune.optimizers.keras_optimizers.sgd import SGD
    from effv2_tune.optimizers.schedules import (
        ConstantLearningRate,
        CosineLearningRate,
        CyclicalLearningRate,
    )
    from effv2_tune.optimizers.static_config import StaticConfig
    from effv2_tune.optimizers.step_optimizer import StepOptimizer

__all__ = [
    "SGD",
    "AdaBelief",
    "AdamW",
    "ConstantLearningRate",
    "CosineLearningRate",
    "CyclicalLearningRate",
    "ScheduleSettings",
    "StaticConfig",
    "StepOptimizer",
    "learning_rate_at",
    "reset",
    "set_hyperparameters",
]

_HOMES = {
    "AdaBelief": "keras_optimizers.adabelief",
    "AdamW": "keras_optimizers.adamw",
    "ConstantLearningRate": "schedules",
    "CosineLearningRate": "schedules",
    "CyclicalLearningRate": "schedules",
    "StepOptimizer": "step_optimizer",
    "SGD": "keras_optimizers.sgd",
    "ScheduleSettings": "curves",
    "StaticConfig": "static_config",
    "learning_rate_at": "curves",
    "reset": "hyperparameters",
    "set_hyperparameters": "hyperparameters",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
