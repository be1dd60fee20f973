"""Defines RMSProp with momentum for Keras 3, with hyperparameters that can change."""

from __future__ import annotations

from typing import Any

import keras

from effv2_tune.optimizers.keras_optimizers.tunable import TunableOptimizer
from effv2_tune.optimizers.static_config import StaticConfig


@keras.saving.register_keras_serializable(package="effv2_tune")
class RMSprop(TunableOptimizer):
    """RMSProp as TensorFlow 1 computes it; every hyperparameter is a variable.

    Unlike `keras.optimizers.RMSprop`, it starts the mean square at 1. The defaults are those of
    EfficientNetV2's training.

    Args:
        learning_rate: A float or a schedule.
        rho: Decay of the mean square, from 0 and below 1.
        momentum: Share of the velocity that each step keeps, from 0 and below 1.
        epsilon: Added to the mean square, inside the root.
        weight_decay: Decoupled, times the learning rate; None leaves the term out.
        name: Name of the optimizer.
        **kwargs: Arguments of every Keras optimizer, as in `AdaBelief`.

    Raises:
        TuneError: If a value is out of its range.
    """

    def __init__(  # noqa: PLR0917 - the order of Keras
        self,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule = 1e-3,
        rho: float = 0.9,
        momentum: float = 0.9,
        epsilon: float = 1e-3,
        weight_decay: float | None = None,
        name: str | None = "rmsprop",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            StaticConfig("rmsprop"),
            learning_rate,
            rule_hyperparameters={"rho": rho, "momentum": momentum, "epsilon": epsilon},
            weight_decay=weight_decay,
            name=name,
            **kwargs,
        )
