"""Defines a study's network and optimizer as a hypermodel for Keras' own training loop."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import keras_tuner

from effv2_tune.errors import TuneError
from effv2_tune.interop.parameters import config_of, to_hyperparameters
from effv2_tune.network import load_weights, training_network
from effv2_tune.network.preprocessing import preprocess
from effv2_tune.network.pretrained.weights import input_scaling
from effv2_tune.optimizers import (
    SGD,
    AdaBelief,
    AdamW,
    CosineLearningRate,
    CyclicalLearningRate,
    Lion,
    RMSprop,
    WarmupLearningRate,
)
from effv2_tune.study.loading import load_plan
from effv2_tune.study.plan import StudyPlan
from effv2_tune.study.recipe import SAME
from effv2_tune.training.loss import cross_entropies, soft_targets
from effv2_tune.training.recipe_mapping import (
    network_arguments,
    optimizer_hyperparameters,
    weights_source,
)

if TYPE_CHECKING:
    from effv2_tune.study.recipe import Recipe

#: Settings that Keras' training loop does not support, and the value that disables each.
_UNSUPPORTED = {
    "flip": False,
    "evaluation_flip": False,
    "crop_padding": 0,
    "class_weight": "none",
    "select": "last",
    "ema": False,
    "layer_decay": 1.0,
    "l2": 0.0,
    "evaluation_resolution": SAME,
    "stages": 1,
    "head_epochs": 0,
}


class EfficientNetV2HyperModel(keras_tuner.HyperModel):  # type: ignore[misc]
    """Builds a study's network for a config, compiled with AdaBelief and its cyclical schedule.

    Any tuner of Keras Tuner can search it. Images go in as they are stored, uint8 in 0 to 255;
    resize and scaling are inside the model; labels are class indices; it returns logits. `build`
    restores the dtype policy and the distribution that were set when the hypermodel was created,
    because Keras Tuner clears them before every trial. Each trial compiles again, and Keras' loop
    has no augmentation, unlike `EfficientNetV2Tuner`. A batch per device is meant for the devices
    of the study's target, or else of the distribution.

    On TensorFlow, the `run_trial` of Keras Tuner 1.4.8 needs tensorboard, which is not a
    dependency of this package; a tuner that overrides `run_trial` does not.

    Args:
        study: A study file, a shipped study's name, or a plan: its space and its recipe are used.
        image_shape: Height, width and channels (3, or 1: grey) of the images.
        classes: Number of classes.
        images: Number of training images, which converts the schedule's epochs to steps.
        base: Folder for a plan's relative weight file.

    Raises:
        TuneError: The study sets or searches something that Keras' training loop does not support:
            flips, shifted crops, class weights, selected epochs, averaged weights, rates by stage,
            L2, another resolution of evaluation, stages, the classifier before all layers.
    """

    def __init__(
        self,
        study: StudyPlan | str | Path,
        *,
        image_shape: tuple[int, int, int],
        classes: int,
        images: int,
        base: Path | None = None,
    ) -> None:
        super().__init__(name="efficientnet_v2")
        if isinstance(study, StudyPlan):
            self._plan, self._base = study, base or Path.cwd()
        else:
            loaded = load_plan(study)
            self._plan, self._base = loaded.plan, loaded.base
        self._image_shape = image_shape
        self._classes = classes
        self._images = images
        self._policy = keras.config.dtype_policy()
        self._distribution = keras.distribution.distribution()
        self._space = to_hyperparameters(self._plan.search_space)
        _refuse_unsupported(self._plan)

    def build(self, hp: keras_tuner.HyperParameters) -> Any:
        """Build the compiled model of a config; adds the parameters of the space to ``hp``."""
        keras.config.set_dtype_policy(self._policy)
        keras.distribution.set_distribution(self._distribution)
        recipe = self._recipe(hp)
        weights = weights_source(recipe, self._base)
        network = training_network(
            recipe.variant,
            **network_arguments(recipe, classes=self._classes, precision=self._precision(recipe)),
        )
        if weights is not None:
            load_weights(network, weights)
        images = keras.Input(self._image_shape, dtype="uint8", name="images")
        scaled = Preprocess(
            resolution=recipe.pixels,
            scaling=input_scaling(recipe.variant, weights),
            interpolation=recipe.resize,
        )(images)
        model = keras.Model(images, network(scaled), name="efficientnet_v2")
        model.compile(
            optimizer=keras_optimizer(recipe, images=self._images, batch=self._batch(recipe)),
            loss=SmoothedCrossEntropy(self._classes, recipe.label_smoothing),
            metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
        )
        return model

    def fit(self, hp: keras_tuner.HyperParameters, model: Any, *args: Any, **kwargs: Any) -> Any:
        """Train by Keras' own loop, with the config's epochs and batch size; returns its history.

        A dataset that is batched already keeps its batch size.
        """
        recipe = self._recipe(hp)
        inputs = args[0] if args else kwargs.get("x")
        if hasattr(inputs, "shape"):
            kwargs.setdefault("batch_size", self._batch(recipe))
        kwargs.setdefault("epochs", recipe.epochs)
        return model.fit(*args, **kwargs)

    def _recipe(self, hp: keras_tuner.HyperParameters) -> Recipe:
        hp.merge(self._space, overwrite=False)
        return self._plan.recipe_for(config_of(hp, self._plan.search_space))

    def _precision(self, recipe: Recipe) -> str:
        return str(self._policy.name) if recipe.precision == "auto" else recipe.precision

    def _batch(self, recipe: Recipe) -> int:
        if (target := self._plan.target_devices) is not None:
            return recipe.global_batch(target)
        distributed = self._distribution is not None
        return recipe.global_batch(len(keras.distribution.list_devices()) if distributed else 1)


@keras.saving.register_keras_serializable(package="effv2_tune")
class Preprocess(keras.layers.Layer):  # type: ignore[misc]  # Keras ships no types
    """Resizes and scales stored images for a network.

    Args:
        resolution: Side of the result, in pixels.
        scaling: As the weights expect.
        interpolation: ``bilinear`` or ``bicubic``.
        **kwargs: Arguments of every layer.
    """

    def __init__(self, *, resolution: int, scaling: Any, interpolation: str, **kwargs: Any) -> None:
        # Its input is integers, and stays so whatever the dtype policy.
        super().__init__(**({"autocast": False} | kwargs))
        self._settings = {
            "resolution": resolution,
            "scaling": scaling,
            "interpolation": interpolation,
        }

    def call(self, images: Any) -> Any:
        """Resize and scale [batch, height, width, channels] to float32 of the resolution."""
        return preprocess(images, **self._settings)

    def get_config(self) -> dict[str, Any]:
        """Describe the layer in plain values."""
        return {**super().get_config(), **self._settings}


@keras.saving.register_keras_serializable(package="effv2_tune")
class SmoothedCrossEntropy(keras.losses.Loss):  # type: ignore[misc]  # Keras ships no types
    """Cross-entropy of logits and class indices, with label smoothing.

    Args:
        classes: Number of classes.
        smoothing: Probability spread over all classes.
        **kwargs: Arguments of every loss.
    """

    def __init__(self, classes: int, smoothing: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**({"name": "cross_entropy"} | kwargs))
        self._classes = classes
        self._smoothing = smoothing

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """The loss of each image, from labels [batch] and logits [batch, classes]."""
        labels = keras.ops.reshape(keras.ops.cast(y_true, "int32"), (-1,))
        targets = soft_targets(labels, classes=self._classes, smoothing=self._smoothing)
        return cross_entropies(y_pred, targets)

    def get_config(self) -> dict[str, Any]:
        """Describe the loss in plain values."""
        settings = {"classes": self._classes, "smoothing": self._smoothing}
        return {**super().get_config(), **settings}


def keras_optimizer(recipe: Recipe, *, images: int, batch: int) -> Any:
    """Create the recipe's optimizer with its schedule, as Keras objects.

    Args:
        recipe: Its durations are in epochs.
        images: Number of training images.
        batch: Images per step.
    """
    hyperparameters = optimizer_hyperparameters(recipe, images=images, batch=batch)
    schedule = _schedule(recipe, hyperparameters)
    shared: dict[str, Any] = {
        "weight_decay": recipe.weight_decay,
        "global_clipnorm": recipe.clip_norm,
    }
    if recipe.optimizer == "sgd":
        return SGD(schedule, momentum=recipe.momentum, nesterov=recipe.nesterov, **shared)
    if recipe.optimizer == "rmsprop":
        return RMSprop(schedule, recipe.rho, recipe.momentum, recipe.epsilon, **shared)
    if recipe.optimizer == "schedule_free":
        raise TuneError(
            "Keras' own training loop evaluates the weights that schedule_free is trained with, "
            "and not their average.",
            hint="Search with EfficientNetV2Tuner, or leave it out of the study.",
        )
    if recipe.optimizer == "lion":
        return Lion(schedule, recipe.beta_1, recipe.beta_2, **shared)
    moments: dict[str, Any] = {
        "beta_1": recipe.beta_1,
        "beta_2": recipe.beta_2,
        "epsilon": recipe.epsilon,
        "amsgrad": recipe.amsgrad,
    }
    if recipe.optimizer == "adamw":
        return AdamW(schedule, **moments, **shared)
    return AdaBelief(
        schedule,
        rectify=recipe.rectify,
        sma_threshold=recipe.sma_threshold,
        **moments,
        **shared,
    )


def _schedule(recipe: Recipe, hyperparameters: dict[str, float]) -> Any:
    """Create the learning rate of a Keras optimizer: a number or a schedule."""
    bounds = (recipe.initial_learning_rate, recipe.maximal_learning_rate)
    warmup_steps = hyperparameters["warmup_steps"]
    if recipe.schedule == "constant":
        if warmup_steps == 0:
            return recipe.maximal_learning_rate
        return WarmupLearningRate(*bounds, warmup_steps)
    if recipe.schedule == "cosine":
        return CosineLearningRate(*bounds, hyperparameters["decay_steps"], warmup_steps)
    return CyclicalLearningRate(
        *bounds,
        hyperparameters["step_size"],
        policy=recipe.schedule,
        gamma=recipe.gamma,
        warmup_steps=warmup_steps,
    )


def _refuse_unsupported(plan: StudyPlan) -> None:
    searched = [name for name in _UNSUPPORTED if name in plan.search_space.parameters]
    enabled = [name for name, off in _UNSUPPORTED.items() if getattr(plan.recipe, name) != off]
    found = sorted({*searched, *enabled})
    if found:
        raise TuneError(
            f"Keras' own training loop does not support {', '.join(found)} of study {plan.name}.",
            hint="Search with EfficientNetV2Tuner, or leave it out of the study.",
        )
