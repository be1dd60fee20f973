"""Compiles the training and evaluation steps for TensorFlow, on one device."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from effv2_tune.network.hash_rng import draws
from effv2_tune.training.backends.base import HYPERPARAMETERS, Sums, named_variables
from effv2_tune.training.inputs.pipeline import Streamed, evaluation_batches
from effv2_tune.training.inputs.preparation import (
    evaluated_logits,
    evaluation_inputs,
    training_inputs,
)
from effv2_tune.training.loss import count_correct, cross_entropies, evaluation_counts
from effv2_tune.training.scores import sum_counts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    from effv2_tune.optimizers.step_optimizer import StepOptimizer
    from effv2_tune.training.backends.base import SplitName, StepInputs, StepPlan
    from effv2_tune.training.inputs.pipeline import DeviceData
    from effv2_tune.training.scores import Counts


class TensorFlowSteps:
    """See :class:`effv2_tune.training.backends.base.Steps`; the state is in variables.

    The arguments are those of `Backend.make_steps`.
    """

    def __init__(
        self,
        network: Any,
        optimizer: StepOptimizer,
        plan: StepPlan,
        data: DeviceData,
    ) -> None:
        self.traces = 0
        self._network = network
        self._optimizer = optimizer
        self._plan = plan
        self._data = data
        self._positions = np.arange(plan.batch, dtype=np.int32)
        self._finished = False
        self._magnitudes = tf.Variable(np.zeros(len(plan.magnitudes), np.float32), trainable=False)
        self._class_weights = tf.Variable(np.ones(plan.classes, np.float32), trainable=False)
        self._seed = tf.Variable(0, dtype=tf.int64, trainable=False)
        self._order: NDArray[np.int32] = np.zeros((0, plan.batch), np.int32)
        self._mixing: NDArray[np.float32] = np.zeros((0, 4), np.float32)
        self._mirrored: NDArray[np.bool_] = np.zeros((0, plan.batch), np.bool_)
        dtype = tf.float32 if plan.takes_features else tf.uint8
        # Training and other images may have features of one view or of two.
        shape = [None, *plan.image_shape[1:]] if plan.takes_features else plan.image_shape
        integers = partial(tf.TensorSpec, dtype=tf.int32)
        floats = partial(tf.TensorSpec, dtype=tf.float32)
        switches = partial(tf.TensorSpec, dtype=tf.bool)
        images = [tf.TensorSpec([None, *plan.image_shape], dtype), integers([None])]
        batch = [*images, integers([plan.batch]), floats([4]), switches([plan.batch])]
        whole = (integers([None, plan.batch]), floats([None, 4]), switches([None, plan.batch]))
        epoch = [*images, whole, integers([2])]
        evaluated = [
            tf.TensorSpec([None, *shape], dtype),
            integers([None]),
            integers([plan.evaluation_batch]),
            floats([plan.evaluation_batch]),
        ]
        # A classifier's step takes less time than its dispatch: the loop runs on the device.
        self.loops_on_device = plan.takes_features and not isinstance(data["train"], Streamed)
        # On the CPU, XLA takes minutes to compile the convolutions and runs them slower.
        compiling = {"autograph": False, "jit_compile": False}
        self._train_step = tf.function(self._train, input_signature=batch, **compiling)
        self._evaluation_step = tf.function(self._evaluate, input_signature=evaluated, **compiling)
        # Without convolutions XLA is quick to compile, and fuses what is left.
        self._train_steps = tf.function(
            self._train_many, input_signature=epoch, autograph=False, jit_compile=True
        )

    def _train(
        self, pixels: Any, truth: Any, indices: Any, mixing: Any, mirrored: Any
    ) -> tuple[Any, Any]:
        self.traces += 1
        images, labels = tf.gather(pixels, indices), tf.gather(truth, indices)
        inputs, targets = training_inputs(
            images,
            labels,
            plan=self._plan,
            magnitudes=tf.unstack(self._magnitudes.value()),
            class_weights=self._class_weights,
            draw=draws(self._seed, self._optimizer.iterations.value),
            mixing=mixing,
            mirrored=mirrored,
            fuse=as_one_kernel,
        )
        trained = self._network.trainable_variables
        with tf.GradientTape() as tape:
            logits = self._network(inputs, training=True)
            loss = tf.reduce_mean(cross_entropies(logits, targets))
        gradients = tape.gradient(loss, [variable.value for variable in trained])
        self._optimizer.apply(gradients, trained)
        return loss, count_correct(logits, labels)

    def _evaluate(self, pixels: Any, truth: Any, indices: Any, counted: Any) -> dict[str, Any]:
        images, labels = tf.gather(pixels, indices), tf.gather(truth, indices)
        logits = self._network(evaluation_inputs(images, self._plan), training=False)
        return evaluation_counts(evaluated_logits(logits, self._plan), labels, counted)

    def start(self, inputs: StepInputs) -> None:
        """Begin a trial with the present weights of the network and of the optimizer."""
        self._finished = False
        self._seed.assign(inputs.seed)
        self._magnitudes.assign([inputs.magnitudes[name] for name in self._plan.magnitudes])
        self._class_weights.assign(inputs.class_weights)

    def begin_epoch(
        self,
        order: NDArray[np.int32],
        mixing: NDArray[np.float32],
        mirrored: NDArray[np.bool_] | None = None,
    ) -> None:
        """Set the inputs of the coming epoch: the fields of `shuffling.EpochInputs`."""
        self._order, self._mixing = order, mixing
        self._mirrored = np.zeros(order.shape, np.bool_) if mirrored is None else mirrored
        data = self._data["train"]
        if isinstance(data, Streamed):
            data.begin(order)

    def set_learning_rate(self, rate: float) -> None:
        """Set the learning rate of all further steps of this trial, in place of the schedule."""
        self._optimizer.hold_learning_rate(rate)

    def run(self, first: int, steps: int) -> Sums:
        """Train ``steps`` steps of this epoch from ``first`` on, and wait for them."""
        if self.loops_on_device:
            return self._run_on_device(first, steps)
        done = [
            self._train_step(*self._batch(at), self._mixing[at], self._mirrored[at])
            for at in range(first, first + steps)
        ]
        losses, correct = (np.asarray(tf.stack(column)) for column in zip(*done, strict=True))
        return Sums(
            loss=float(losses.sum(dtype=np.float64)), correct=float(correct.sum()), steps=steps
        )

    def _run_on_device(self, first: int, steps: int) -> Sums:
        epoch = (self._order, self._mixing, self._mirrored)
        window = np.asarray([first, steps], np.int32)
        loss, correct = self._train_steps(*self._batch(0)[:2], epoch, window)
        return Sums(loss=float(loss), correct=float(correct), steps=steps)

    def _train_many(
        self, pixels: Any, truth: Any, epoch: tuple[Any, Any, Any], window: Any
    ) -> tuple[Any, Any]:
        """Train a window, its first step and its length: one compilation serves all lengths."""
        first, steps = tf.unstack(window)

        def step(index: Any, loss: Any, correct: Any) -> tuple[Any, Any, Any]:
            # Not order[...]: XLA makes a constant of the position of a slice, and compiles anew.
            selection = (tf.gather(rows, first + index) for rows in epoch)
            step_loss, step_correct = self._train(pixels, truth, *selection)
            return index + 1, loss + step_loss, correct + step_correct

        _, loss, correct = tf.while_loop(lambda index, *_: index < steps, step, (0, 0.0, 0.0))
        return loss, correct

    def _batch(self, step: int) -> tuple[Any, Any, Any]:
        """Pixels, labels, and the positions of the batch in them."""
        data = self._data["train"]
        if isinstance(data, Streamed):
            return *data.take(step), self._positions
        return data.pixels, data.labels, self._order[step]

    def evaluate(self, split: SplitName, positions: NDArray[np.int32] | None = None) -> Counts:
        """Count over images of a split once, with the averaged weights if there are any."""
        batches = evaluation_batches(self._data[split], self._plan.evaluation_batch, positions)
        with self._averaged():
            return sum_counts(
                self._evaluation_step(*images, indices, counted)
                for images, indices, counted in batches
            )

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """Put the averaged weights into the network for the duration, if they are kept."""
        if self._finished or not self._plan.averaged:
            yield
            return
        trained = self._network.trainable_variables
        # Copies: `read_value` of a variable that is assigned to later may share its buffer.
        kept = [tf.identity(variable.value) for variable in trained]
        self._assign(trained, self._optimizer.averaged_weights())
        try:
            yield
        finally:
            self._assign(trained, kept)

    def _assign(self, variables: list[Any], values: list[Any]) -> None:
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)

    def read(self) -> dict[str, np.ndarray[Any, Any]]:
        """All state, by name."""
        return {name: variable.numpy() for name, variable in self._variables().items()}

    def write(self, state: Mapping[str, np.ndarray[Any, Any]]) -> None:
        """Restore the state that :meth:`read` returned."""
        for name, variable in self._variables().items():
            if name != HYPERPARAMETERS:
                variable.assign(state[name])

    def _variables(self) -> dict[str, Any]:
        return named_variables(self._network) | {
            f"optimizer/{variable.name}": variable for variable in self._optimizer.variables
        }

    def copies(self) -> list[NDArray[np.float32]]:
        """All trained weights in one row, as the one device holds them."""
        trained = self._network.trainable_variables
        return [np.concatenate([variable.numpy().ravel() for variable in trained])]

    def evaluated_weights(self) -> dict[str, np.ndarray[Any, Any]]:
        """The network's weights that :meth:`evaluate` uses, by name."""
        with self._averaged():
            return {name: v.numpy() for name, v in named_variables(self._network).items()}

    def finish(self, weights: Mapping[str, np.ndarray[Any, Any]]) -> None:
        """End the trial: these weights go into the network, and :meth:`evaluate` uses them."""
        self._finished = True
        for name, variable in named_variables(self._network).items():
            variable.assign(weights[name])


def as_one_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Have XLA fuse a function: RandAugment takes seven times as long operation by operation."""
    fused: Callable[..., Any] = tf.function(function, jit_compile=True, autograph=False)
    return fused
