"""Defines the bucket: everything that forces a new compilation."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Literal

from effv2_tune.study.base import Value
from effv2_tune.study.recipe import EVALUATION_FLIP, augmentation_kinds, caches_features

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from effv2_tune.study.recipe import Recipe

#: The trainable part where a frozen backbone has run beforehand: the classifier, on its features.
CACHED_FEATURES = "classifier on cached features"


class Placement(Value):
    """Where a recipe is trained.

    Attributes:
        backend: The Keras backend.
        device_kind: The accelerator's name as the backend reports it, or the CPU's.
        device_count: Devices that one training uses.
        precision: Of the computation.
        steps_per_dispatch: Optimizer steps that one call hands to the device.
    """

    backend: Literal["tensorflow", "jax"]
    device_kind: str
    device_count: int
    precision: Literal["float32", "mixed_bfloat16"]
    steps_per_dispatch: int = 1


class DataFacts(Value):
    """The facts of a dataset that training depends on.

    Attributes:
        classes: Number of classes.
        image_shape: Height, width and channels of the stored images.
        train: Training images of one training.
        validation: Validation images; with folds, those of the first fold.
        test: Test images.
        digest: Of all pixels, labels and splits.
        folds: Trainings of a config, each with another fold as its validation split; 1 without
            folds.
    """

    classes: int
    image_shape: tuple[int, int, int]
    train: int
    validation: int
    test: int
    digest: str
    folds: int = 1

    @property
    def trained(self) -> int:
        """The images that any training of a config trains on: with folds, those of all folds."""
        return self.train if self.folds == 1 else self.train + self.validation

    @property
    def scored(self) -> int:
        """The images that a quality is measured on: with folds, those of all folds."""
        return self.validation if self.folds == 1 else self.train + self.validation


class BucketKey(Placement):
    """What two trials must have in common to share a compiled step: the placement, and these.

    Every other hyperparameter of a recipe is an input of the step, and needs no compilation.
    ``evaluation_resolution`` is None where it is the same.
    """

    variant: str
    resolution: int
    resize: str
    batch: int
    classes: int
    image_shape: tuple[int, int, int]
    trainable: str
    weights: str
    optimizer: tuple[str, ...]
    schedule: str
    augmentation: tuple[str, ...]
    class_weighted: bool
    evaluation_resolution: int | None = None

    @property
    def evaluated(self) -> BucketKey:
        """The bucket of the same networks at the resolution of evaluation."""
        if self.evaluation_resolution is None:
            return self
        changes = {"resolution": self.evaluation_resolution, "evaluation_resolution": None}
        return self.model_copy(update=changes)

    @property
    def takes_features(self) -> bool:
        """Whether the step takes cached features, not images."""
        return self.trainable == CACHED_FEATURES

    @property
    def label(self) -> str:
        """A short name: what the buckets of one study mostly differ in."""
        return f"{self.network} batch {self.batch}"

    @property
    def network(self) -> str:
        """The variant with its resolutions, in short."""
        evaluated = self.evaluation_resolution
        return f"{self.variant}@{self.resolution}" + (f"/{evaluated}" if evaluated else "")

    @property
    def digest(self) -> str:
        """Sixteen characters that two keys share only if they are equal.

        Those of earlier versions, which had no other resolution for evaluation, stay valid.
        """
        return hashlib.sha256(self.model_dump_json(exclude_none=True).encode()).hexdigest()[:16]


def differing_parts(keys: Sequence[BucketKey]) -> list[str]:
    """Names of the parts in which some of the keys differ."""
    dumped = [key.model_dump() for key in keys]
    return [name for name in BucketKey.model_fields if len({part[name] for part in dumped}) > 1]


def parts_text(key: BucketKey, names: Iterable[str]) -> str:
    """The values of some parts of a key, as text."""
    values = (getattr(key, name) for name in names)
    return ", ".join(
        " ".join(value) or "none" if isinstance(value, tuple) else str(value) for value in values
    )


def bucket_key(
    recipe: Recipe, data: DataFacts, placement: Placement, *, target_devices: int | None = None
) -> BucketKey:
    """The bucket of ``recipe`` on ``data`` at ``placement``.

    Where a trial runs on other devices than those of the target, it has two: the one that it is
    compiled for, and that on the target, whose step time counts. They differ in
    ``device_count`` alone.

    Args:
        recipe: What is trained.
        data: On which images.
        placement: Where.
        target_devices: Devices that a batch per device is meant for; those of the placement if
            left out.
    """
    switches = {
        "rectify": recipe.rectify and recipe.optimizer == "adabelief",
        "amsgrad": recipe.amsgrad and recipe.optimizer in ("adabelief", "adamw"),
        "nesterov": recipe.nesterov and recipe.optimizer == "sgd",
        "l2": recipe.l2 > 0,
        "clip": recipe.clip_norm is not None,
        "ema": recipe.ema,
    }
    augmentation = augmentation_kinds(recipe)
    if recipe.evaluation_flip:
        augmentation = (*augmentation, EVALUATION_FLIP)
    trainable: str = recipe.backbone
    if recipe.backbone == "finetune":
        trainable = f"finetune from {recipe.finetune_from}"
    if caches_features(recipe):
        trainable = CACHED_FEATURES
    return BucketKey(
        **placement.model_dump(),
        variant=recipe.variant,
        resolution=recipe.pixels,
        resize=recipe.resize,
        batch=recipe.global_batch(target_devices or placement.device_count),
        classes=data.classes,
        image_shape=data.image_shape,
        trainable=trainable,
        weights=recipe.weights,
        optimizer=(recipe.optimizer, *(name for name, on in switches.items() if on)),
        schedule=recipe.schedule,
        augmentation=augmentation,
        class_weighted=recipe.class_weight != "none",
        evaluation_resolution=(
            None if recipe.evaluation_pixels == recipe.pixels else recipe.evaluation_pixels
        ),
    )
