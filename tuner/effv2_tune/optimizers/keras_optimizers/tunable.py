"""A Keras optimizer all of whose numbers are variables."""

from __future__ import annotations

from abc import abstractmethod
from numbers import Real
from typing import TYPE_CHECKING, Any

import keras
from keras import ops

from effv2_tune.errors import TuneError
from effv2_tune.optimizers import rules
from effv2_tune.optimizers.checks import check_hyperparameters, check_names
from effv2_tune.optimizers.float32 import as_written
from effv2_tune.optimizers.schedules import ConstantLearningRate, TunableSchedule

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_CLIPPING = ("clipnorm", "clipvalue", "global_clipnorm")


class TunableOptimizer(keras.optimizers.Optimizer):  # type: ignore[misc]
    """A Keras optimizer that takes new numbers without a new trace.

    Every number (learning rate or the numbers of its schedule, betas, weight decay, clipping, EMA
    momentum, loss scale) is a float32 variable of the optimizer: a compiled step reads it as an
    input. What is on or off, and whole numbers that count steps (`gradient_accumulation_steps`,
    `ema_overwrite_frequency`), are part of the trace.

    The moments are float32 whatever the dtype of the weights.

    Args:
        learning_rate: A float or a schedule.
        own_hyperparameters: The numbers of the update rule, by name; each becomes an attribute.
        rectify: Whether the numbers are those of a rectified AdaBelief.
        weight_decay: Decoupled, times the learning rate; None leaves the term out.
        clipnorm: Largest norm of each gradient; None does not clip.
        clipvalue: Largest magnitude of each element; None does not clip.
        global_clipnorm: Largest norm of all gradients together; None does not clip.
        use_ema: Whether to keep a moving average of the weights.
        ema_momentum: What the average keeps of itself in each step, from 0 to 1.
        ema_overwrite_frequency: Every so many steps the weights become their average; None never.
        loss_scale_factor: The loss is multiplied by it and the gradients divided; None does not.
        gradient_accumulation_steps: Update once in so many steps; None in each.
        name: Name of the optimizer.

    Raises:
        TuneError: If a number is out of its range.
    """

    def __init__(
        self,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule,
        *,
        own_hyperparameters: Mapping[str, float],
        rectify: bool = False,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None,
        name: str | None = None,
    ) -> None:
        learning_rate = _without_constant(learning_rate)
        is_rate = isinstance(learning_rate, int | float) and not isinstance(learning_rate, bool)
        optional = {
            "weight_decay": weight_decay,
            "clipnorm": clipnorm,
            "clipvalue": clipvalue,
            "global_clipnorm": global_clipnorm,
            "ema_momentum": ema_momentum if use_ema else None,
            "loss_scale_factor": loss_scale_factor,
        }
        hyperparameters = {name: n for name, n in optional.items() if n is not None} | dict(
            own_hyperparameters
        )
        _check_one_clipping(hyperparameters)
        check_hyperparameters(
            hyperparameters | ({"learning_rate": learning_rate} if is_rate else {}), rectify=rectify
        )
        super().__init__(
            learning_rate=float(learning_rate) if is_rate else learning_rate,
            use_ema=use_ema,
            ema_momentum=ema_momentum,
            ema_overwrite_frequency=ema_overwrite_frequency,
            gradient_accumulation_steps=gradient_accumulation_steps,
            name=name,
        )
        self._rectifies = rectify
        if isinstance(learning_rate, TunableSchedule):
            hyperparameters = dict(learning_rate.settings.hyperparameters) | hyperparameters
        self._hyperparameter_names = tuple(hyperparameters)
        for number_name, value in hyperparameters.items():
            setattr(self, number_name, self._add_hyperparameter(number_name, value))

    def _add_hyperparameter(self, name: str, value: float) -> Any:
        return self.add_variable(
            shape=(),
            initializer=keras.initializers.Constant(float(value)),
            dtype="float32",
            aggregation="only_first_replica",
            name=name,
        )

    @property
    def hyperparameter_variables(self) -> dict[str, Any]:
        """The variables that hold the numbers, by name."""
        variables = {name: getattr(self, name) for name in self._hyperparameter_names}
        if isinstance(self._learning_rate, keras.Variable):
            variables["learning_rate"] = self._learning_rate
        return variables

    @property
    def hyperparameters(self) -> dict[str, float]:
        """The values of all numbers, by name."""
        return {name: as_written(v.numpy()) for name, v in self.hyperparameter_variables.items()}

    def set_hyperparameters(self, hyperparameters: Mapping[str, float]) -> None:
        """Give numbers new values; compiled steps use them without a new trace.

        Raises:
            TuneError: If a name is unknown, or a value is out of its range. Then none
                has changed.
        """
        variables = self.hyperparameter_variables
        check_names(hyperparameters, variables)
        check_hyperparameters(self.hyperparameters | dict(hyperparameters), rectify=self._rectifies)
        for name, value in hyperparameters.items():
            variables[name].assign(value)

    def reset(self) -> None:
        """Begin anew in place: step 0, moments, averages and accumulators 0; numbers stay."""
        kept = {id(variable) for variable in self.hyperparameter_variables.values()}
        for variable in self.variables:
            if id(variable) not in kept:
                variable.assign(ops.zeros(variable.shape, dtype=variable.dtype))

    @property
    @abstractmethod
    def moment_names(self) -> tuple[str, ...]:
        """Names of the vectors kept for each weight."""

    def build(self, variables: Sequence[Any]) -> None:
        """Create the moments of `variables`, float32 zeros."""
        if self.built:
            return
        super().build(variables)
        self._moments = [
            None
            if self._overwrite_variable_with_gradient(variable)
            else [self._add_moment(variable, name) for name in self.moment_names]
            for variable in variables
        ]

    def _add_moment(self, variable: Any, name: str) -> Any:
        if variable.dtype == "float32":
            return self.add_variable_from_reference(variable, name=name)
        path = str(getattr(variable, "path", variable.name)).replace("/", "_").replace(":", "_")
        return self.add_variable(shape=variable.shape, dtype="float32", name=f"{path}_{name}")

    @abstractmethod
    def coefficients(self, learning_rate: Any) -> tuple[Any, ...]:
        """Compute the scalars that the update of all weights shares."""

    @abstractmethod
    def weight_change(
        self, gradient: Any, moments: tuple[Any, ...], shared: Any
    ) -> tuple[Any, tuple[Any, ...]]:
        """Compute what to subtract from a weight (before decay), and its new moments."""

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Update one variable.

        Args:
            gradient: Its gradient.
            variable: The variable.
            learning_rate: A learning rate, or what `coefficients` made of one.
        """
        shared = (
            learning_rate if isinstance(learning_rate, tuple) else self.coefficients(learning_rate)
        )
        moments = self._moments[self._get_variable_index(variable)]
        weight = ops.cast(variable, "float32")
        change, new_moments = self.weight_change(
            ops.cast(gradient, "float32"),
            tuple(ops.convert_to_tensor(moment) for moment in moments),
            shared,
        )
        if self.weight_decay is not None and self._use_weight_decay(variable):
            change = change + weight * shared.decay  # type: ignore[attr-defined]
        for moment, value in zip(moments, new_moments, strict=True):
            self.assign(moment, value)
        self.assign(variable, ops.cast(weight - change, variable.dtype))

    def _backend_update_step(
        self, grads: Sequence[Any], trainable_variables: Sequence[Any], learning_rate: Any
    ) -> None:
        # Once for all variables, not once for each.
        shared = self.coefficients(learning_rate)
        super()._backend_update_step(grads, trainable_variables, shared)

    def _apply_weight_decay(self, variables: Sequence[Any]) -> None:
        """Nothing: `update_step` decays, as part of the same change."""

    def _clip_gradients(self, grads: Sequence[Any]) -> list[Any]:
        # Keras asks whether the limit is above 0, which a traced variable cannot answer.
        if self.clipnorm is not None:
            limit = ops.convert_to_tensor(self.clipnorm)
            return [rules.clip_by_norm(g, ops.cast(limit, g.dtype)) for g in grads]
        if self.clipvalue is not None:
            limit = ops.convert_to_tensor(self.clipvalue)
            return [ops.clip(g, -ops.cast(limit, g.dtype), ops.cast(limit, g.dtype)) for g in grads]
        if self.global_clipnorm is not None:
            return rules.clip_by_global_norm(
                list(grads), ops.convert_to_tensor(self.global_clipnorm)
            )
        return list(grads)

    def _overwrite_model_variables_with_average_value(
        self, trainable_variables: Sequence[Any]
    ) -> None:
        super()._overwrite_model_variables_with_average_value(trainable_variables)
        if keras.backend.backend() == "jax":
            # Keras leaves weight and average in one buffer, which the next `fit` donates twice.
            for variable in trainable_variables:
                variable.assign(ops.copy(variable.value))

    @property
    def learning_rate(self) -> Any:
        """The learning rate of the coming step; set it to a number or a schedule.

        Raises:
            TuneError: Set to another kind of schedule than the optimizer was made with.
        """
        return self._get_current_learning_rate()

    @learning_rate.setter
    def learning_rate(self, learning_rate: Any) -> None:
        held = self._learning_rate
        learning_rate = _without_constant(learning_rate)
        schedules = [one for one in (held, learning_rate) if isinstance(one, TunableSchedule)]
        kinds = {schedule.settings.kind for schedule in schedules}
        if isinstance(held, keras.Variable) and isinstance(learning_rate, Real):
            self.set_hyperparameters({"learning_rate": float(learning_rate)})
        elif not schedules:
            keras.optimizers.Optimizer.learning_rate.fset(self, learning_rate)
        elif len(schedules) == 2 and len(kinds) == 1:  # noqa: PLR2004 - the old and the new one
            self.set_hyperparameters(learning_rate.settings.hyperparameters)
        else:
            raise TuneError(
                f"The learning rate of {self.name} is {_spoken(held)}, and cannot become "
                f"{_spoken(learning_rate)}.",
                hint="Make a new optimizer: which schedule it follows is part of its trace.",
            )

    def _get_current_learning_rate(self) -> Any:
        schedule = self._learning_rate
        if isinstance(schedule, TunableSchedule):
            held = {name: getattr(self, name) for name in schedule.settings.hyperparameters}
            return schedule.at(self._iterations, held)
        return super()._get_current_learning_rate()

    def get_config(self) -> dict[str, Any]:
        """Describe the optimizer, with the present values of its numbers, in plain values."""
        config: dict[str, Any] = super().get_config()
        hyperparameters = self.hyperparameters
        config |= {name: n for name, n in hyperparameters.items() if name in config}
        if isinstance(self._learning_rate, TunableSchedule):
            names = self._learning_rate.settings.hyperparameters
            schedule = self._learning_rate.with_hyperparameters(
                {name: hyperparameters[name] for name in names}
            )
            config["learning_rate"] = keras.optimizers.schedules.serialize(schedule)
        return config


def _without_constant(learning_rate: Any) -> Any:
    """A learning rate; of a constant schedule its number, which an optimizer holds by itself."""
    if isinstance(learning_rate, ConstantLearningRate):
        return learning_rate.settings.hyperparameters["learning_rate"]
    return learning_rate


def _spoken(learning_rate: Any) -> str:
    if isinstance(learning_rate, TunableSchedule):
        return f"a schedule {learning_rate.settings.kind!r}"
    return "a schedule of Keras" if callable(learning_rate) else "a number"


def _check_one_clipping(hyperparameters: Mapping[str, float]) -> None:
    given = [name for name in _CLIPPING if name in hyperparameters]
    if len(given) > 1:
        raise TuneError(
            f"An optimizer clips in one way, found {' and '.join(given)}.",
            hint=f"Give one of {', '.join(_CLIPPING)}.",
        )
