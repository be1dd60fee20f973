"""Defines AdamW for Keras 3, with hyperparameters that can change."""

from __future__ import annotations

from typing import Any

import keras

from effv2_tune.optimizers.keras_optimizers.tunable import TunableOptimizer
from effv2_tune.optimizers.static_config import StaticConfig


@keras.saving.register_keras_serializable(package="effv2_tune")
class AdamW(TunableOptimizer):
    """AdamW as Keras computes it; every hyperparameter is a variable.

    Loshchilov and Hutter, https://arxiv.org/abs/1711.05101.

    Args:
        learning_rate: A float or a schedule.
        weight_decay: Decoupled, times the learning rate; None leaves the term out (Adam).
        beta_1: Decay of the first moment, from 0 and below 1.
        beta_2: Decay of the second moment, from 0 and below 1.
        epsilon: Added to the root of the second moment.
        amsgrad: Whether to divide by the largest second moment so far.
        name: Name of the optimizer.
        **kwargs: Arguments of every Keras optimizer, as in `AdaBelief`.

    Raises:
        TuneError: If a value is out of its range.
    """

    def __init__(  # noqa: PLR0917 - the signature of Keras
        self,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule = 1e-3,
        weight_decay: float | None = 0.004,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,  # noqa: FBT001, FBT002 - the signature of Keras
        name: str | None = "adamw",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            StaticConfig("adamw", amsgrad=amsgrad),
            learning_rate,
            rule_hyperparameters={"beta_1": beta_1, "beta_2": beta_2, "epsilon": epsilon},
            weight_decay=weight_decay,
            name=name,
            **kwargs,
        )
        self.amsgrad = amsgrad

    def get_config(self) -> dict[str, Any]:
        """Describe the optimizer, with its present hyperparameters, in plain values."""
        return super().get_config() | {"amsgrad": self.amsgrad}
