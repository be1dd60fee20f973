"""Compiles the training and evaluation steps for JAX, for all devices of a mesh."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from effv2_tune.network.hash_rng import draws
from effv2_tune.network.jax_operations import traced_for
from effv2_tune.training.backends.base import HYPERPARAMETERS, Sums, named_variables
from effv2_tune.training.backends.jax.loops import each, fetched, windows
from effv2_tune.training.backends.jax.mesh import replicated, split_by_batch
from effv2_tune.training.inputs.packing import unpacked
from effv2_tune.training.inputs.pipeline import (
    Resident,
    Streamed,
    evaluation_batches,
    evaluation_rows,
)
from effv2_tune.training.inputs.preparation import (
    evaluated_logits,
    evaluation_inputs,
    training_inputs,
)
from effv2_tune.training.loss import count_correct, cross_entropies, evaluation_counts
from effv2_tune.training.scores import sum_counts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from jax.sharding import Mesh
    from numpy.typing import NDArray

    from effv2_tune.host import Kind
    from effv2_tune.optimizers.step_optimizer import StepOptimizer
    from effv2_tune.training.backends.base import SplitName, StepInputs, StepPlan
    from effv2_tune.training.backends.jax.mesh import Put
    from effv2_tune.training.inputs.pipeline import DeviceData
    from effv2_tune.training.scores import Counts

State = dict[str, Any]

#: Evaluation batches of a call, if its loop is on the device. At a third of a second for a batch of
#: the largest network on one chip, a call takes ten seconds, and reports that it advances.
EVALUATION_WINDOW = 32


class JaxSteps:
    """See :class:`effv2_tune.training.backends.base.Steps`.

    Batches are split over all devices; weights and optimizer are the same on each. The other
    arguments are those of `Backend.make_steps`.

    Args:
        mesh: The devices.
        platform: Their kind.
        put: Places arrays on them.
    """

    def __init__(
        self,
        network: Any,
        optimizer: StepOptimizer,
        plan: StepPlan,
        data: DeviceData,
        *,
        mesh: Mesh,
        platform: Kind,
        put: Put = jax.device_put,
    ) -> None:
        self.traces = 0
        self._network = network
        self._optimizer = optimizer
        self._plan = plan
        self._data = data
        self._streams = isinstance(data["train"], Streamed)
        self._replicated = replicated(mesh)
        self._split = split_by_batch(mesh)
        self._inputs: dict[str, Any] = {}
        self._state: State = {}
        self._averages = plan.averaged
        self._platform = platform
        self._put = put
        self._order: Any = None
        self._positions = np.arange(plan.batch, dtype=np.int32)
        # XLA runs convolutions inside a loop on the CPU 16 times slower (jax-ml/jax#12868).
        self._loops = platform != "cpu" or plan.takes_features
        self.loops_on_device = self._loops and not self._streams
        self._train_steps = jax.jit(self._train_many, donate_argnums=0)
        # One split may be streamed while another is on the device.
        self._evaluation_step = jax.jit(self._evaluate, static_argnames="streams")
        self._evaluation_steps = jax.jit(self._evaluate_many)

    def _train_many(
        self, state: State, inputs: Any, images: Any, order: Any, window: Any
    ) -> tuple[State, Any]:
        """Train a window, its first step and its length: one compilation serves all lengths."""
        self.traces += 1
        first, steps = window
        zero = (jnp.zeros((), jnp.float32), jnp.zeros((), jnp.float32))

        def step(index: Any, carry: Any) -> Any:
            state, (loss, correct) = carry
            selection = jax.tree.map(lambda rows: rows[first + index], order)
            state, (step_loss, step_correct) = self._train(state, inputs, images, selection)
            return state, (loss + step_loss, correct + step_correct)

        with traced_for(self._platform):
            if not self.loops_on_device:
                return step(0, (state, zero))  # type: ignore[no-any-return]
            return jax.lax.fori_loop(0, steps, step, (state, zero))  # type: ignore[no-any-return]

    def _train(
        self, state: State, inputs: Any, images: Any, selection: tuple[Any, Any, Any]
    ) -> tuple[State, tuple[Any, Any]]:
        indices, mixing, mirrored = selection
        batch, labels = self._batch(images, indices, streams=self._streams)
        prepared, targets = training_inputs(
            batch,
            labels,
            plan=self._plan,
            magnitudes=jnp.unstack(inputs["magnitudes"]),
            class_weights=inputs["class_weights"],
            draw=draws(inputs["seed"], state["optimizer"]["iterations"]),
            mixing=mixing,
            mirrored=mirrored,
        )

        def loss_of(trained: list[Any]) -> tuple[Any, Any]:
            logits, others = self._network.stateless_call(
                trained, state["others"], prepared, training=True
            )
            return jnp.mean(cross_entropies(logits, targets)), (logits, others)

        (loss, (logits, others)), gradients = jax.value_and_grad(loss_of, has_aux=True)(
            state["trained"]
        )
        trained, optimizer = self._optimizer.stateless_apply(
            state["optimizer"], gradients, state["trained"]
        )
        state = {"trained": trained, "others": others, "optimizer": optimizer}
        return state, (loss, count_correct(logits, labels))

    def _batch(self, images: Any, indices: Any, *, streams: bool) -> tuple[Any, Any]:
        pixels, labels = images
        if not streams:
            pixels = jax.lax.with_sharding_constraint(pixels[indices], self._split)
            labels = jax.lax.with_sharding_constraint(labels[indices], self._split)
        if not self._plan.takes_features:
            pixels = unpacked(pixels, self._plan.image_shape)
        return pixels, labels

    def _evaluate(
        self, trained: Any, others: Any, images: Any, indices: Any, counted: Any, *, streams: bool
    ) -> dict[str, Any]:
        batch, labels = self._batch(images, indices, streams=streams)
        with traced_for(self._platform):
            logits, _ = self._network.stateless_call(
                trained, others, evaluation_inputs(batch, self._plan), training=False
            )
        return evaluation_counts(evaluated_logits(logits, self._plan), labels, counted)

    def _evaluate_many(
        self, trained: Any, others: Any, images: Any, rows: tuple[Any, Any, Any]
    ) -> dict[str, Any]:
        """Evaluate a window of batches: the counts of each, zeros for what fills it up."""
        indices, counted, batches = rows

        def step(at: Any) -> dict[str, Any]:
            evaluated: dict[str, Any] = self._evaluation_step(
                trained, others, images, indices[at], counted[at], streams=False
            )
            return evaluated

        return each(step, len(indices), batches)  # type: ignore[no-any-return]

    def start(self, inputs: StepInputs) -> None:
        """Begin a trial with the present weights of the network and of the optimizer."""
        self._averages = self._plan.averaged
        magnitudes = [inputs.magnitudes[name] for name in self._plan.magnitudes]
        self._inputs = self._place(
            {
                "seed": np.uint32(inputs.seed),
                "magnitudes": np.asarray(magnitudes, np.float32),
                "class_weights": inputs.class_weights,
            }
        )
        self._read_variables()
        # Not copied: the optimizer's own variables are empty until it is reset.
        state = self._optimizer.initial_state()
        self._state["optimizer"] = self._put(state, self._replicated)

    def _read_variables(self) -> None:
        # Through NumPy: donated buffers must not be those of the network's own variables.
        network = self._network
        trained, others = network.trainable_variables, network.non_trainable_variables
        self._state["trained"] = self._place([np.asarray(v) for v in trained])
        self._state["others"] = self._place([np.asarray(v) for v in others])

    def _place(self, values: Any) -> Any:
        # jnp.array copies: on the CPU device_put may share NumPy's memory, which is then donated.
        return self._put(jax.tree.map(jnp.array, values), self._replicated)

    def begin_epoch(
        self,
        order: NDArray[np.int32],
        mixing: NDArray[np.float32],
        mirrored: NDArray[np.bool_] | None = None,
    ) -> None:
        """Set the inputs of the coming epoch: the fields of `shuffling.EpochInputs`."""
        data = self._data["train"]
        if isinstance(data, Streamed):
            data.begin(order)
            order = np.broadcast_to(self._positions, order.shape)
        self._order = self._put((order, mixing, mirrored), self._replicated)

    def set_learning_rate(self, rate: float) -> None:
        """Set the learning rate of all further steps of this trial, in place of the schedule."""
        self._optimizer.hold_learning_rate(rate)
        held = self._optimizer.read_state()["hyperparameters"]
        self._state["optimizer"] |= {"hyperparameters": self._place(held)}

    def run(self, first: int, steps: int) -> Sums:
        """Train ``steps`` steps of this epoch from ``first`` on, and wait for them."""
        calls = [(first, steps)]
        if not self.loops_on_device:
            calls = [(at, 1) for at in range(first, first + steps)]
        done = []
        for at, count in calls:
            self._state, sums = self._train_steps(*self._training_arguments(at, count))
            done.append(sums)
        losses, correct = np.asarray(jax.device_get(done), np.float64).T
        return Sums(loss=float(losses.sum()), correct=float(correct.sum()), steps=steps)

    def _training_arguments(self, first: int, steps: int) -> tuple[Any, ...]:
        window = (np.int32(first), np.int32(steps))
        return self._state, self._inputs, self._images_of(first), self._order, window

    def lower_training(self) -> Any:
        """The training steps, lowered for devices that need not be attached (`jax.stages`)."""
        return self._train_steps.lower(*self._training_arguments(0, 1))

    def _images_of(self, step: int) -> tuple[Any, Any]:
        data = self._data["train"]
        return data.take(step) if isinstance(data, Streamed) else (data.pixels, data.labels)

    def evaluate(self, split: SplitName, positions: NDArray[np.int32] | None = None) -> Counts:
        """Count over images of a split once, with the averaged weights if there are any."""
        data = self._data[split]
        if self._loops and isinstance(data, Resident):
            return sum_counts(self._count_windows(data, positions))
        streams = isinstance(data, Streamed)
        trained = self._evaluated()
        counts = [
            self._evaluation_step(trained, *arguments, streams=streams)
            for arguments in self._evaluation_arguments(split, positions)
        ]
        return sum_counts(jax.device_get(counts))

    def _count_windows(
        self, data: Resident, positions: NDArray[np.int32] | None
    ) -> Iterator[dict[str, Any]]:
        """The counts of each batch, of which several are one call."""
        trained = self._evaluated()
        calls = (
            self._evaluation_steps(trained, *arguments)
            for arguments in self._window_arguments(data, positions)
        )
        for counts in fetched(calls):
            for at in range(EVALUATION_WINDOW):
                yield {name: values[at] for name, values in counts.items()}

    def _evaluation_arguments(
        self, split: SplitName, positions: NDArray[np.int32] | None
    ) -> Iterator[tuple[Any, ...]]:
        batch = self._plan.evaluation_batch
        for arguments in evaluation_batches(self._data[split], batch, positions):
            yield self._state["others"], *arguments

    def _window_arguments(
        self, data: Resident, positions: NDArray[np.int32] | None
    ) -> Iterator[tuple[Any, ...]]:
        rows = evaluation_rows(data, self._plan.evaluation_batch, positions)
        for window in windows(EVALUATION_WINDOW, *rows):
            yield self._state["others"], (data.pixels, data.labels), window

    def lower_evaluation(self, split: SplitName) -> Any:
        """The evaluation of a split, lowered likewise; averaged weights have equal shapes."""
        data, trained = self._data[split], self._state["trained"]
        if self._loops and isinstance(data, Resident):
            return self._evaluation_steps.lower(trained, *next(self._window_arguments(data, None)))
        arguments = next(self._evaluation_arguments(split, None))
        streams = isinstance(data, Streamed)
        return self._evaluation_step.lower(trained, *arguments, streams=streams)

    def _evaluated(self) -> list[Any]:
        if not self._averages:
            return list(self._state["trained"])
        return self._optimizer.averaged_weights(self._state["optimizer"])

    def read(self) -> dict[str, np.ndarray[Any, Any]]:
        """All state, by name."""
        optimizer = jax.device_get(self._state["optimizer"])
        return self._read_network(self._state["trained"]) | {
            name: np.asarray(array)
            for name, array in zip(_state_names(optimizer), jax.tree.leaves(optimizer), strict=True)
        }

    def _read_network(self, trained: list[Any]) -> dict[str, np.ndarray[Any, Any]]:
        network = self._network
        variables = [*network.trainable_variables, *network.non_trainable_variables]
        values = jax.device_get([*trained, *self._state["others"]])
        by_variable = {id(v): value for v, value in zip(variables, values, strict=True)}
        return {
            name: np.asarray(by_variable[id(variable)])
            for name, variable in named_variables(network).items()
        }

    def write(self, state: Mapping[str, np.ndarray[Any, Any]]) -> None:
        """Restore the state that :meth:`read` returned."""
        self._write_network(state)
        optimizer = self._state["optimizer"]
        arrays = [
            np.asarray(present) if name == HYPERPARAMETERS else state[name]
            for name, present in zip(
                _state_names(optimizer), jax.tree.leaves(optimizer), strict=True
            )
        ]
        self._state["optimizer"] = self._place(
            jax.tree.unflatten(jax.tree.structure(optimizer), arrays)
        )

    def _write_network(self, state: Mapping[str, np.ndarray[Any, Any]]) -> None:
        for name, variable in named_variables(self._network).items():
            variable.assign(state[name])
        self._read_variables()

    def copies(self) -> list[NDArray[np.float32]]:
        """All trained weights in one row, as each device of the mesh holds them."""
        by_device: dict[Any, list[Any]] = {}
        for array in self._state["trained"]:
            for shard in array.addressable_shards:
                by_device.setdefault(shard.device, []).append(np.asarray(shard.data).ravel())
        return [np.concatenate(arrays) for arrays in by_device.values()]

    def evaluated_weights(self) -> dict[str, np.ndarray[Any, Any]]:
        """The network's weights that :meth:`evaluate` uses, by name."""
        return self._read_network(self._evaluated())

    def finish(self, weights: Mapping[str, np.ndarray[Any, Any]]) -> None:
        """End the trial: these weights go into the network, and :meth:`evaluate` uses them."""
        self._averages = False
        self._write_network(weights)


def _state_names(optimizer: Any) -> list[str]:
    """A name for each array of the optimizer's state, in the order of its leaves."""
    paths = jax.tree_util.tree_leaves_with_path(optimizer)
    return [
        "optimizer/" + jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in paths
    ]
