"""Defines learning-rate schedules for Keras optimizers.

With the optimizers of this package the hyperparameters of a schedule are variables of the
optimizer; with any other Keras optimizer they are constants. A schedule holds no state, so that one
schedule may serve many trials.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, get_args

import keras
from keras import ops

from effv2_tune.errors import TuneError
from effv2_tune.optimizers.curves import ScheduleKind, ScheduleSettings, learning_rate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from effv2_tune.tensor import Tensor

CyclicalPolicy: TypeAlias = Literal["triangular", "triangular2", "exponential"]
ScaleMode: TypeAlias = Literal["cycle", "iterations"]


class TunableSchedule(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
    """A schedule whose hyperparameters can be variables of an optimizer.

    Attributes:
        settings: Its kind and its hyperparameters.
    """

    def __init__(self, settings: ScheduleSettings) -> None:
        super().__init__()
        self.settings = settings

    def __call__(self, step: Tensor) -> Tensor:
        """Compute the learning rate of `step`.

        Args:
            step: Steps from 0, integer or float, any shape.

        Returns:
            Learning rate, float32, in the shape of `step`.
        """
        return self.at(step, self.settings.hyperparameters)

    def at(self, step: Tensor, hyperparameters: Mapping[str, Tensor]) -> Tensor:
        """Compute the learning rate of `step` with other hyperparameters.

        Args:
            step: Steps from 0, integer or float, any shape.
            hyperparameters: Float32 scalars by name, those of `settings.hyperparameters`.

        Returns:
            Learning rate, float32.
        """
        return scheduled(self.settings.kind, step, hyperparameters)

    def with_hyperparameters(self, hyperparameters: Mapping[str, float]) -> Self:
        """Create the same kind of schedule with other hyperparameters."""
        return type(self).from_settings(ScheduleSettings(self.settings.kind, hyperparameters))

    @classmethod
    def from_settings(cls, settings: ScheduleSettings) -> Self:
        """Create a schedule from its settings."""
        return cls(**settings.hyperparameters)  # type: ignore[arg-type]

    def get_config(self) -> dict[str, Any]:
        """Describe the schedule in plain values."""
        return dict(self.settings.hyperparameters)


@keras.saving.register_keras_serializable(package="effv2_tune")
class CyclicalLearningRate(TunableSchedule):
    """A learning rate that rises and falls between two bounds, over and over.

    Smith, https://arxiv.org/abs/1506.01186; its values are those of tensorflow-addons 0.23.0.

    Args:
        initial_learning_rate: The lower bound, where every cycle begins and ends.
        maximal_learning_rate: The upper bound; the first peak.
        step_size: Half a cycle, in optimizer steps; above 0, need not be whole.
        policy: `triangular` (all peaks alike), `triangular2` (each peak half as high above the
            lower bound as the one before), or `exponential` (the height shrinks by `gamma`).
        scale_mode: Whether an exponential schedule shrinks per `cycle` or per `iterations`
            (steps). None is the default of the policy: `iterations` for `exponential`, `cycle`
            for the others, which have no other.
        gamma: What an exponential schedule shrinks by; above 0, at most 1.
        name: Name of the schedule.
        warmup_steps: Steps over which the height above the lower bound grows linearly to that of
            the cycle; 0 for none.

    Raises:
        TuneError: If a value is out of range, the bounds are swapped, or the policy or the scale
            mode is unknown.

    Example:
        >>> schedule = CyclicalLearningRate(1e-4, 5e-2, step_size=704, policy="triangular2")
        >>> float(schedule(704))
        0.05...
    """

    def __init__(  # noqa: PLR0917 - the signature of tensorflow-addons
        self,
        initial_learning_rate: float,
        maximal_learning_rate: float,
        step_size: float,
        policy: CyclicalPolicy = "triangular",
        scale_mode: ScaleMode | None = None,
        gamma: float = 1.0,
        name: str = "CyclicalLearningRate",
        warmup_steps: float = 0.0,
    ) -> None:
        kind = _cyclical_kind(policy, scale_mode)
        hyperparameters = {
            "initial_learning_rate": initial_learning_rate,
            "maximal_learning_rate": maximal_learning_rate,
            "warmup_steps": warmup_steps,
            "step_size": step_size,
        }
        if policy == "exponential":
            hyperparameters["gamma"] = gamma
        elif gamma != 1.0:
            raise TuneError(
                f"gamma {gamma!r} has no meaning for the policy {policy!r}.",
                hint="Leave gamma out, or use the policy 'exponential'.",
            )
        super().__init__(ScheduleSettings(kind, hyperparameters))
        self.name = name

    @classmethod
    def from_settings(cls, settings: ScheduleSettings) -> Self:
        """Create a schedule from its settings."""
        policy, scale_mode = _policy_of(settings.kind)
        return cls(policy=policy, scale_mode=scale_mode, **settings.hyperparameters)  # type: ignore[arg-type]

    @classmethod
    def triangular(cls, initial: float, maximal: float, step_size: float) -> Self:
        """Create a schedule with equal peaks."""
        return cls(initial, maximal, step_size, "triangular")

    @classmethod
    def triangular2(cls, initial: float, maximal: float, step_size: float) -> Self:
        """Create a schedule with peaks that are each half as high above `initial` as the last."""
        return cls(initial, maximal, step_size, "triangular2")

    @classmethod
    def exponential(
        cls,
        initial: float,
        maximal: float,
        step_size: float,
        *,
        gamma: float,
        scale_mode: ScaleMode = "iterations",
    ) -> Self:
        """Create a schedule whose height shrinks by `gamma` in every step or cycle."""
        return cls(initial, maximal, step_size, "exponential", scale_mode, gamma)

    def get_config(self) -> dict[str, Any]:
        """Describe the schedule in plain values."""
        policy, scale_mode = _policy_of(self.settings.kind)
        options = {"policy": policy, "scale_mode": scale_mode, "name": self.name}
        return super().get_config() | options


@keras.saving.register_keras_serializable(package="effv2_tune")
class ConstantLearningRate(TunableSchedule):
    """The same learning rate in every step.

    Args:
        learning_rate: That rate, at least 0.

    Raises:
        TuneError: If it is negative or not finite.
    """

    def __init__(self, learning_rate: float) -> None:
        super().__init__(ScheduleSettings("constant", {"learning_rate": learning_rate}))


@keras.saving.register_keras_serializable(package="effv2_tune")
class WarmupLearningRate(TunableSchedule):
    """A linear warm-up, then the same learning rate in every step.

    Goyal et al., https://arxiv.org/abs/1706.02677, section 2.2.

    Args:
        initial_learning_rate: Where the warm-up begins.
        maximal_learning_rate: The rate from step `warmup_steps` on.
        warmup_steps: Steps of the warm-up; 0 begins at the upper bound.

    Raises:
        TuneError: If a value is out of range or the bounds are swapped.
    """

    def __init__(
        self,
        initial_learning_rate: float,
        maximal_learning_rate: float,
        warmup_steps: float,
    ) -> None:
        hyperparameters = {
            "initial_learning_rate": initial_learning_rate,
            "maximal_learning_rate": maximal_learning_rate,
            "warmup_steps": warmup_steps,
        }
        super().__init__(ScheduleSettings("warmup", hyperparameters))


@keras.saving.register_keras_serializable(package="effv2_tune")
class CosineLearningRate(TunableSchedule):
    """A linear warm-up, then half a cosine down to the lower bound.

    Loshchilov and Hutter, https://arxiv.org/abs/1608.03983, without restarts.

    Args:
        initial_learning_rate: The lower bound, where the warm-up begins and the cosine ends.
        maximal_learning_rate: The upper bound, reached at step `warmup_steps`.
        decay_steps: Steps of the cosine, after the warm-up; above 0.
        warmup_steps: Steps of the warm-up; 0 begins at the upper bound.

    Raises:
        TuneError: If a value is out of range or the bounds are swapped.
    """

    def __init__(
        self,
        initial_learning_rate: float,
        maximal_learning_rate: float,
        decay_steps: float,
        warmup_steps: float = 0.0,
    ) -> None:
        hyperparameters = {
            "initial_learning_rate": initial_learning_rate,
            "maximal_learning_rate": maximal_learning_rate,
            "warmup_steps": warmup_steps,
            "decay_steps": decay_steps,
        }
        super().__init__(ScheduleSettings("cosine", hyperparameters))


def scheduled(kind: ScheduleKind, step: Tensor, hyperparameters: Mapping[str, Tensor]) -> Tensor:
    """Compute the learning rate of `step` in float32 on the running Keras backend.

    Args:
        kind: The kind of schedule.
        step: Steps from 0, integer or float, any shape.
        hyperparameters: Those of the kind, floats or float32 scalars.
    """
    tensors = {
        name: ops.convert_to_tensor(value, dtype="float32")
        for name, value in hyperparameters.items()
    }
    return learning_rate(ops, kind, ops.cast(step, "float32"), tensors)


def _policy_of(kind: ScheduleKind) -> tuple[str, str]:
    """Return the policy and the scale mode of a kind."""
    policy, _, per_cycle = kind.partition("_per_")
    return policy, "cycle" if per_cycle or policy != "exponential" else "iterations"


def _cyclical_kind(policy: str, scale_mode: str | None) -> ScheduleKind:
    """Return the kind of a policy with a scale mode."""
    if policy not in get_args(CyclicalPolicy):
        raise TuneError(
            f"There is no cyclical policy {policy!r}.",
            hint=f"The policies are: {', '.join(get_args(CyclicalPolicy))}.",
        )
    if scale_mode not in {None, *get_args(ScaleMode)}:
        raise TuneError(
            f"There is no scale mode {scale_mode!r}.", hint="Use 'cycle' or 'iterations'."
        )
    if policy == "exponential":
        return "exponential_per_cycle" if scale_mode == "cycle" else "exponential"
    if scale_mode == "iterations":
        # tensorflow-addons accepts it, and then halves the amplitude in every step.
        raise TuneError(
            f"The policy {policy!r} scales by cycle only.",
            hint="Leave scale_mode out, or use the policy 'exponential'.",
        )
    return "triangular" if policy == "triangular" else "triangular2"
