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
    from effv2_tune.optimizers.adabelief import AdaBelief
    from effv2_tune.optimizers.adamw import AdamW
    from effv2_tune.optimizers.curves import ScheduleSettings, learning_rate_at
    from effv2_tune.optimizers.flat import FlatOptimizer
    from effv2_tune.optimizers.numbers import reset, set_numbers
    from effv2_tune.optimizers.schedules import (
        ConstantLearningRate,
        CosineLearningRate,
        CyclicalLearningRate,
    )
    from effv2_tune.optimizers.sgd import SGD
    from effv2_tune.optimizers.switches import Switches

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
    "AdaBelief": "adabelief",
    "AdamW": "adamw",
    "ConstantLearningRate": "schedules",
    "CosineLearningRate": "schedules",
    "CyclicalLearningRate": "schedules",
    "FlatOptimizer": "flat",
    "SGD": "sgd",
    "ScheduleSettings": "curves",
    "Switches": "switches",
    "learning_rate_at": "curves",
    "reset": "numbers",
    "set_numbers": "numbers",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
