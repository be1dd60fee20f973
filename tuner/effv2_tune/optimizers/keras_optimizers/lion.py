"""Defines Lion for Keras 3, with hyperparameters that can change."""

from __future__ import annotations

from typing import Any

import keras

from effv2_tune.optimizers.keras_optimizers.tunable import TunableOptimizer
from effv2_tune.optimizers.static_config import StaticConfig


@keras.saving.register_keras_serializable(package="effv2_tune")
class Lion(TunableOptimizer):
    """Lion, whose step is a sign; every hyperparameter is a variable.

    Chen et al., https://arxiv.org/abs/2302.06675. Its learning rate is a third to a tenth of that
    of AdamW, and its weight decay as many times larger (section 5).

    Args:
        learning_rate: A float or a schedule.
        beta_1: Share of the momentum in the direction of a step, from 0 and below 1.
        beta_2: Decay of the momentum, from 0 and below 1.
        weight_decay: Decoupled, times the learning rate; None leaves the term out.
        name: Name of the optimizer.
        **kwargs: Arguments of every Keras optimizer, as in `AdaBelief`.

    Raises:
        TuneError: If a value is out of its range.
    """

    def __init__(
        self,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule = 1e-4,
        beta_1: float = 0.9,
        beta_2: float = 0.99,
        weight_decay: float | None = None,
        name: str | None = "lion",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            StaticConfig("lion"),
            learning_rate,
            rule_hyperparameters={"beta_1": beta_1, "beta_2": beta_2},
            weight_decay=weight_decay,
            name=name,
            **kwargs,
        )
