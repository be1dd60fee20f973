"""Computes the learning rate of a step by plain functions.

The formulas are written once, for numpy (float64, for plots) and for `keras.ops` (float32, for
training): `ops` is either of the two. This module imports no framework.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from effv2_tune.errors import TuneError, did_you_mean
from effv2_tune.optimizers.checks import check_hyperparameters

if TYPE_CHECKING:
    from collections.abc import Mapping

    from effv2_tune.tensor import Tensor

ScheduleKind: TypeAlias = Literal[
    "constant",
    "warmup",
    "cosine",
    "triangular",
    "triangular2",
    "exponential",
    "exponential_per_cycle",
]
"""The part of a schedule that is part of the trace."""

_BOUNDS = ("initial_learning_rate", "maximal_learning_rate")
LEARNING_RATES = ("learning_rate", *_BOUNDS)
"""The hyperparameters that are learning rates: if they are equal, the rate of each step is, too."""

SCHEDULE_HYPERPARAMETERS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "constant": ("learning_rate",),
        "warmup": (*_BOUNDS, "warmup_steps"),
        "cosine": (*_BOUNDS, "warmup_steps", "decay_steps"),
        "triangular": (*_BOUNDS, "warmup_steps", "step_size"),
        "triangular2": (*_BOUNDS, "warmup_steps", "step_size"),
        "exponential": (*_BOUNDS, "warmup_steps", "step_size", "gamma"),
        "exponential_per_cycle": (*_BOUNDS, "warmup_steps", "step_size", "gamma"),
    }
)
"""The hyperparameters of each kind of schedule, in the order in which they are stored."""

SCHEDULE_DEFAULTS: Mapping[str, float] = MappingProxyType({"warmup_steps": 0.0})
"""Those that may be left out, with their values then."""

# Beyond 2**24 half cycles float32 resolves no position within a cycle; the bound avoids
# inf - inf, a NaN, for the smallest step sizes.
_MAX_HALF_CYCLES = 1e30


@dataclass(frozen=True)
class ScheduleSettings:
    """A kind of schedule and its hyperparameters.

    Attributes:
        kind: `constant`; `warmup` (linear warm-up, then constant); `cosine` (linear warm-up, then
            half a cosine); `triangular`; `triangular2` (the amplitude halves with every cycle);
            `exponential` (the amplitude shrinks by `gamma` every step); `exponential_per_cycle`
            (every cycle).
        hyperparameters: Values by name: those that `SCHEDULE_HYPERPARAMETERS` lists for the kind;
            those in `SCHEDULE_DEFAULTS` may be left out. Learning rates; `step_size` is half a
            cycle in steps; `decay_steps` begin after `warmup_steps`. During the warm-up the
            amplitude of a cycle grows linearly; it moves no cycle.
    """

    kind: ScheduleKind
    hyperparameters: Mapping[str, float]

    def __post_init__(self) -> None:
        """Refuse unknown kinds and values out of their range."""
        if self.kind not in SCHEDULE_HYPERPARAMETERS:
            raise TuneError(
                f"There is no schedule {self.kind!r}"
                f"{did_you_mean(self.kind, SCHEDULE_HYPERPARAMETERS) or '.'}",
                hint=f"The schedules are: {', '.join(SCHEDULE_HYPERPARAMETERS)}.",
            )
        expected = SCHEDULE_HYPERPARAMETERS[self.kind]
        given = schedule_defaults(self.kind) | dict(self.hyperparameters)
        if set(given) != set(expected):
            raise TuneError(
                f"The schedule {self.kind!r} takes {', '.join(expected)}, "
                f"found {', '.join(self.hyperparameters) or 'nothing'}.",
                hint="Name each of its hyperparameters once.",
            )
        check_hyperparameters(given)
        ordered = {name: float(given[name]) for name in expected}
        object.__setattr__(self, "hyperparameters", MappingProxyType(ordered))


def schedule_defaults(kind: ScheduleKind) -> dict[str, float]:
    """The hyperparameters of a schedule that may be left out, with their values then."""
    names = SCHEDULE_HYPERPARAMETERS[kind]
    return {name: value for name, value in SCHEDULE_DEFAULTS.items() if name in names}


def learning_rate_at(settings: ScheduleSettings, steps: Any) -> np.ndarray[Any, Any]:
    """Compute the learning rate of each step in float64, for plots and plans.

    Args:
        settings: The schedule.
        steps: Steps from 0, any shape.

    Returns:
        Learning rates, float64, in the shape of `steps`.
    """
    at = np.asarray(steps, dtype=np.float64)
    rates = learning_rate(np, settings.kind, at, settings.hyperparameters)
    return np.broadcast_to(np.asarray(rates, dtype=np.float64), at.shape).copy()


def learning_rate(
    ops: Any, kind: ScheduleKind, step: Tensor, hyperparameters: Mapping[str, Tensor]
) -> Tensor:
    """Compute the learning rate of `step` with the functions of `ops`.

    Args:
        ops: `numpy` or `keras.ops`.
        kind: The kind of schedule.
        step: Steps from 0, as floats.
        hyperparameters: Those of the kind, as floats or float tensors.

    Returns:
        A learning rate for each step.
    """
    if kind == "constant":
        return hyperparameters["learning_rate"]
    low, high = hyperparameters["initial_learning_rate"], hyperparameters["maximal_learning_rate"]
    height = warmed = _warmed_up(ops, step, hyperparameters)
    if kind == "cosine":
        height = _cosine_height(ops, step, hyperparameters)
    elif kind != "warmup":
        height = _cyclical_height(ops, kind, step, hyperparameters) * warmed
    # low + (high - low) may round to more than high, or to less.
    rate = ops.minimum(low + (high - low) * height, high)
    return ops.where(height < 1.0, rate, high) if kind == "warmup" else rate


def _warmed_up(ops: Any, step: Tensor, hyperparameters: Mapping[str, Tensor]) -> Tensor:
    """Compute how much of the warm-up is done, from 0 to 1; exactly 1 after it.

    As a factor of the schedule: Ma and Yarats, https://arxiv.org/abs/1910.04209, section 2.
    """
    warmup_steps = hyperparameters["warmup_steps"]
    return ops.where(step < warmup_steps, step / ops.maximum(warmup_steps, 1.0), 1.0)


def _cyclical_height(
    ops: Any, kind: ScheduleKind, step: Tensor, hyperparameters: Mapping[str, Tensor]
) -> Tensor:
    """Compute the height of the learning rate between its bounds, from 0 to 1.

    Smith, https://arxiv.org/abs/1506.01186; formula of tensorflow-addons 0.23.0,
    `cyclical_learning_rate.py`.
    """
    half_cycles = ops.minimum(step / hyperparameters["step_size"], _MAX_HALF_CYCLES)
    cycle = ops.floor(1.0 + half_cycles / 2.0)
    distance = ops.abs(half_cycles - 2.0 * cycle + 1.0)
    triangle = ops.maximum(0.0, 1.0 - distance)
    if kind == "triangular2":
        return triangle * ops.power(0.5, cycle - 1.0)
    if kind == "exponential":
        return triangle * ops.power(hyperparameters["gamma"], step)
    if kind == "exponential_per_cycle":
        return triangle * ops.power(hyperparameters["gamma"], cycle)
    return triangle


def _cosine_height(ops: Any, step: Tensor, hyperparameters: Mapping[str, Tensor]) -> Tensor:
    """Linear from 0 to 1 over the warm-up, then half a cosine down to 0, then 0.

    Loshchilov and Hutter, https://arxiv.org/abs/1608.03983, without restarts.
    """
    warmup_steps = hyperparameters["warmup_steps"]
    climbed = _warmed_up(ops, step, hyperparameters)
    decayed = ops.minimum(
        ops.maximum(step - warmup_steps, 0.0) / hyperparameters["decay_steps"], 1.0
    )
    return ops.where(step < warmup_steps, climbed, 0.5 + 0.5 * ops.cos(np.pi * decayed))
