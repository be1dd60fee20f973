"""Updates all weights of a model in one step, inside the step of a training loop."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import ops

from effv2_tune.errors import TuneError
from effv2_tune.optimizers.checks import (
    check_hyperparameters,
    check_weight_dtype,
    with_changes,
)
from effv2_tune.optimizers.curves import LEARNING_RATES, schedule_defaults
from effv2_tune.optimizers.flat_variables import Roles, arrange, float32_variable
from effv2_tune.optimizers.float32 import as_written
from effv2_tune.optimizers.schedules import scheduled
from effv2_tune.optimizers.update import unpacked, update

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from effv2_tune.optimizers.static_config import StaticConfig
    from effv2_tune.optimizers.update import State
    from effv2_tune.tensor import Tensor


class StepOptimizer:
    """The rules of `AdaBelief`, `AdamW`, `SGD`, `RMSprop` and `Lion` for all weights at once.

    It has one more, Schedule-Free AdamW, whose weights are evaluated as `averaged_weights`.

    The hyperparameters are one small vector of the state: new values need no new trace. On
    TensorFlow call `apply` inside a `tf.function`. On JAX carry the state: `initial_state`, then
    `stateless_apply` under `jit` (the state may be donated), and `load_state` at the end.

    Args:
        config: What is part of the trace.
        hyperparameters: Values by name: those of the schedule that have no default, and those
            of the rule that differ from `config.default_hyperparameters`.

    Raises:
        TuneError: If a hyperparameter is unknown, missing or out of its range.

    Attributes:
        config: What is part of the trace.
        iterations: The variable that counts the steps.
    """

    def __init__(self, config: StaticConfig, hyperparameters: Mapping[str, float]) -> None:
        names = config.hyperparameter_names
        defaults = schedule_defaults(config.schedule) | config.default_hyperparameters
        missing = [name for name in names if name not in {*defaults, *hyperparameters}]
        values = with_changes(defaults, hyperparameters, known=names)
        if missing:
            raise TuneError(
                f"The schedule {config.schedule!r} needs {', '.join(missing)}.",
                hint="Give each of its hyperparameters a value.",
            )
        check_hyperparameters(values, rectify=config.rectified)
        self.config = config
        self._hyperparameters = float32_variable(self._vector(values), "hyperparameters")
        self.iterations = keras.Variable(
            np.zeros((), "int32"), dtype="int", trainable=False, name="iterations"
        )
        self._moments: dict[str, list[Tensor]] = {}
        self._arranged = arrange((), Roles())

    def _vector(self, values: Mapping[str, float]) -> np.ndarray[Any, Any]:
        return np.asarray([values[name] for name in self.config.hyperparameter_names], "float32")

    def build(
        self,
        variables: Sequence[Tensor],
        decays: Sequence[bool] | None = None,
        depths: Sequence[int] | None = None,
    ) -> None:
        """Create the state for `variables`.

        Args:
            variables: The trainable variables, in the order of the later gradients.
            decays: For each variable, whether weight decay applies to it; None for all. L2
                regularization applies to those of two or more dimensions, the kernels.
            depths: For each variable, its depth from the head: its learning rate, with which
                weight decay is multiplied too, is `layer_decay` to that power times that of the
                schedule. None for 0 throughout.

        Raises:
            TuneError: If epsilon is zero in the dtype of one of the variables.
        """
        count = len(variables)
        kernels = [len(variable.shape) > 1 for variable in variables]
        roles = Roles(
            decays=[True] * count if decays is None else decays,
            regularized=kernels if self.config.l2 else None,
            depths=[0] * count if depths is None else depths,
        )
        self._arranged = arrange(variables, roles)
        self._check_dtypes(self.hyperparameters)
        average = ["weight_average"] * self.config.keeps_average
        names = [*self.config.moment_names, *average]
        self._moments = {name: self._arranged.zeros(name) for name in names}
        self._update = self._arranged.compiled(
            partial(update, self.config, rate_factors=self._arranged.rate_factors)
        )

    def _check_dtypes(self, hyperparameters: Mapping[str, float]) -> None:
        if self.config.kind == "adabelief":
            for dtype in set(self._arranged.dtypes):
                check_weight_dtype(hyperparameters["epsilon"], dtype)

    @property
    def variables(self) -> list[Tensor]:
        """All state as Keras variables with unique names, in a fixed order."""
        moments = [variable for arrays in self._moments.values() for variable in arrays]
        return [self.iterations, self._hyperparameters, *moments]

    @property
    def hyperparameters(self) -> dict[str, float]:
        """The values of all hyperparameters, by name."""
        vector = self._hyperparameters.numpy()
        return {
            name: as_written(value)
            for name, value in zip(self.config.hyperparameter_names, vector, strict=True)
        }

    def set_hyperparameters(self, hyperparameters: Mapping[str, float]) -> None:
        """Set hyperparameters; compiled steps use the new values without a new trace.

        On JAX, call this before `initial_state`: a carried state keeps its hyperparameters.

        Raises:
            TuneError: If a name is unknown or a value is out of its range. Then none has changed.
        """
        values = with_changes(self.hyperparameters, hyperparameters)
        check_hyperparameters(values, rectify=self.config.rectified)
        self._check_dtypes(values)
        self._hyperparameters.assign(self._vector(values))

    def hold_learning_rate(self, rate: float) -> None:
        """Set the learning rate of all steps until the hyperparameters are set again.

        Between two equal bounds every schedule is constant. On JAX, as `set_hyperparameters`.
        """
        names = {*self.config.hyperparameter_names} & {*LEARNING_RATES}
        self.set_hyperparameters(dict.fromkeys(names, rate))

    def reset(self) -> None:
        """Go back to step 0 in place: moments and average become 0; hyperparameters stay."""
        for variable in self.variables:
            if variable is not self._hyperparameters:
                variable.assign(ops.zeros(variable.shape, dtype=variable.dtype))

    def apply(self, gradients: Sequence[Tensor], variables: Sequence[Tensor]) -> None:
        """Update `variables` and the state in place (eager, or in a `tf.function`).

        Args:
            gradients: One for each variable.
            variables: The variables that the optimizer was built with, in that order.
        """
        weights, state = self.stateless_apply(self.read_state(), gradients, variables)
        self.load_state({name: value for name, value in state.items() if name != "hyperparameters"})
        for variable, value in zip(variables, weights, strict=True):
            variable.assign(value)

    def stateless_apply(
        self, state: State, gradients: Sequence[Tensor], weights: Sequence[Tensor]
    ) -> tuple[list[Tensor], State]:
        """Compute the next weights and the next state.

        Args:
            state: As from `initial_state`.
            gradients: One for each weight array.
            weights: Arrays in the shapes of the variables that the optimizer was built with.

        Returns:
            The next weights, and the next state with the same names.
        """
        arranged = self._arranged
        new_weights, new_state = self._update(
            state, arranged.join(gradients), arranged.join(weights), arranged.masks()
        )
        return arranged.split(new_weights), new_state

    def initial_state(self) -> State:
        """Return the state that a step carries (JAX).

        The moments are not copied: where the step donates its state, the variables of this
        optimizer are empty until `load_state` or `reset`, except hyperparameters and iterations.
        """
        state = self.read_state()
        return state | {name: ops.copy(state[name]) for name in ("iterations", "hyperparameters")}

    def read_state(self) -> State:
        """Read the state from the variables."""
        read = self._arranged.read
        moments = {name: [read(v) for v in arrays] for name, arrays in self._moments.items()}
        return {
            "iterations": read(self.iterations),
            "hyperparameters": read(self._hyperparameters),
        } | moments

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Write a state, or the part of it that is passed, into the variables."""
        variables = {
            "iterations": [self.iterations],
            "hyperparameters": [self._hyperparameters],
        } | self._moments
        for name, value in state.items():
            values = value if isinstance(value, list | tuple) else [value]
            for variable, new in zip(variables[name], values, strict=True):
                variable.assign(new)

    def learning_rate(self, state: Mapping[str, Any] | None = None) -> Tensor:
        """Compute the learning rate of the next step.

        Args:
            state: On JAX the carried state; None reads the variables.

        Returns:
            Float32 scalar.
        """
        state = self.read_state() if state is None else state
        hyperparameters = unpacked(self.config, state)
        return scheduled(self.config.schedule, state["iterations"], hyperparameters)

    def averaged_weights(self, state: Mapping[str, Any] | None = None) -> list[Tensor]:
        """Return the moving average of the weights, in the shapes and dtypes of the variables."""
        state = self.read_state() if state is None else state
        return self._arranged.split(state["weight_average"])
