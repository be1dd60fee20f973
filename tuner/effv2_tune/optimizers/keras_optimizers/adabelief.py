"""Defines AdaBelief for Keras 3."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
from keras import ops

from effv2_tune.optimizers import rules
from effv2_tune.optimizers.checks import check_weight_dtype
from effv2_tune.optimizers.keras_optimizers.tunable import TunableOptimizer
from effv2_tune.optimizers.static_config import StaticConfig

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from effv2_tune.tensor import Tensor


@keras.saving.register_keras_serializable(package="effv2_tune")
class AdaBelief(TunableOptimizer):
    """AdaBelief: steps are large where gradients are as predicted.

    Zhuang et al., https://arxiv.org/abs/2010.07468. Its updates are those of adabelief-tf 0.2.1 and
    tensorflow-addons 0.23.0, whose defaults these are, on every Keras backend. Every hyperparameter
    is a variable: `set_hyperparameters` changes it without a new trace.

    With `rectify` (https://arxiv.org/abs/1908.03265) the first steps (five, for `beta_2` 0.999 and
    `sma_threshold` 5) are plain momentum.

    Args:
        learning_rate: A float or a schedule.
        beta_1: Decay of the first moment, from 0 and below 1.
        beta_2: Decay of the second moment, from 0 and below 1; with `rectify` above 2/3.
        epsilon: Added to the second moment in every step, and to its root. The authors advise 1e-7
            where SGD does better than Adam (classification of images), 1e-14 where Adam does
            better. 0 stands for `keras.config.epsilon()`, as in the original.
        weight_decay: Decoupled, times the learning rate; None leaves the term out.
        rectify: Whether to rectify the variance of the early steps.
        amsgrad: Whether to divide by the largest second moment so far.
        sma_threshold: A step is adaptive where the approximated length of the average is at least
            this; at least 4.
        total_steps: Steps of the warm-up and decay of the learning rate, on top of any schedule;
            0 for none.
        warmup_proportion: Share of `total_steps` that is warm-up, from 0 to 1.
        min_lr: Learning rate at and after `total_steps`.
        name: Name of the optimizer.
        **kwargs: Arguments of every Keras optimizer: `clipnorm`, `clipvalue`, `global_clipnorm`,
            `use_ema`, `ema_momentum`, `ema_overwrite_frequency`, `loss_scale_factor`,
            `gradient_accumulation_steps`.

    Raises:
        TuneError: If a value is out of its range, `beta_2` leaves the rectified branch out of
            reach, or `epsilon` is zero in the dtype of the weights.
    """

    def __init__(  # noqa: PLR0917 - the signature of the original
        self,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule = 1e-3,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-14,
        weight_decay: float | None = None,
        rectify: bool = True,  # noqa: FBT001, FBT002 - the signature of the original
        amsgrad: bool = False,  # noqa: FBT001, FBT002 - the signature of the original
        sma_threshold: float = 5.0,
        total_steps: float = 0,
        warmup_proportion: float = 0.1,
        min_lr: float = 0.0,
        name: str | None = "adabelief",
        **kwargs: Any,
    ) -> None:
        hyperparameters = {"beta_1": beta_1, "beta_2": beta_2, "epsilon": _resolved(epsilon)}
        if rectify:
            hyperparameters["sma_threshold"] = sma_threshold
        if total_steps != 0:
            hyperparameters["total_steps"] = total_steps
            hyperparameters["warmup_proportion"] = warmup_proportion
            hyperparameters["min_lr"] = min_lr
        check_weight_dtype(hyperparameters["epsilon"], keras.config.floatx())
        super().__init__(
            StaticConfig("adabelief", rectify=rectify, amsgrad=amsgrad),
            learning_rate,
            rule_hyperparameters=hyperparameters,
            weight_decay=weight_decay,
            name=name,
            **kwargs,
        )
        # As plain values: variables cannot be read inside a trace, where `build` may run.
        self._epsilon_now = hyperparameters["epsilon"]
        self._weight_dtypes: tuple[str, ...] = ()
        self.rectify = rectify
        self.amsgrad = amsgrad

    def set_hyperparameters(self, hyperparameters: Mapping[str, float]) -> None:
        """Set hyperparameters; compiled steps use the new values without a new trace.

        Raises:
            TuneError: If a name is unknown, or a value is out of its range. Then none
                has changed.
        """
        resolved = dict(hyperparameters)
        if "epsilon" in resolved:
            resolved["epsilon"] = _resolved(resolved["epsilon"])
            for dtype in self._weight_dtypes:
                check_weight_dtype(resolved["epsilon"], dtype)
        super().set_hyperparameters(resolved)
        self._epsilon_now = resolved.get("epsilon", self._epsilon_now)

    def build(self, variables: Sequence[Tensor]) -> None:
        """Create the moments of `variables`, float32 zeros.

        Raises:
            TuneError: If `epsilon` is zero in the dtype of one of the variables.
        """
        if self.built:
            return
        self._weight_dtypes = tuple({keras.backend.standardize_dtype(v.dtype) for v in variables})
        for dtype in self._weight_dtypes:
            check_weight_dtype(self._epsilon_now, dtype)
        super().build(variables)

    def _get_current_learning_rate(self) -> Tensor:
        rate = super()._get_current_learning_rate()
        if "total_steps" not in self._hyperparameter_names:
            return rate
        return rules.warmed_up(
            ops.convert_to_tensor(rate),
            step=ops.cast(self.iterations, "float32") + 1.0,
            total_steps=ops.convert_to_tensor(self.total_steps),
            warmup_proportion=ops.convert_to_tensor(self.warmup_proportion),
            min_lr=ops.convert_to_tensor(self.min_lr),
        )

    def get_config(self) -> dict[str, Any]:
        """Describe the optimizer, with its present hyperparameters, in plain values."""
        defaults = {"sma_threshold": 5.0, "total_steps": 0, "warmup_proportion": 0.1, "min_lr": 0.0}
        options = {"rectify": self.rectify, "amsgrad": self.amsgrad}
        return defaults | super().get_config() | options


def _resolved(epsilon: float) -> float:
    """Replace an epsilon of 0 as adabelief-tf and tensorflow-addons do."""
    return float(keras.config.epsilon()) if epsilon == 0 else epsilon
