"""Defines Keras optimizers whose hyperparameters are variables."""

from __future__ import annotations

from numbers import Real
from typing import TYPE_CHECKING, Any

import keras
from keras import ops

from effv2_tune.errors import TuneError
from effv2_tune.optimizers import rules
from effv2_tune.optimizers.checks import check_hyperparameters, with_changes
from effv2_tune.optimizers.float32 import as_written
from effv2_tune.optimizers.schedules import ConstantLearningRate, TunableSchedule
from effv2_tune.optimizers.static_config import RULE_DEFAULTS
from effv2_tune.optimizers.update import coefficients, weight_change

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from effv2_tune.optimizers.static_config import StaticConfig
    from effv2_tune.optimizers.update import Coefficients
    from effv2_tune.tensor import Tensor

_CLIPPING = ("clipnorm", "clipvalue", "global_clipnorm")


class TunableOptimizer(keras.optimizers.Optimizer):  # type: ignore[misc]
    """A Keras optimizer whose hyperparameters change without a new trace.

    Every hyperparameter (learning rate or those of its schedule, betas, weight decay, clipping, EMA
    momentum, loss scale) is a float32 variable of the optimizer: a compiled step reads it as an
    input. Which options are on, and integers that count steps (`gradient_accumulation_steps`,
    `ema_overwrite_frequency`), are part of the trace.

    The moments are float32 whatever the dtype of the weights.

    Args:
        rule: The update rule.
        learning_rate: A float or a schedule.
        rule_hyperparameters: Those of the update rule, by name; each becomes an attribute.
        weight_decay: Decoupled, times the learning rate; None leaves the term out.
        clipnorm: Largest norm of each gradient; None does not clip.
        clipvalue: Largest magnitude of each element; None does not clip.
        global_clipnorm: Largest norm of all gradients together; None does not clip.
        use_ema: Whether to keep a moving average of the weights.
        ema_momentum: Share of the old average that each step keeps, from 0 to 1.
        ema_overwrite_frequency: Steps between copies of the average to the weights; None for none.
        loss_scale_factor: The loss is multiplied by it and the gradients divided; None does not.
        gradient_accumulation_steps: Steps per update; None for one.
        name: Name of the optimizer.

    Raises:
        TuneError: If a value is out of its range.
    """

    def __init__(
        self,
        rule: StaticConfig,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule,
        *,
        rule_hyperparameters: Mapping[str, float],
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
        hyperparameters = {
            name: value for name, value in optional.items() if value is not None
        } | dict(rule_hyperparameters)
        _check_one_clipping(hyperparameters)
        check_hyperparameters(
            hyperparameters | ({"learning_rate": learning_rate} if is_rate else {}),
            rectify=rule.rectified,
        )
        super().__init__(
            learning_rate=float(learning_rate) if is_rate else learning_rate,
            use_ema=use_ema,
            ema_momentum=ema_momentum,
            ema_overwrite_frequency=ema_overwrite_frequency,
            gradient_accumulation_steps=gradient_accumulation_steps,
            name=name,
        )
        self._rule = rule
        if isinstance(learning_rate, TunableSchedule):
            hyperparameters = dict(learning_rate.settings.hyperparameters) | hyperparameters
        self._hyperparameter_names = tuple(hyperparameters)
        for hyperparameter, value in hyperparameters.items():
            setattr(self, hyperparameter, self._add_hyperparameter(hyperparameter, value))

    def _add_hyperparameter(self, name: str, value: float) -> Tensor:
        return self.add_variable(
            shape=(),
            initializer=keras.initializers.Constant(float(value)),
            dtype="float32",
            aggregation="only_first_replica",
            name=name,
        )

    @property
    def hyperparameter_variables(self) -> dict[str, Tensor]:
        """The variables of the hyperparameters, by name."""
        variables = {name: getattr(self, name) for name in self._hyperparameter_names}
        if isinstance(self._learning_rate, keras.Variable):
            variables["learning_rate"] = self._learning_rate
        return variables

    @property
    def hyperparameters(self) -> dict[str, float]:
        """The values of all hyperparameters, by name."""
        return {name: as_written(v.numpy()) for name, v in self.hyperparameter_variables.items()}

    def set_hyperparameters(self, hyperparameters: Mapping[str, float]) -> None:
        """Set hyperparameters; compiled steps use the new values without a new trace.

        Raises:
            TuneError: If a name is unknown, or a value is out of its range. Then none
                has changed.
        """
        values = with_changes(self.hyperparameters, hyperparameters)
        check_hyperparameters(values, rectify=self._rule.rectified)
        for name, value in hyperparameters.items():
            self.hyperparameter_variables[name].assign(value)

    def reset(self) -> None:
        """Go back to step 0 in place: moments and averages become 0; hyperparameters stay."""
        kept = {id(variable) for variable in self.hyperparameter_variables.values()}
        for variable in self.variables:
            if id(variable) not in kept:
                variable.assign(ops.zeros(variable.shape, dtype=variable.dtype))

    def build(self, variables: Sequence[Tensor]) -> None:
        """Create the moments of `variables`, float32 zeros."""
        if self.built:
            return
        super().build(variables)
        self._moments = [
            None
            if self._overwrite_variable_with_gradient(variable)
            else [self._add_moment(variable, name) for name in self._rule.moment_names]
            for variable in variables
        ]

    def _add_moment(self, variable: Tensor, name: str) -> Tensor:
        if variable.dtype == "float32":
            return self.add_variable_from_reference(variable, name=name)
        path = str(getattr(variable, "path", variable.name)).replace("/", "_").replace(":", "_")
        return self.add_variable(shape=variable.shape, dtype="float32", name=f"{path}_{name}")

    def _coefficients(self, learning_rate: Tensor) -> Coefficients:
        used = {*RULE_DEFAULTS[self._rule.kind], "weight_decay"}
        names = [name for name in self._hyperparameter_names if name in used]
        return coefficients(
            self._rule,
            iterations=self.iterations,
            learning_rate=ops.cast(learning_rate, "float32"),
            hyperparameters={name: ops.convert_to_tensor(getattr(self, name)) for name in names},
        )

    def update_step(self, gradient: Tensor, variable: Tensor, learning_rate: Any) -> None:
        """Update one variable.

        Args:
            gradient: Its gradient.
            variable: The variable.
            learning_rate: A learning rate, or the coefficients of the step with it.
        """
        shared: Any = (
            learning_rate if isinstance(learning_rate, tuple) else self._coefficients(learning_rate)
        )
        moments = self._moments[self._get_variable_index(variable)]
        weight = ops.cast(variable, "float32")
        change, new_moments = weight_change(
            self._rule,
            ops.cast(gradient, "float32"),
            tuple(ops.convert_to_tensor(moment) for moment in moments),
            shared,
        )
        if self.weight_decay is not None and self._use_weight_decay(variable):
            change = change + weight * shared.decay
        for moment, value in zip(moments, new_moments, strict=True):
            self.assign(moment, value)
        self.assign(variable, ops.cast(weight - change, variable.dtype))

    def _backend_update_step(
        self, grads: Sequence[Tensor], trainable_variables: Sequence[Tensor], learning_rate: Tensor
    ) -> None:
        # Once for all variables, not once for each.
        shared = self._coefficients(learning_rate)
        super()._backend_update_step(grads, trainable_variables, shared)

    def _apply_weight_decay(self, variables: Sequence[Tensor]) -> None:
        """Nothing: `update_step` decays, as part of the same change."""

    def _clip_gradients(self, grads: Sequence[Tensor]) -> list[Tensor]:
        # Keras branches on the limit, which fails for a traced variable.
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
        self, trainable_variables: Sequence[Tensor]
    ) -> None:
        super()._overwrite_model_variables_with_average_value(trainable_variables)
        if keras.backend.backend() == "jax":
            # In Keras, weight and average share a buffer, which the next `fit` would donate twice.
            for variable in trainable_variables:
                variable.assign(ops.copy(variable.value))

    @property
    def learning_rate(self) -> Any:
        """The learning rate of the next step; set it to a number or a schedule.

        Raises:
            TuneError: Set to another kind of schedule than the optimizer was created with.
        """
        return self._get_current_learning_rate()

    @learning_rate.setter
    def learning_rate(self, learning_rate: Any) -> None:
        current = self._learning_rate
        learning_rate = _without_constant(learning_rate)
        schedules = [rate for rate in (current, learning_rate) if isinstance(rate, TunableSchedule)]
        kinds = {schedule.settings.kind for schedule in schedules}
        if isinstance(current, keras.Variable) and isinstance(learning_rate, Real):
            self.set_hyperparameters({"learning_rate": float(learning_rate)})
        elif not schedules:
            keras.optimizers.Optimizer.learning_rate.fset(self, learning_rate)
        elif len(schedules) == 2 and len(kinds) == 1:  # noqa: PLR2004 - the old and the new one
            self.set_hyperparameters(learning_rate.settings.hyperparameters)
        else:
            raise TuneError(
                f"The learning rate of {self.name} is {_description(current)}, and cannot become "
                f"{_description(learning_rate)}.",
                hint="Create a new optimizer: the kind of schedule is part of its trace.",
            )

    def _get_current_learning_rate(self) -> Tensor:
        schedule = self._learning_rate
        if isinstance(schedule, TunableSchedule):
            values = {name: getattr(self, name) for name in schedule.settings.hyperparameters}
            return schedule.at(self._iterations, values)
        return super()._get_current_learning_rate()

    def get_config(self) -> dict[str, Any]:
        """Describe the optimizer, with its present hyperparameters, in plain values."""
        config: dict[str, Any] = super().get_config()
        hyperparameters = self.hyperparameters
        if isinstance(self._learning_rate, TunableSchedule):
            names = self._learning_rate.settings.hyperparameters
            schedule = self._learning_rate.with_hyperparameters(
                {name: hyperparameters.pop(name) for name in names}
            )
            config["learning_rate"] = keras.optimizers.schedules.serialize(schedule)
        return config | hyperparameters


def _without_constant(learning_rate: Any) -> Any:
    """Replace a constant schedule by its learning rate, which is a variable by itself."""
    if isinstance(learning_rate, ConstantLearningRate):
        return learning_rate.settings.hyperparameters["learning_rate"]
    return learning_rate


def _description(learning_rate: Any) -> str:
    if isinstance(learning_rate, TunableSchedule):
        return f"a schedule {learning_rate.settings.kind!r}"
    return "a schedule of Keras" if callable(learning_rate) else "a number"


def _check_one_clipping(hyperparameters: Mapping[str, float]) -> None:
    found = [name for name in _CLIPPING if name in hyperparameters]
    if len(found) > 1:
        raise TuneError(
            f"An optimizer clips in one way, found {' and '.join(found)}.",
            hint=f"Use one of {', '.join(_CLIPPING)}.",
        )
