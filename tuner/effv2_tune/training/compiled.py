"""Builds and compiles a bucket: a network, its optimizer and steps, shared by many trials."""

from __future__ import annotations

import functools
import statistics
import time
from typing import TYPE_CHECKING, Any

from effv2_tune.heartbeat import advance
from effv2_tune.network import (
    classifier,
    depths_from_head,
    drop_rate_variables,
    initialise,
    load_weights,
    set_drop_rates,
    training_network,
)
from effv2_tune.network.pretrained.weights import input_scaling
from effv2_tune.optimizers.step_optimizer import StepOptimizer
from effv2_tune.training.backends.base import RANDOM_STATE, named_variables
from effv2_tune.training.features.extraction import frozen_backbone
from effv2_tune.training.inputs.shuffling import epoch_inputs
from effv2_tune.training.recipe_mapping import (
    network_arguments,
    optimizer_config,
    optimizer_hyperparameters,
    step_inputs,
    step_plan,
    weights_source,
)
from effv2_tune.training.step_timing import measure_step, reference_seconds, relative_speed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from effv2_tune.data import Dataset
    from effv2_tune.study.bucket import BucketKey
    from effv2_tune.study.recipe import Recipe
    from effv2_tune.study.step_time import StepTime
    from effv2_tune.training.backends.base import Backend, ReferenceKernel, Steps
    from effv2_tune.training.features.feature_set import FeatureSet
    from effv2_tune.training.inputs.pipeline import DeviceData
    from effv2_tune.training.machine_lock import MachineLock
    from effv2_tune.training.scores import Counts
    from effv2_tune.training.trial_state import TrialProgress, Weights


