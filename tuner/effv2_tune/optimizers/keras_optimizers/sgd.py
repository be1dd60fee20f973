"""Gradient descent with momentum for Keras 3, with numbers that can change."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from effv2_tune.optimizers import rules
from effv2_tune.optimizers.keras_optimizers.tunable import TunableOptimizer


@keras.saving.register_keras_serializable(package="effv2_tune")
class SGD(TunableOptimizer):
    """Gradient descent as Keras computes it; every number is a variable.

    Args:
        learning_rate: A float or a schedule.
        momentum: What the velocity keeps of itself, from 0 and below 1. The velocity is stored at
            0 too, since the momentum may change.
        nesterov: Whether to look ahead along the velocity (Nesterov, 1983).
        weight_decay: Decoupled, times the learning rate; None leaves the term out.
        name: Name of the optimizer.
        **kwargs: What every Keras optimizer takes, as in `AdaBelief`.

    Raises:
        TuneError: If a number is out of its range.
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
            learning_rate,
            own_hyperparameters={"momentum": momentum},
            weight_decay=weight_decay,
            name=name,
            **kwargs,
        )
        self.nesterov = nesterov

    @property
    def moment_names(self) -> tuple[str, ...]:
        """Names of the vectors kept for each weight."""
        return ("velocity",)

    def coefficients(self, learning_rate: Any) -> rules.SGDCoefficients:
        """Compute the scalars that the update of all weights shares."""
        return rules.sgd_coefficients(
            learning_rate=ops.cast(learning_rate, "float32"),
            momentum=ops.convert_to_tensor(self.momentum),
            weight_decay=0.0
            if self.weight_decay is None
            else ops.convert_to_tensor(self.weight_decay),
        )

    def weight_change(
        self, gradient: Any, moments: tuple[Any, ...], shared: Any
    ) -> tuple[Any, tuple[Any, ...]]:
        """Compute what to subtract from a weight (before decay), and its new moments."""
        return rules.sgd_step(gradient, moments, shared, nesterov=self.nesterov)

    def get_config(self) -> dict[str, Any]:
        """Describe the optimizer, with the present values of its numbers, in plain values."""
        own = {"momentum": self.hyperparameters["momentum"], "nesterov": self.nesterov}
        return super().get_config() | own
