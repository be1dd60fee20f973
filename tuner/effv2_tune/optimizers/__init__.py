"""AdaBelief and cyclical learning rates whose hyperparameters are variables.

For a trainer (importing the package itself loads no framework):

    config = StaticConfig(schedule="triangular2", clip=True, average=True)
    optimizer = StepOptimizer(config, hyperparameters)
    optimizer.build(network.trainable_variables)
    optimizer.apply(gradients, variables)                              # TensorFlow, in tf.function
    weights, state = optimizer.stateless_apply(state, gradients, weights)              # JAX, in jit

    optimizer.set_hyperparameters({"weight_decay": 1e-4, "gamma": 0.9})          # no new trace
    optimizer.reset()                                                  # step 0, in place
    learning_rate_at(ScheduleSettings("triangular2", values), steps)  # numpy, for plots

For a Keras user, with any model:

    model.compile(AdaBelief(CyclicalLearningRate(1e-4, 5e-2, step_size=704)), loss=...)

From the bottom up: `checks` (ranges of hyperparameters), `curves` (learning rates as plain
functions of the step), `static_config`, `rules` (one step as functions on arrays), `schedules`,
`update` (one step of any rule), `keras_optimizers` (one variable at a time), `flat_variables` and
`step_optimizer` (all weights at once).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from effv2_tune.lazy import lazy_names

if TYPE_CHECKING:
    from effv2_tune.optimizers.curves import ScheduleSettings, learning_rate_at
    from effv2_tune.optimizers.keras_optimizers.adabelief import AdaBelief
    from effv2_tune.optimizers.keras_optimizers.adamw import AdamW
    from effv2_tune.optimizers.keras_optimizers.lion import Lion
    from effv2_tune.optimizers.keras_optimizers.rmsprop import RMSprop
    from effv2_tune.optimizers.keras_optimizers.sgd import SGD
    from effv2_tune.optimizers.schedules import (
        ConstantLearningRate,
        CosineLearningRate,
        CyclicalLearningRate,
        WarmupLearningRate,
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
    "Lion",
    "RMSprop",
    "ScheduleSettings",
    "StaticConfig",
    "StepOptimizer",
    "WarmupLearningRate",
    "learning_rate_at",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "keras_optimizers.adabelief": "AdaBelief",
        "keras_optimizers.adamw": "AdamW",
        "keras_optimizers.lion": "Lion",
        "keras_optimizers.rmsprop": "RMSprop",
        "schedules": (
            "ConstantLearningRate CosineLearningRate CyclicalLearningRate WarmupLearningRate"
        ),
        "step_optimizer": "StepOptimizer",
        "keras_optimizers.sgd": "SGD",
        "curves": "ScheduleSettings learning_rate_at",
        "static_config": "StaticConfig",
    },
)