class CompiledBucket:
    """Built and compiled once; each trial sets its own hyperparameters.

    Args:
        recipe: Any recipe of the bucket.
        key: The bucket.
        dataset: The images.
        data: The images or features on the device, from `Backend.place`.
        backend: On the device.
        base: Folder that a relative weight file starts from.
        features: Those that the classifier alone is trained on; None where images are.

    Attributes:
        network: The Keras model that is trained, with features the classifier alone; on JAX its
            variables are current only after `steps.finish`.
        steps: The compiled steps.
        scaling: How images are scaled for the network.
        features: As given.
        step_seconds: Time of one step; None until it is measured or set.
        time: Its last measurement; None where it was not measured.
        build_seconds: Time of building network and optimizer.
        compile_seconds: Time of tracing and compilation.
    """

    def __init__(
        self,
        recipe: Recipe,
        key: BucketKey,
        dataset: Dataset,
        data: DeviceData,
        *,
        backend: Backend,
        base: Path,
        features: FeatureSet | None = None,
    ) -> None:
        started = time.perf_counter()
        self._key = key
        self._dataset = dataset
        self._base = base
        self.features = features
        self._backend = backend
        self.step_seconds: float | None = None
        self.time: StepTime | None = None
        self.compile_seconds = 0.0
        self.network = bucket_network(recipe, key)
        weights = weights_source(recipe, base)
        self.scaling = input_scaling(recipe.variant, weights)
        self._pretrained = self._load(weights)
        self._optimizer = bucket_optimizer(recipe, key, self.network, images=len(dataset.train))
        shape = None if features is None else features.shape
        plan = step_plan(recipe, key, self.scaling, feature_shape=shape)
        self.steps: Steps = backend.make_steps(self.network, self._optimizer, plan, data)
        self.build_seconds = time.perf_counter() - started

    def whole_network(self, recipe: Recipe) -> tuple[Any, Any | None]:
        """The network with its present weights, and its classifier if that is a separate model.

        Args:
            recipe: Any of the bucket.
        """
        if self.features is None:
            return self.network, None
        return frozen_backbone(recipe, self._base, self._key.precision), self.network

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
        """Time of one pass of a frozen backbone over the training images; 0 for any other."""
        return 0.0 if self.features is None else self.features.extraction_seconds

    @property
    def measured_step_seconds(self) -> float:
        """Time of one step, which has been measured or set."""
        if self.step_seconds is None:
            raise RuntimeError("The step time is needed before it is measured.")
        return self.step_seconds

    def charge(self, progress: TrialProgress) -> None:
        """Add the time of building and compiling to the trial that needed the bucket."""
        progress.add_time("build", self.build_seconds)
        if self.features is not None:
            progress.add_time("extract", self.features.take_wall_seconds())
        progress.add_time("compile", self.compile_seconds)

    def start(self, recipe: Recipe, trained: Weights | None = None) -> None:
        """Begin a trial: set its initial weights and hyperparameters, keep nothing else.

        Args:
            recipe: Of the trial.
            trained: Weights by name, of `Steps.evaluated_weights`, in place of its initial ones.
        """
        initialise(self.network, seed=recipe.seed)
        for variable, value in self._pretrained:
            variable.assign(value)
        if trained is not None:
            for name, variable in named_variables(self.network).items():
                if name in trained and name != RANDOM_STATE:
                    variable.assign(trained[name])
        rates = drop_rate_variables(self.network)
        set_drop_rates(self.network, **{name: getattr(recipe, name) for name in rates})
        self._optimizer.set_hyperparameters(self._hyperparameters(recipe))
        self._optimizer.reset()
        self.steps.start(step_inputs(recipe, self._dataset))

    @property
    def is_validated(self) -> bool:
        """Whether there are validation images."""
        return len(self._dataset.validation) > 0

    def validate(self, fold: int = 0) -> Counts:
        """Count over the validation images; with folds, over those of a fold."""
        if self._dataset.fold_of is None:
            return self.steps.evaluate("validation")
        return self.steps.evaluate("train", self._dataset.fold(fold).validation)

    def start_first_epoch(self, recipe: Recipe) -> int:
        """Begin a trial and its first epoch; returns the steps of the epoch."""
        self.start(recipe)
        return self._begin_epoch(recipe, 0)

    def _begin_epoch(self, recipe: Recipe, epoch: int) -> int:
        """Set the images of an epoch; returns its steps."""
        images = len(self._dataset.train)
        inputs = epoch_inputs(recipe, epoch, images=images, batch=self._key.batch)
        self.steps.begin_epoch(*inputs)
        return len(inputs.order)

    def losses_at(self, recipe: Recipe, rates: Sequence[float]) -> Iterator[float]:
        """Begin a trial and train one step at each learning rate; yield the losses.

        Whatever the schedule, the rate of a step is given; the other hyperparameters are the
        recipe's. Nothing is compiled, and the next trial begins as it would have.

        Args:
            recipe: Any of the bucket.
            rates: Of the steps; they run over as many epochs as they need.
        """
        self.start(recipe)
        steps = 0
        for number, rate in enumerate(rates):
            epoch, step = divmod(number, steps or len(rates))
            if step == 0:
                steps = self._begin_epoch(recipe, epoch)
            self.steps.set_learning_rate(rate)
            yield self.steps.run(step, 1).loss
            advance()

    def compile(self, recipe: Recipe) -> None:
        """Trace and compile the steps; :meth:`start` discards what they train."""
        started = time.perf_counter()
        self.start_first_epoch(recipe)
        self.steps.run(0, 1)
        if self.is_validated:
            self.validate()
        self.compile_seconds = time.perf_counter() - started

    def measure(
        self,
        recipe: Recipe,
        lock: MachineLock,
        *,
        scale: float | None = None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> StepTime:
        """Time one step while nothing else trains on this machine; sets ``step_seconds``.

        The other arguments are those of `measure_step`.
        """
        epoch_steps = self.start_first_epoch(recipe)

        def run(steps: int) -> None:
            while steps > 0:
                count = min(steps, epoch_steps)
                self.steps.run(0, count)
                steps -= count
            advance()

        kernel = self._kernel
        with lock.measuring():
            self.time = measure_step(
                run,
                kernel.run,
                planned_steps=recipe.epochs * epoch_steps,
                threads=kernel.threads,
                scale=scale,
                should_stop=should_stop,
            )
        self.step_seconds = self.time.seconds
        return self.time

    @functools.cached_property
    def _kernel(self) -> ReferenceKernel:
        return self._backend.reference_kernel()

    @property
    def is_on_cpu(self) -> bool:
        """Whether the device is the processors."""
        return self._kernel.threads is not None

    def reference_seconds(self) -> float:
        """The time of the reference kernel now, for comparison with that of a measurement."""
        return reference_seconds(self._kernel.run, threads=self._kernel.threads)

    def relative_speed(self, references: Sequence[float], scale: float | None) -> float:
        """The speed of the machine, relative to the one that the study's step times are for.

        Args:
            references: Times of the reference kernel here.
            scale: Its time in the study; None where it is not known.

        Returns:
            1 where either is not known.
        """
        if scale is None or not references:
            return 1.0
        # On a CPU, neighbours make the kernel's processor time longer, but never shorter.
        middle = min if self.is_on_cpu else statistics.median
        threads = self._kernel.threads
        return relative_speed(middle(references), scale, threads=threads, is_certain=False)


def bucket_network(recipe: Recipe, key: BucketKey) -> Any:
    """The model that is trained; the classifier alone starts as in the whole network."""
    if key.takes_features:
        return classifier(
            recipe.variant, classes=key.classes, dropout=recipe.dropout, seed=recipe.seed
        )
    arguments = network_arguments(recipe, classes=key.classes, precision=key.precision)
    return training_network(recipe.variant, **arguments)


def bucket_optimizer(recipe: Recipe, key: BucketKey, network: Any, *, images: int) -> StepOptimizer:
    """The optimizer of a bucket's network.

    Args:
        recipe: Any of the bucket.
        key: The bucket.
        network: That it updates.
        images: Training images.
    """
    hyperparameters = optimizer_hyperparameters(recipe, images=images, batch=key.batch)
    optimizer = StepOptimizer(optimizer_config(recipe), hyperparameters)
    optimizer.build(network.trainable_variables, depths=depths_from_head(network))
    return optimizer
