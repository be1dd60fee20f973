"""Training and evaluation steps on TensorFlow: one device, one trace, state in variables."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from effv2_tune.network.hash_rng import uniform
from effv2_tune.training.backends.base import Sums, iterations_of, named_variables
from effv2_tune.training.inputs.pipeline import Streamed, device_data
from effv2_tune.training.inputs.preparation import evaluation_inputs, training_inputs
from effv2_tune.training.inputs.shuffling import evaluation_order
from effv2_tune.training.loss import (
    count_correct,
    cross_entropies,
    evaluation_counts,
    soft_targets,
)
from effv2_tune.training.scores import sum_counts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from effv2_tune.optimizers.step_optimizer import StepOptimizer
    from effv2_tune.training.backends.base import SplitName, StepInputs, StepPlan
    from effv2_tune.training.inputs.pipeline import DeviceData, Source
    from effv2_tune.training.scores import Counts


def place_sources(rows: Mapping[str, Source], limit: int) -> DeviceData:
    """Images or features by split: all on the device if they have at most ``limit`` bytes."""

    def place(pixels: Any, labels: Any) -> tuple[Any, Any]:
        return tf.constant(pixels), tf.constant(labels, tf.int32)

    return device_data(rows, limit=limit, place_all=place, place_batch=place)


class TensorFlowSteps:
    """See :class:`effv2_tune.training.backends.base.Steps`.

    Args:
        network: From `efficientnet_v2`, giving logits; from `classifier` for features.
        optimizer: Built for the network's trainable variables.
        plan: What is compiled in.
        feeds: From `place_sources`.
        strengths: Names of the numbers that `StepInputs.strengths` will hold.
    """

    def __init__(
        self,
        network: Any,
        optimizer: StepOptimizer,
        plan: StepPlan,
        feeds: DeviceData,
        magnitudes: tuple[str, ...],
    ) -> None:
        self.traces = 0
        self._network = network
        self._optimizer = optimizer
        self._plan = plan
        self._feeds = feeds
        self._everything = np.arange(plan.evaluation_batch, dtype=np.int32)
        self._iterations = iterations_of(optimizer)
        self._finished = False
        self._names = magnitudes
        self._strengths = tf.Variable(np.zeros(len(magnitudes), np.float32), trainable=False)
        self._class_weights = tf.Variable(np.ones(plan.classes, np.float32), trainable=False)
        self._seed = tf.Variable(0, dtype=tf.int64, trainable=False)
        self._order: NDArray[np.int32] = np.zeros((0, plan.batch), np.int32)
        self._mixing: NDArray[np.float32] = np.zeros((0, 4), np.float32)
        dtype = tf.float32 if plan.takes_features else tf.uint8
        images = [tf.TensorSpec([None, *plan.image_shape], dtype), tf.TensorSpec([None], tf.int32)]
        batch = [*images, tf.TensorSpec([plan.batch], tf.int32)]
        mixing = tf.TensorSpec([4], tf.float32)
        # Only training images have features of both sides.
        shape = [None, *plan.image_shape[1:]] if plan.takes_features else plan.image_shape
        evaluated = [
            tf.TensorSpec([None, *shape], dtype),
            tf.TensorSpec([None], tf.int32),
            tf.TensorSpec([plan.evaluation_batch], tf.int32),
        ]
        counted = tf.TensorSpec([plan.evaluation_batch], tf.float32)
        epoch = [
            *images,
            tf.TensorSpec([None, plan.batch], tf.int32),
            tf.TensorSpec([None, 4], tf.float32),
            tf.TensorSpec([2], tf.int32),
        ]
        # A classifier's step is over sooner than it is dispatched: the loop is the device's.
        self.loops_on_device = plan.takes_features and not isinstance(feeds["train"], Streamed)
        # On the CPU, XLA takes minutes to compile the convolutions and runs them slower.
        compiling = {"autograph": False, "jit_compile": False}
        self._train_step = tf.function(self._train, input_signature=[*batch, mixing], **compiling)
        self._evaluation_step = tf.function(
            self._evaluate, input_signature=[*evaluated, counted], **compiling
        )
        # Without convolutions XLA is quick to compile, and fuses what is left.
        self._train_steps = tf.function(
            self._train_many, input_signature=epoch, autograph=False, jit_compile=True
        )

    def _train(self, pixels: Any, truth: Any, indices: Any, mixing: Any) -> tuple[Any, Any]:
        self.traces += 1
        images, labels = tf.gather(pixels, indices), tf.gather(truth, indices)
        magnitudes = dict(zip(self._names, tf.unstack(self._strengths.value()), strict=True))
        targets = soft_targets(
            labels,
            classes=self._plan.classes,
            smoothing=magnitudes["label_smoothing"],
            weights=self._class_weights,
        )
        inputs, targets = training_inputs(
            images,
            targets,
            plan=self._plan,
            magnitudes=magnitudes,
            draw=self._draw(),
            mixing=mixing,
        )
        trained = self._network.trainable_variables
        with tf.GradientTape() as tape:
            logits = self._network(inputs, training=True)
            loss = tf.reduce_mean(cross_entropies(logits, targets))
        gradients = tape.gradient(loss, [variable.value for variable in trained])
        self._optimizer.apply(gradients, trained)
        return loss, count_correct(logits, labels)

    def _draw(self) -> Any:
        """Random numbers from the seed, the step, and how many were drawn before."""
        iterations = self._iterations.value
        drawn = 0

        def draw(shape: tuple[int, ...]) -> Any:
            nonlocal drawn
            drawn += 1
            return uniform(shape, self._seed, iterations, drawn)

        return draw

    def _evaluate(self, pixels: Any, truth: Any, indices: Any, counted: Any) -> dict[str, Any]:
        images, labels = tf.gather(pixels, indices), tf.gather(truth, indices)
        logits = self._network(evaluation_inputs(images, self._plan), training=False)
        return evaluation_counts(logits, labels, counted)

    def start(self, hyperparameters: StepInputs) -> None:
        """Begin a trial with the present weights of the network and of the optimizer."""
        self._finished = False
        self._seed.assign(hyperparameters.seed)
        self._strengths.assign([hyperparameters.magnitudes[name] for name in self._names])
        self._class_weights.assign(hyperparameters.class_weights)

    def begin_epoch(self, order: NDArray[np.int32], mixing: NDArray[np.float32]) -> None:
        """Give the images of each step [steps, batch] of the coming epoch, and how they mix."""
        self._order, self._mixing = order, mixing
        feed = self._feeds["train"]
        if isinstance(feed, Streamed):
            feed.begin(order)

    def run(self, first: int, steps: int) -> Sums:
        """Train the steps from ``first`` on of this epoch, and wait until they are done."""
        if self.loops_on_device:
            return self._run_on_device(first, steps)
        done = [
            self._train_step(*self._batch(at), self._mixing[at])
            for at in range(first, first + steps)
        ]
        losses, correct = (np.asarray(tf.stack(column)) for column in zip(*done, strict=True))
        return Sums(
            loss=float(losses.sum(dtype=np.float64)), correct=float(correct.sum()), steps=steps
        )

    def _run_on_device(self, first: int, steps: int) -> Sums:
        loss, correct = self._train_steps(
            *self._batch(0)[:2], self._order, self._mixing, np.asarray([first, steps], np.int32)
        )
        return Sums(loss=float(loss), correct=float(correct), steps=steps)

    def _train_many(
        self, pixels: Any, truth: Any, order: Any, mixing: Any, window: Any
    ) -> tuple[Any, Any]:
        """Train a window: its first step, and how many: one compilation serves all lengths."""
        first, steps = tf.unstack(window)

        def one(at: Any, loss: Any, correct: Any) -> tuple[Any, Any, Any]:
            step = first + at
            # Not order[step]: XLA takes the place of a slice for a constant, and compiles anew.
            now, mixes = tf.gather(order, step), tf.gather(mixing, step)
            more_loss, more_correct = self._train(pixels, truth, now, mixes)
            return at + 1, loss + more_loss, correct + more_correct

        _, loss, correct = tf.while_loop(lambda at, *_: at < steps, one, (0, 0.0, 0.0))
        return loss, correct

    def _batch(self, step: int) -> tuple[Any, Any, Any]:
        """Pixels, labels, and which of them are the batch."""
        feed = self._feeds["train"]
        if isinstance(feed, Streamed):
            return *feed.take(step), self._everything[: self._plan.batch]
        return feed.pixels, feed.labels, self._order[step]

    def evaluate(self, split: SplitName) -> Counts:
        """Count over every image of a split once, with the averaged weights if there are any."""
        feed = self._feeds[split]
        batches = zip(*evaluation_order(len(feed), self._plan.evaluation_batch), strict=True)
        with self._averaged():
            return sum_counts(
                self._evaluation_step(*feed.gather(indices), self._everything, counted)
                if isinstance(feed, Streamed)
                else self._evaluation_step(feed.pixels, feed.labels, indices, counted)
                for indices, counted in batches
            )

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """The averaged weights in the network for a while, if they are kept."""
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
        """Take back all state that :meth:`read` gave."""
        for name, variable in self._variables().items():
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


make_steps = TensorFlowSteps
