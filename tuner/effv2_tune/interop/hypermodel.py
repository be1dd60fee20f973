"""Our network with our optimizer as a hypermodel, for those who keep Keras' own training loop."""

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
from effv2_tune.optimizers import SGD, AdaBelief, AdamW, CosineLearningRate, CyclicalLearningRate
from effv2_tune.study.loading import load_plan
from effv2_tune.study.plan import StudyPlan
from effv2_tune.training.loss import cross_entropies, soft_targets
from effv2_tune.training.recipe_mapping import (
    network_arguments,
    optimizer_hyperparameters,
    weights_source,
)

if TYPE_CHECKING:
    from effv2_tune.study.recipe import Recipe

#: Settings that Keras' training loop has nothing for, and the value at which they do nothing.
_OURS_ALONE = {
    "flip": False,
    "crop_padding": 0,
    "class_weight": "none",
    "select": "last",
    "ema": False,
}


class EfficientNetV2HyperModel(keras_tuner.HyperModel):  # type: ignore[misc]
    """Builds a study's network for a config, compiled with AdaBelief and its cyclical schedule.

    Any tuner of Keras Tuner can search it. Images go in as they are stored, uint8 in 0 to 255;
    resize and scaling are inside the model; labels are class numbers; it gives logits. `build`
    puts back the dtype policy and the distribution that were set when the hypermodel was made,
    because Keras Tuner clears them before every trial. Each trial compiles anew, and Keras' loop
    has no augmentation: with `EfficientNetV2Tuner` it is otherwise.

    On TensorFlow, the `run_trial` of Keras Tuner 1.4.8 itself needs tensorboard, which is no
    dependency of this package; a tuner with a `run_trial` of its own does not.

    Args:
        study: A study file, a shipped study's name, or a plan: its space and its recipe are used.
        image_shape: Height, width and channels (3, or 1: grey) of the images.
        classes: How many there are.
        images: Training images; they make optimizer steps of the schedule's epochs.
        base: Folder that a plan's relative weight file starts from.

    Raises:
        TuneError: The study sets or searches something that Keras' training loop does not do:
            flips, shifted crops, class weights, selected epochs, averaged weights.
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
        _refuse_what_keras_lacks(self._plan)

    def build(self, hp: keras_tuner.HyperParameters) -> Any:
        """The compiled model of a config; every parameter of the space is in ``hp`` afterwards."""
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

        Batches that lie in a dataset already have their own size.
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
        spread = self._distribution is not None
        return recipe.global_batch(len(keras.distribution.list_devices()) if spread else 1)


@keras.saving.register_keras_serializable(package="effv2_tune")
class Preprocess(keras.layers.Layer):  # type: ignore[misc]  # Keras ships no types
    """From stored images to what the network takes.

    Args:
        resolution: Side of the result, in pixels.
        scaling: What the weights expect.
        interpolation: ``bilinear`` or ``bicubic``.
        **kwargs: What every layer takes.
    """

    def __init__(self, *, resolution: int, scaling: Any, interpolation: str, **kwargs: Any) -> None:
        # Its input is whole numbers, and stays as it is whatever the dtype policy.
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
    """Cross-entropy of logits against class numbers, with label smoothing.

    Args:
        classes: How many there are.
        smoothing: Probability spread over all classes.
        **kwargs: What every loss takes.
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
        own = {"classes": self._classes, "smoothing": self._smoothing}
        return {**super().get_config(), **own}


def keras_optimizer(recipe: Recipe, *, images: int, batch: int) -> Any:
    """The recipe's optimizer with its schedule, as Keras objects.

    Args:
        recipe: Its durations are in epochs.
        images: Training images.
        batch: Images per step.
    """
    numbers = optimizer_hyperparameters(recipe, images=images, batch=batch)
    schedule = _schedule(recipe, numbers)
    shared: dict[str, Any] = {
        "weight_decay": recipe.weight_decay,
        "global_clipnorm": recipe.clip_norm,
    }
    if recipe.optimizer == "sgd":
        return SGD(schedule, momentum=recipe.momentum, nesterov=recipe.nesterov, **shared)
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


def _schedule(recipe: Recipe, numbers: dict[str, float]) -> Any:
    """The learning rate as Keras' optimizers take it: a number or a schedule."""
    if recipe.schedule == "constant":
        return recipe.maximal_learning_rate
    bounds = (recipe.initial_learning_rate, recipe.maximal_learning_rate)
    if recipe.schedule == "cosine":
        return CosineLearningRate(*bounds, numbers["decay_steps"], numbers["warmup_steps"])
    return CyclicalLearningRate(
        *bounds, numbers["step_size"], policy=recipe.schedule, gamma=recipe.gamma
    )


def _refuse_what_keras_lacks(plan: StudyPlan) -> None:
    searched = [name for name in _OURS_ALONE if name in plan.search_space.parameters]
    set_so = [
        name for name, nothing in _OURS_ALONE.items() if getattr(plan.recipe, name) != nothing
    ]
    found = sorted({*searched, *set_so})
    if found:
        raise TuneError(
            f"Keras' own training loop has nothing for {', '.join(found)} of study {plan.name}.",
            hint="Search with EfficientNetV2Tuner, or leave it out of the study.",
        )
