"""AdamW for Keras 3, with numbers that can change."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from effv2_tune.optimizers import rules
from effv2_tune.optimizers.keras_optimizers.tunable import TunableOptimizer


@keras.saving.register_keras_serializable(package="effv2_tune")
class AdamW(TunableOptimizer):
    """AdamW as Keras computes it; every number is a variable.

    Loshchilov and Hutter, https://arxiv.org/abs/1711.05101.

    Args:
        learning_rate: A float or a schedule.
        weight_decay: Decoupled, times the learning rate; None leaves the term out (Adam).
        beta_1: Decay of the first moment, from 0 and below 1.
        beta_2: Decay of the second moment, from 0 and below 1.
        epsilon: Added to the root of the second moment.
        amsgrad: Whether to divide by the largest second moment so far.
        name: Name of the optimizer.
        **kwargs: What every Keras optimizer takes, as in `AdaBelief`.

    Raises:
        TuneError: If a number is out of its range.
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
            learning_rate,
            own_hyperparameters={"beta_1": beta_1, "beta_2": beta_2, "epsilon": epsilon},
            weight_decay=weight_decay,
            name=name,
            **kwargs,
        )
        self.amsgrad = amsgrad

    @property
    def moment_names(self) -> tuple[str, ...]:
        """Names of the vectors kept for each weight."""
        names = ("first_moment", "second_moment")
        return (*names, "largest_second_moment") if self.amsgrad else names

    def coefficients(self, learning_rate: Any) -> rules.AdamWCoefficients:
        """Compute the scalars that the update of all weights shares."""
        return rules.adamw_coefficients(
            step=ops.cast(self.iterations, "float32") + 1.0,
            learning_rate=ops.cast(learning_rate, "float32"),
            beta_1=ops.convert_to_tensor(self.beta_1),
            beta_2=ops.convert_to_tensor(self.beta_2),
            epsilon=ops.convert_to_tensor(self.epsilon),
            weight_decay=0.0
            if self.weight_decay is None
            else ops.convert_to_tensor(self.weight_decay),
        )

    def weight_change(
        self, gradient: Any, moments: tuple[Any, ...], shared: Any
    ) -> tuple[Any, tuple[Any, ...]]:
        """Compute what to subtract from a weight (before decay), and its new moments."""
        return rules.adamw_step(gradient, moments, shared)

    def get_config(self) -> dict[str, Any]:
        """Describe the optimizer, with the present values of its numbers, in plain values."""
        hyperparameters = self.hyperparameters
        own = {name: hyperparameters[name] for name in ("beta_1", "beta_2", "epsilon")}
        return super().get_config() | own | {"amsgrad": self.amsgrad}
