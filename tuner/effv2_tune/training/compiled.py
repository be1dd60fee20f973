"""One bucket: a network, its optimizer and compiled steps, lent to one trial after another."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from effv2_tune.network import (
    classifier,
    drop_rate_variables,
    efficientnet_v2,
    initialise,
    load_weights,
    set_drop_rates,
)
from effv2_tune.network.pretrained.weights import input_scaling
from effv2_tune.optimizers.step_optimizer import StepOptimizer
from effv2_tune.training.features.extraction import frozen_trunk
from effv2_tune.training.inputs.shuffling import epoch_mixing, epoch_order
from effv2_tune.training.recipe_mapping import (
    magnitudes,
    network_arguments,
    optimizer_config,
    optimizer_hyperparameters,
    step_inputs,
    step_plan,
    weights_source,
)
from effv2_tune.training.step_timing import measure_step

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from effv2_tune.data import Dataset
    from effv2_tune.study.bucket import BucketKey
    from effv2_tune.study.recipe import Recipe
    from effv2_tune.training.backends.base import Steps
    from effv2_tune.training.features.extraction import FeatureSet
    from effv2_tune.training.inputs.pipeline import DeviceData, Source
    from effv2_tune.training.machine_lock import MachineLock


def place_sources(rows: Mapping[str, Source], backend: str, limit: int) -> DeviceData:
    """Images, or features, for many buckets: on the device if they are no more than the limit.

    Args:
        rows: By split.
        backend: Whose device.
        limit: Bytes.
    """
    feeds: DeviceData = _step_file(backend).place_sources(rows, limit)
    return feeds


def _step_file(backend: str) -> Any:
    # Only one of the two: a process has one backend, and a JAX worker never imports TensorFlow.
    if backend == "tensorflow":
        from effv2_tune.training.backends.tensorflow import steps as tensorflow_steps

        return tensorflow_steps
    from effv2_tune.training.backends.jax import steps as jax_steps

    return jax_steps


class CompiledBucket:
    """Built once, compiled once, and given new numbers for each trial.

    Args:
        recipe: Any recipe of the bucket.
        key: The bucket.
        dataset: What is trained on.
        feeds: How its images, or features, reach the device, from `place_sources`.
        base: Folder that a relative weight file starts from.
        features: What its classifier is trained on, alone; None where images come in.

    Attributes:
        network: The Keras model that is trained, with features the classifier alone; on JAX its
            variables are current only after `steps.finish`.
        steps: The compiled steps.
        scaling: How images are scaled for the network.
        features: As given.
        step_seconds: Time of one step; None until it is measured or given.
        build_seconds: What building took.
        compile_seconds: What tracing and compilation took.
    """

    def __init__(
        self,
        recipe: Recipe,
        key: BucketKey,
        dataset: Dataset,
        feeds: DeviceData,
        *,
        base: Path,
        features: FeatureSet | None = None,
    ) -> None:
        started = time.perf_counter()
        self._key = key
        self._dataset = dataset
        self._base = base
        self.features = features
        self.step_seconds: float | None = None
        self.compile_seconds = 0.0
        self.network = self._build(recipe)
        weights = weights_source(recipe, base)
        self.scaling = input_scaling(recipe.variant, weights)
        self._pretrained = self._load(weights)
        self._optimizer = StepOptimizer(optimizer_config(recipe), self._hyperparameters(recipe))
        self._optimizer.build(self.network.trainable_variables)
        shape = None if features is None else features.shape
        plan = step_plan(recipe, key, self.scaling, feature_shape=shape)
        self.steps: Steps = _step_file(key.backend).make_steps(
            self.network, self._optimizer, plan, feeds, tuple(magnitudes(recipe))
        )
        self.build_seconds = time.perf_counter() - started

    def _build(self, recipe: Recipe) -> Any:
        """What is trained; the classifier alone starts as it does in the whole network."""
        classes = self._key.classes
        if self.features is not None:
            return classifier(
                recipe.variant, classes=classes, dropout=recipe.dropout, seed=recipe.seed
            )
        arguments = network_arguments(recipe, classes=classes, precision=self._key.precision)
        return efficientnet_v2(recipe.variant, **arguments)

    def whole_network(self, recipe: Recipe) -> tuple[Any, Any | None]:
        """The network with its present weights, and its classifier if that is a model of its own.

        Args:
            recipe: Any of the bucket.
        """
        if self.features is None:
            return self.network, None
        return frozen_trunk(recipe, self._base, self._key.precision), self.network

    def _load(self, weights: str | None) -> list[tuple[Any, Any]]:
        """Each pretrained variable with its value."""
        if weights is None:
            return []
        loaded = load_weights(self.network, weights)
        layers = [
            layer
            for name, layer in self.network.layers_by_name.items()
            if loaded.head_loaded or name != "predictions"
        ]
        variables = [variable for layer in layers for variable in layer.variables]
        return [(variable, variable.numpy()) for variable in variables]

    def _hyperparameters(self, recipe: Recipe) -> dict[str, float]:
        return optimizer_hyperparameters(
            recipe, images=len(self._dataset.train), batch=self._key.batch
        )

    @property
    def extraction_seconds(self) -> float:
        """What one run of the frozen backbone over the training images takes; 0 for any other."""
        return 0.0 if self.features is None else self.features.extraction_seconds

    def start(self, recipe: Recipe) -> None:
        """Begin a trial: its initial weights, its numbers, nothing of the trial before."""
        initialise(self.network, seed=recipe.seed)
        for variable, value in self._pretrained:
            variable.assign(value)
        rates = drop_rate_variables(self.network)
        set_drop_rates(self.network, **{name: getattr(recipe, name) for name in rates})
        self._optimizer.set_hyperparameters(self._hyperparameters(recipe))
        self._optimizer.reset()
        self.steps.start(step_inputs(recipe, self._dataset))

    def compile(self, recipe: Recipe) -> None:
        """Trace and compile the steps; what they train is thrown away by :meth:`start`."""
        started = time.perf_counter()
        self.start(recipe)
        self._begin_any_epoch(recipe)
        self.steps.run(0, 1)
        self.steps.evaluate("validation")
        self.compile_seconds = time.perf_counter() - started

    def measure(self, recipe: Recipe, lock: MachineLock) -> float:
        """Time one step while nothing else trains on this machine, and keep the result."""
        self.start(recipe)
        epoch_steps = self._begin_any_epoch(recipe)

        def run(steps: int) -> None:
            while steps > 0:
                done = min(steps, epoch_steps)
                self.steps.run(0, done)
                steps -= done

        with lock.measuring():
            self.step_seconds = measure_step(run)
        return self.step_seconds

    def _begin_any_epoch(self, recipe: Recipe) -> int:
        order = epoch_order(recipe.seed, 0, images=len(self._dataset.train), batch=self._key.batch)
        mixing = epoch_mixing(
            recipe.seed, 0, steps=len(order), mixup=recipe.mixup, cutmix=recipe.cutmix
        )
        self.steps.begin_epoch(order, mixing)
        return len(order)
