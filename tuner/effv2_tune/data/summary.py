"""Summarises a dataset: counts, sizes, class balance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from effv2_tune.study.validation_size import folds_text, small_validation_hint

if TYPE_CHECKING:
    from effv2_tune.data.dataset import Dataset
    from effv2_tune.study.recipe import Quality

#: Largest class over smallest from which plain accuracy mostly measures the large classes.
UNBALANCED = 1.5


@dataclass(frozen=True)
class ClassCount:
    """How many images of one class each split has.

    Attributes:
        name: The class.
        train: Training images.
        validation: Validation images.
        test: Test images.
    """

    name: str
    train: int
    validation: int
    test: int


@dataclass(frozen=True)
class Summary:
    """Counts and sizes of a dataset.

    Attributes:
        train: Training images.
        validation: Validation images.
        test: Test images.
        folds: Of the training and validation images; 1 without folds.
        image_shape: Height, width and channels as stored.
        stored_bytes: Of all images.
        classes: The counts of each class, in the order of the labels.
        imbalance: Training images of the largest class over those of the smallest; infinite
            where a class has none.
        hints: Recommendations before a study is started.
        notes: Messages about what was left out or assumed when loading.
    """

    train: int
    validation: int
    test: int
    folds: int
    image_shape: tuple[int, int, int]
    stored_bytes: int
    classes: tuple[ClassCount, ...]
    imbalance: float
    hints: tuple[str, ...]
    notes: tuple[str, ...]

    def lines(self) -> list[str]:
        """The summary as text, one fact a line, hints and notes last."""
        height, width, channels = self.image_shape
        largest = max(self.classes, key=lambda count: count.train)
        smallest = min(self.classes, key=lambda count: count.train)
        counts = f"{self.train:,} training, {self.validation:,} validation, {self.test:,} test"
        megabytes = self.stored_bytes / 1e6
        span = f"{smallest.train:,} ({smallest.name}) to {largest.train:,} ({largest.name})"
        balanced = smallest.train == largest.train
        return [
            f"{counts} images of {len(self.classes)} classes{folds_text(self.folds)}",
            f"stored as {height} x {width} x {channels} uint8, {megabytes:,.1f} MB in all",
            f"training images per class: {smallest.train:,}"
            if balanced
            else f"training images per class: {span}, ratio {self.imbalance:.2f}",
            *self.hints,
            *self.notes,
        ]


def describe(dataset: Dataset, *, quality: Quality = "accuracy") -> Summary:
    """Summarise ``dataset``, with recommendations for a study with this ``quality``."""
    splits = (dataset.train, dataset.validation, dataset.test)
    counts = [np.bincount(split.labels, minlength=len(dataset.classes)) for split in splits]
    facts = dataset.facts()
    largest, smallest = int(counts[0].max()), int(counts[0].min())
    imbalance = largest / smallest if smallest else float("inf")
    small = small_validation_hint(facts.scored, quality, folds=facts.folds)
    return Summary(
        train=facts.train,
        validation=facts.validation,
        test=facts.test,
        folds=facts.folds,
        image_shape=facts.image_shape,
        stored_bytes=sum(split.images.nbytes for split in splits),
        classes=tuple(
            ClassCount(name, *(int(count[label]) for count in counts))
            for label, name in enumerate(dataset.classes)
        ),
        imbalance=imbalance,
        hints=tuple(filter(None, (*_hints(dataset.classes, counts, imbalance, quality), small))),
        notes=dataset.notes,
    )


def _hints(
    classes: tuple[str, ...], counts: list[np.ndarray], imbalance: float, quality: Quality
) -> list[str]:
    hints = []
    if imbalance >= UNBALANCED and quality in ("accuracy", "top5", "loss"):
        hints.append(
            f"The classes are unbalanced (largest / smallest = {imbalance:.1f}), and "
            f"'quality: {quality}' mostly measures the large ones: consider "
            "'quality: balanced_accuracy' or 'macro_f1', and 'class_weight: balanced'."
        )
    for split, count in zip(("training", "validation", "test"), counts, strict=True):
        missing = [name for name, images in zip(classes, count, strict=True) if images == 0]
        if missing:
            hints.append(
                f"The {split} split has no image of {_named(missing)}: use more images or "
                "'stratify: true'."
            )
    return hints


def _named(names: list[str], shown: int = 3) -> str:
    more = f" and {len(names) - shown} more classes" if len(names) > shown else ""
    return ", ".join(repr(name) for name in names[:shown]) + more
