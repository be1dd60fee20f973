"""Validates the hyperparameters of optimizers and schedules."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from effv2_tune.errors import TuneError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

SMALLEST_FLOAT32 = float(np.finfo(np.float32).tiny)
"""The smallest float32 that processors do not flush to zero, about 1.2e-38."""

SMALLEST_FLOAT16 = float(np.finfo(np.float16).smallest_subnormal)
"""Anything below half of this, about 6e-8, is zero in float16."""

SMALLEST_BETA_2_WITH_RECTIFY = 2 / 3
"""At or below it the approximated length of the average never exceeds 5."""


@dataclass(frozen=True)
class Range:
    """A range from `low` to `high`; an open end is excluded."""

    low: float = 0.0
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False

    def holds(self, value: float) -> bool:
        """Whether `value`, rounded to float32, is in the range."""
        with np.errstate(over="ignore"):
            rounded = float(np.float32(value)) if abs(value) >= SMALLEST_FLOAT32 else 0.0
        above = rounded > self.low if self.open_low else rounded >= self.low
        below = rounded < self.high if self.open_high else rounded <= self.high
        # Negative values that round to zero are refused too.
        return above and below and value >= self.low and math.isfinite(rounded)

    def __str__(self) -> str:
        """The range in words."""
        low = f"above {self.low:g}" if self.open_low else f"at least {self.low:g}"
        if math.isinf(self.high):
            return f"{low} and finite"
        return f"{low} and {'below' if self.open_high else 'at most'} {self.high:g}"


_NOT_NEGATIVE = Range()
_POSITIVE = Range(open_low=True)
_FRACTION = Range(high=1.0)
_BELOW_ONE = Range(high=1.0, open_high=True)

RANGES: Mapping[str, Range] = {
    "learning_rate": _NOT_NEGATIVE,
    "initial_learning_rate": _NOT_NEGATIVE,
    "maximal_learning_rate": _NOT_NEGATIVE,
    "min_lr": _NOT_NEGATIVE,
    "weight_decay": _NOT_NEGATIVE,
    # Below 0.5 the stem of the deepest networks would hardly be trained: 0.5**8 is 1 in 256.
    "layer_decay": Range(low=0.5, high=1.0),
    "l2": _NOT_NEGATIVE,
    "step_size": _POSITIVE,
    "warmup_steps": _NOT_NEGATIVE,
    "decay_steps": _POSITIVE,
    "total_steps": _POSITIVE,
    "warmup_proportion": _FRACTION,
    "gamma": Range(high=1.0, open_low=True),
    "beta_1": _BELOW_ONE,
    "beta_2": _BELOW_ONE,
    "rho": _BELOW_ONE,
    "momentum": _BELOW_ONE,
    "ema_momentum": _FRACTION,
    "epsilon": _POSITIVE,
    # The rectified branch takes the root of (rho - 4)(rho - 2).
    "sma_threshold": Range(low=4.0),
    "clipnorm": _POSITIVE,
    "clipvalue": _POSITIVE,
    "global_clipnorm": _POSITIVE,
    "loss_scale_factor": _POSITIVE,
}
"""The range of each hyperparameter, by name."""


def check_hyperparameters(hyperparameters: Mapping[str, float], *, rectify: bool = False) -> None:
    """Refuse hyperparameters that no training should start with.

    Args:
        hyperparameters: Values by name, all of them from `RANGES`.
        rectify: Whether they are those of a rectified AdaBelief.

    Raises:
        TuneError: Naming the first value that is out of its range, an initial learning rate above
            the maximal one, or a `beta_2` with which rectified AdaBelief never adapts.
    """
    for name, value in hyperparameters.items():
        _check_hyperparameter(name, value)
    initial = hyperparameters.get("initial_learning_rate")
    maximal = hyperparameters.get("maximal_learning_rate")
    if initial is not None and maximal is not None and initial > maximal:
        raise TuneError(
            f"initial_learning_rate {initial:g} is above maximal_learning_rate {maximal:g}.",
            hint="A cycle rises from the initial to the maximal learning rate: swap the two.",
        )
    if rectify:
        _check_rectified(hyperparameters["beta_2"], hyperparameters["sma_threshold"])


def with_changes(
    hyperparameters: Mapping[str, float],
    changes: Mapping[str, float],
    *,
    known: Collection[str] | None = None,
) -> dict[str, float]:
    """Return hyperparameters with some of them changed.

    Args:
        hyperparameters: Values by name.
        changes: New values by name.
        known: Names that may change; those of `hyperparameters` by default.

    Raises:
        TuneError: Naming the first changed one that is unknown, and the known ones.
    """
    known = hyperparameters if known is None else known
    for name in changes:
        if name not in known:
            raise TuneError(
                f"Unknown hyperparameter {name!r}{did_you_mean(name, known) or '.'}",
                hint=f"This optimizer has: {', '.join(sorted(known))}.",
            )
    return {**hyperparameters, **changes}


def check_weight_dtype(epsilon: float, dtype: str) -> None:
    """Refuse an epsilon that is zero in the dtype of the weights.

    The moments are float32 whatever the weights are. But an epsilon that underflows in float16
    permits steps that float16 weights cannot represent: they become inf, then NaN
    (https://github.com/juntang-zhuang/Adabelief-Optimizer/issues/31).

    Raises:
        TuneError: If `dtype` is float16 and `epsilon` is zero there.
    """
    if dtype == "float16" and float(np.float16(epsilon)) == 0.0:
        raise TuneError(
            f"epsilon {epsilon:g} underflows to 0 in float16, the dtype of the weights "
            f"(its smallest number is {SMALLEST_FLOAT16:.0e}).",
            hint="Use epsilon 1e-7 or more, or keep the weights in float32, "
            "as the policies mixed_float16 and mixed_bfloat16 do.",
        )


def _check_hyperparameter(name: str, value: float) -> None:
    is_number = isinstance(value, int | float | np.integer | np.floating)
    if not is_number or isinstance(value, bool) or math.isnan(value):
        raise TuneError(f"{name} must be a number, found {value!r}.", hint=_range_hint(name))
    if not RANGES[name].holds(value):
        raise TuneError(f"{name} must be {RANGES[name]}, found {value:g}.", hint=_range_hint(name))


def _range_hint(name: str) -> str:
    return f"{name} is a number {RANGES[name]}, in float32."


def _check_rectified(beta_2: float, sma_threshold: float) -> None:
    # rho never reaches (1 + beta_2) / (1 - beta_2); solved for beta_2 at the threshold.
    lowest = max(SMALLEST_BETA_2_WITH_RECTIFY, (sma_threshold - 1) / (sma_threshold + 1))
    if beta_2 <= lowest:
        raise TuneError(
            f"beta_2 {beta_2:g} is at or below {lowest:.4g}: with rectify and sma_threshold "
            f"{sma_threshold:g} the adaptive branch is never reached, and every step is plain "
            "momentum.",
            hint="Use a larger beta_2 (0.999 is usual), or rectify=False.",
        )
