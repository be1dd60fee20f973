"""Maps a recipe to what is compiled into its steps, and to their hyperparameters."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from effv2_tune import catalog
from effv2_tune.data import class_weights
from effv2_tune.optimizers.curves import SCHEDULE_HYPERPARAMETERS, ScheduleSettings
from effv2_tune.optimizers.static_config import NO_AMSGRAD, StaticConfig
from effv2_tune.study.batches import steps_per_epoch
from effv2_tune.training.backends.base import StepInputs, StepPlan
from effv2_tune.training.inputs.augmentation import augmentation_magnitudes

if TYPE_CHECKING:
    from effv2_tune.catalog import Scaling
    from effv2_tune.data import Dataset
    from effv2_tune.study.bucket import BucketKey
    from effv2_tune.study.recipe import Recipe


def optimizer_config(recipe: Recipe) -> StaticConfig:
    """The settings of the optimizer that are compiled in."""
    return StaticConfig(
        kind=recipe.optimizer,
        schedule="warmup" if recipe.schedule == "constant" else recipe.schedule,
        rectify=recipe.rectify,
        amsgrad=recipe.amsgrad and recipe.optimizer not in NO_AMSGRAD,
        nesterov=recipe.nesterov and recipe.optimizer == "sgd",
        l2=recipe.l2 > 0,
        clip=recipe.clip_norm is not None,
        average=recipe.ema,
        average_warms_up=recipe.ema,
    )


def optimizer_hyperparameters(recipe: Recipe, *, images: int, batch: int) -> dict[str, float]:
    """The hyperparameters of optimizer and schedule, by the optimizer's names.

    Args:
        recipe: Its durations are in epochs.
        images: Training images.
        batch: Images per step; with ``images`` it converts epochs to steps.
    """
    epoch = steps_per_epoch(images, batch)
    warmup = recipe.warmup_epochs * epoch
    available = {
        "initial_learning_rate": recipe.initial_learning_rate,
        "maximal_learning_rate": recipe.maximal_learning_rate,
        "step_size": recipe.step_size_epochs * epoch,
        "gamma": recipe.gamma,
        "warmup_steps": warmup,
        "decay_steps": max(1.0, recipe.epochs * epoch - warmup),
        "weight_decay": recipe.weight_decay,
        "layer_decay": recipe.layer_decay,
        "beta_1": recipe.beta_1,
        "beta_2": recipe.beta_2,
        "epsilon": recipe.epsilon,
        "sma_threshold": recipe.sma_threshold,
        "rho": recipe.rho,
        "momentum": recipe.momentum,
        "l2": recipe.l2,
        "global_clipnorm": recipe.clip_norm,
        "ema_momentum": recipe.ema_momentum,
    }
    names = optimizer_config(recipe).hyperparameter_names
    return {name: float(value) for name in names if (value := available[name]) is not None}


def schedule_settings(recipe: Recipe, *, images: int, batch: int) -> ScheduleSettings:
    """The learning-rate schedule over the steps of a training; arguments as above."""
    values = optimizer_hyperparameters(recipe, images=images, batch=batch)
    kind = optimizer_config(recipe).schedule
    return ScheduleSettings(kind, {name: values[name] for name in SCHEDULE_HYPERPARAMETERS[kind]})


def step_plan(
    recipe: Recipe, key: BucketKey, scaling: Scaling, *, feature_shape: tuple[int, int] | None
) -> StepPlan:
    """The settings of the steps that are compiled in.

    Args:
        recipe: Any of the bucket.
        key: The bucket.
        scaling: Of the pixel values that the network takes.
        feature_shape: Views and width of features; None where inputs are images.
    """
    return StepPlan(
        batch=key.batch,
        classes=key.classes,
        image_shape=feature_shape or key.image_shape,
        resolution=key.resolution,
        interpolation=recipe.resize,
        scaling=scaling,
        augmentations=key.augmentation,
        averaged=optimizer_config(recipe).keeps_average,
        magnitudes=tuple(magnitudes(recipe)),
        takes_features=feature_shape is not None,
        evaluation_resolution=key.evaluation_resolution,
    )


def magnitudes(recipe: Recipe) -> dict[str, float]:
    """Label smoothing and the magnitudes of the augmentations, by name."""
    return {"label_smoothing": recipe.label_smoothing} | augmentation_magnitudes(recipe)


def step_inputs(recipe: Recipe, dataset: Dataset) -> StepInputs:
    """The inputs of the steps of one trial.

    Raises:
        TuneError: A class weight names a class that the data do not have.
    """
    weights = np.ones(len(dataset.classes), np.float32)
    if recipe.class_weight != "none":
        weights = class_weights(dataset.train.labels, dataset.classes, recipe.class_weight)
    # Dropout uses the seed itself: augmentation has separate random numbers.
    seed = zlib.crc32(f"augmentation {recipe.seed}".encode())
    return StepInputs(seed=seed, magnitudes=magnitudes(recipe), class_weights=weights)


def network_arguments(recipe: Recipe, *, classes: int, precision: str) -> dict[str, Any]:
    """The arguments of `training_network` beside the variant."""
    trainable_from: Any = 0
    if recipe.backbone == "finetune":
        trainable_from = recipe.finetune_from
    if recipe.backbone == "frozen":
        trainable_from = "head"
    return {
        "classes": classes,
        "resolution": recipe.pixels,
        "dropout": recipe.dropout,
        "stochastic_depth": recipe.stochastic_depth,
        "trainable_from": trainable_from,
        "seed": recipe.seed,
        "dtype": precision,
    }


def weights_source(recipe: Recipe, base: Path) -> str | None:
    """The recipe's weights as `load_weights` takes them; None for random ones."""
    if recipe.weights == "none":
        return None
    if recipe.weights in (*catalog.WEIGHT_SETS, catalog.KERAS_WEIGHTS):
        return recipe.weights
    return str(base / Path(recipe.weights).expanduser())
