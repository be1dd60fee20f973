"""AdaBelief and cyclical learning rates whose numbers are variables.

How a trainer uses this room (importing the package itself loads no framework):

    optimizer = FlatOptimizer(Switches(schedule="triangular2", clip=True, average=True), numbers)
    optimizer.build(network.trainable_variables)
    optimizer.apply(gradients, variables)                              # TensorFlow, in tf.function
    weights, state = optimizer.stateless_apply(state, gradients, weights)              # JAX, in jit

    set_numbers(optimizer, {"weight_decay": 1e-4, "maximal_learning_rate": 3e-2})  # no new trace
    reset(optimizer)                                                   # step 0, in place
    learning_rate_at(ScheduleSettings("triangular2", numbers), steps)  # numpy, for plots

How a person uses it, with any Keras model:

    model.compile(AdaBelief(CyclicalLearningRate(1e-4, 5e-2, step_size=704)), loss=...)

From the ground up: `checks` (which numbers are refused), `curves` (learning rates as plain
functions of the step), `switches`, `rules` (one step as functions on arrays), `schedules`,
`tunable`, `adabelief`, `adamw` and `sgd` (Keras objects), `layout` and `flat` (all weights at
once), `numbers`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from effv2_tune.optimizers.curves import ScheduleSettings, learning_rate_at
    from effv2_tune.optimizers.hyperparameters import reset, set_numbers
    from effv2_tune.optimizers.keras_optimizers.adabelief import AdaBelief
    from effv2_tune.optimizers.keras_optimizers.adamw import AdamW
    from effv2_tune.optimizers.keras_optimizers.sgd import SGD
    from effv2_tune.optimizers.schedules import (
        ConstantLearningRate,
        CosineLearningRate,
        CyclicalLearningRate,
    )
    from effv2_tune.optimizers.static_config import Switches
    from effv2_tune.optimizers.step_optimizer import FlatOptimizer

__all__ = [
    "SGD",
    "AdaBelief",
    "AdamW",
    "ConstantLearningRate",
    "CosineLearningRate",
    "CyclicalLearningRate",
    "FlatOptimizer",
    "ScheduleSettings",
    "Switches",
    "learning_rate_at",
    "reset",
    "set_numbers",
]

_HOMES = {
    "AdaBelief": "keras_optimizers.adabelief",
    "AdamW": "keras_optimizers.adamw",
    "ConstantLearningRate": "schedules",
    "CosineLearningRate": "schedules",
    "CyclicalLearningRate": "schedules",
    "FlatOptimizer": "step_optimizer",
    "SGD": "keras_optimizers.sgd",
    "ScheduleSettings": "curves",
    "Switches": "static_config",
    "learning_rate_at": "curves",
    "reset": "hyperparameters",
    "set_numbers": "hyperparameters",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
