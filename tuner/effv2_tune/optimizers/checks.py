"""Which numbers an optimizer or a schedule refuses."""

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
    """From `low` to `high`; an open end is not part of it."""

    low: float = 0.0
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False

    def holds(self, value: float) -> bool:
        """Tell whether float32 arithmetic sees `value` inside the range."""
        with np.errstate(over="ignore"):
            rounded = float(np.float32(value)) if abs(value) >= SMALLEST_FLOAT32 else 0.0
        above = rounded > self.low if self.open_low else rounded >= self.low
        below = rounded < self.high if self.open_high else rounded <= self.high
        # -0.0 and numbers below zero that round to it are refused by their own sign.
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
    "step_size": _POSITIVE,
    "warmup_steps": _NOT_NEGATIVE,
    "decay_steps": _POSITIVE,
    "total_steps": _POSITIVE,
    "warmup_proportion": _FRACTION,
    "gamma": Range(high=1.0, open_low=True),
    "beta_1": _BELOW_ONE,
    "beta_2": _BELOW_ONE,
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
"""What each number may be, by its name."""


def check_hyperparameters(hyperparameters: Mapping[str, float], *, rectify: bool = False) -> None:
    """Refuse numbers that no training should start with.

    Args:
        hyperparameters: Values by name, all of them from `RANGES`.
        rectify: Whether the numbers are those of a rectified AdaBelief.

    Raises:
        TuneError: Naming the first number that is out of its range, an initial learning rate above
            the maximal one, or a `beta_2` with which rectified AdaBelief never adapts.
    """
    for name, value in hyperparameters.items():
        _check_hyperparameter(name, value)
    initial = hyperparameters.get("initial_learning_rate")
    maximal = hyperparameters.get("maximal_learning_rate")
    if initial is not None and maximal is not None and initial > maximal:
        raise TuneError(
            f"initial_learning_rate {initial:g} is above maximal_learning_rate {maximal:g}.",
            hint="A cycle climbs from the initial to the maximal learning rate: swap the two.",
        )
    if rectify:
        _check_rectified(hyperparameters["beta_2"], hyperparameters["sma_threshold"])


def check_names(names: Collection[str], known: Collection[str]) -> None:
    """Refuse names that are none of `known`.

    Raises:
        TuneError: Naming the first unknown one, and those that there are.
    """
    for name in names:
        if name not in known:
            raise TuneError(
                f"This optimizer has no number called {name!r}{did_you_mean(name, known)}.",
                hint=f"Its numbers are: {', '.join(sorted(known))}.",
            )


def check_weight_dtype(epsilon: float, dtype: str) -> None:
    """Refuse an epsilon that is zero in the dtype of the weights.

    The moments are float32 whatever the weights are. But an epsilon below what float16 can tell
    from zero permits steps that float16 weights cannot hold: they turn into inf, then NaN
    (https://github.com/juntang-zhuang/Adabelief-Optimizer/issues/31).

    Raises:
        TuneError: If `dtype` is float16 and `epsilon` is zero there.
    """
    if dtype == "float16" and float(np.float16(epsilon)) == 0.0:
        raise TuneError(
            f"epsilon {epsilon:g} underflows to 0 in float16, the dtype of the weights "
            f"(its smallest number is {SMALLEST_FLOAT16:.0e}).",
            hint="Take epsilon 1e-7 or more, or keep the weights in float32, "
            "as the policies mixed_float16 and mixed_bfloat16 do.",
        )


def _check_hyperparameter(name: str, value: float) -> None:
    is_number = isinstance(value, int | float | np.integer | np.floating)
    if not is_number or isinstance(value, bool) or math.isnan(value):
        raise TuneError(f"{name} must be a number, found {value!r}.", hint=_range_hint(name))
    if not RANGES[name].holds(value):
        raise TuneError(f"{name} must be {RANGES[name]}, found {value:g}.", hint=_range_hint(name))


def _range_hint(name: str) -> str:
    return f"{name} is a number {RANGES[name]}, as float32 sees it."


def _check_rectified(beta_2: float, sma_threshold: float) -> None:
    # rho never reaches (1 + beta_2) / (1 - beta_2); solved for beta_2 at the threshold.
    lowest = max(SMALLEST_BETA_2_WITH_RECTIFY, (sma_threshold - 1) / (sma_threshold + 1))
    if beta_2 <= lowest:
        raise TuneError(
            f"beta_2 {beta_2:g} is at or below {lowest:.4g}: with rectify and sma_threshold "
            f"{sma_threshold:g} the adaptive branch is never reached, and every step is plain "
            "momentum.",
            hint="Take a larger beta_2 (0.999 is usual), or rectify=False.",
        )
