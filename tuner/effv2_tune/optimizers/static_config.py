"""Defines the part of an optimizer that is compiled into a step."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, TypeAlias

from effv2_tune.errors import TuneError, did_you_mean
from effv2_tune.optimizers.curves import SCHEDULE_HYPERPARAMETERS, ScheduleKind

if TYPE_CHECKING:
    from collections.abc import Mapping

OptimizerKind: TypeAlias = Literal["adabelief", "adamw", "sgd", "rmsprop", "lion", "schedule_free"]

RULE_DEFAULTS: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "adabelief": {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-14, "sma_threshold": 5.0},
        "adamw": {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7},
        "sgd": {"momentum": 0.0},
        # As EfficientNetV2 was trained: google/automl, efficientnetv2/utils.py, build_optimizer.
        "rmsprop": {"rho": 0.9, "momentum": 0.9, "epsilon": 1e-3},
        "lion": {"beta_1": 0.9, "beta_2": 0.99},
        "schedule_free": {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8},
    }
)
"""The hyperparameters of each update rule beside its learning rate and weight decay."""

NO_AMSGRAD = ("sgd", "rmsprop", "lion", "schedule_free")
"""The update rules without a largest second moment."""


@dataclass(frozen=True)
class StaticConfig:
    """The part of an optimizer that cannot change without a new trace.

    Attributes:
        kind: The update rule: `adabelief`, `adamw`, `sgd`, `rmsprop`, `lion` or `schedule_free`.
        schedule: The kind of learning-rate schedule.
        rectify: Whether AdaBelief is rectified.
        amsgrad: Whether AdaBelief or AdamW divides by the largest second moment so far.
        nesterov: Whether SGD uses Nesterov momentum.
        l2: Whether the loss has an L2 regularization of the kernels, as a term of the gradient.
        clip: Whether gradients are scaled to a global norm of at most `global_clipnorm`.
        average: Whether a moving average of the weights (EMA) is kept.
        average_warms_up: Whether its momentum is smaller at first (`rules.warming_momentum`),
            unlike that of Keras.
    """

    kind: OptimizerKind = "adabelief"
    schedule: ScheduleKind = "constant"
    rectify: bool = True
    amsgrad: bool = False
    nesterov: bool = False
    l2: bool = False
    clip: bool = False
    average: bool = False
    average_warms_up: bool = False

    def __post_init__(self) -> None:
        """Refuse unknown kinds, and options that the kind does not have."""
        for noun, name, known in (
            ("optimizer", self.kind, RULE_DEFAULTS),
            ("schedule", self.schedule, SCHEDULE_HYPERPARAMETERS),
        ):
            if name not in known:
                raise TuneError(
                    f"There is no {noun} {name!r}{did_you_mean(name, known) or '.'}",
                    hint=f"There are: {', '.join(known)}.",
                )
        if self.nesterov and self.kind != "sgd":
            raise TuneError(f"{self.kind} has no nesterov.", hint="Use the optimizer sgd.")
        if self.kind == "schedule_free" and self.schedule not in ("constant", "warmup"):
            raise TuneError(
                f"schedule_free takes the place of the schedule {self.schedule!r}.",
                hint="Use a constant learning rate, with a warm-up or without.",
            )
        if self.kind == "schedule_free" and self.average:
            raise TuneError(
                "schedule_free has its own average of the weights.", hint="Use it without another."
            )
        if self.amsgrad and self.kind in NO_AMSGRAD:
            raise TuneError(
                f"{self.kind} has no amsgrad.", hint="Use the optimizer adabelief or adamw."
            )

    @property
    def rectified(self) -> bool:
        """Whether the update rule is rectified AdaBelief."""
        return self.kind == "adabelief" and self.rectify

    @property
    def keeps_average(self) -> bool:
        """Whether averaged weights are evaluated: a moving average, or that of the update rule."""
        return self.average or self.kind == "schedule_free"

    @property
    def default_hyperparameters(self) -> dict[str, float]:
        """The hyperparameters beside those of the schedule, with their defaults."""
        hyperparameters = dict(RULE_DEFAULTS[self.kind])
        hyperparameters |= {"weight_decay": 0.0, "layer_decay": 1.0}
        if not self.rectified:
            hyperparameters.pop("sma_threshold", None)
        if self.l2:
            hyperparameters["l2"] = 0.0
        if self.clip:
            hyperparameters["global_clipnorm"] = 1.0
        if self.average:
            hyperparameters["ema_momentum"] = 0.99
        return hyperparameters

    @property
    def hyperparameter_names(self) -> tuple[str, ...]:
        """All hyperparameters, in the order in which they are stored."""
        return (*SCHEDULE_HYPERPARAMETERS[self.schedule], *self.default_hyperparameters)

    @property
    def moment_names(self) -> tuple[str, ...]:
        """The moments that the update rule keeps of each weight."""
        if self.kind == "sgd":
            return ("velocity",)
        if self.kind == "rmsprop":
            return ("mean_square", "velocity")
        if self.kind == "lion":
            return ("first_moment",)
        if self.kind == "schedule_free":
            return ("ahead", "second_moment")
        names = ("first_moment", "second_moment")
        return (*names, "largest_second_moment") if self.amsgrad else names
