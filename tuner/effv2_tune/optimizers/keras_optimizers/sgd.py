"""Defines SGD with momentum for Keras 3, with hyperparameters that can change."""

from __future__ import annotations

from typing import Any

import keras

from effv2_tune.optimizers.keras_optimizers.tunable import TunableOptimizer
from effv2_tune.optimizers.static_config import StaticConfig


@keras.saving.register_keras_serializable(package="effv2_tune")
class SGD(TunableOptimizer):
    """Gradient descent as Keras computes it; every hyperparameter is a variable.

    Args:
        learning_rate: A float or a schedule.
        momentum: Share of the velocity that each step keeps, from 0 and below 1. The velocity is
            stored at 0 too, since the momentum may change.
        nesterov: Whether to use Nesterov momentum (Nesterov, 1983).
        weight_decay: Decoupled, times the learning rate; None leaves the term out.
        name: Name of the optimizer.
        **kwargs: Arguments of every Keras optimizer, as in `AdaBelief`.

    Raises:
        TuneError: If a value is out of its range.
    """

    def __init__(
        self,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule = 1e-2,
        momentum: float = 0.0,
        nesterov: bool = False,  # noqa: FBT001, FBT002 - the signature of Keras
        weight_decay: float | None = None,
        name: str | None = "sgd",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            StaticConfig("sgd", nesterov=nesterov),
            learning_rate,
            rule_hyperparameters={"momentum": momentum},
            weight_decay=weight_decay,
            name=name,
            **kwargs,
        )
        self.nesterov = nesterov

    def get_config(self) -> dict[str, Any]:
        """Describe the optimizer, with its present hyperparameters, in plain values."""
        return super().get_config() | {"nesterov": self.nesterov}
