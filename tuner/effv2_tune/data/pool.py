"""Defines the images of a source before they are split, and validates their labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from effv2_tune.errors import TuneError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from effv2_tune.data.dataset import Images, Labels
    from effv2_tune.data.storage_options import StorageOptions

#: Which split an image came in: codes in :attr:`Pool.origin`.
TRAIN, VALIDATION, TEST = 0, 1, 2
SPLIT_NAMES = ("train", "validation", "test")

Indices = npt.NDArray[np.int64]


class ImageSet(Protocol):
    """Images that are read by their positions in the pool."""

    def gather(self, wanted: Sequence[Indices], storing: StorageOptions) -> list[Images]:
        """One array [count, height, width, 3] for each array of positions, in their order."""
        ...


@dataclass(frozen=True)
class Pool:
    """All images of a source in the order of the source, with its published splits.

    Attributes:
        images: The images, by position.
        labels: [count] int32.
        origin: [count] int8, ``TRAIN``, ``VALIDATION`` or ``TEST``: the split each came in;
            ``TRAIN`` for all if the source has no splits.
        classes: Names of the classes.
        groups: [count] int64, equal for images that must stay in one split; None where every
            image stands alone.
        default_test: Fraction of the images for the test split if neither the source nor the study
            specifies one.
        notes: Messages about what was left out or assumed.
    """

    images: ImageSet
    labels: Labels
    origin: npt.NDArray[np.int8]
    classes: tuple[str, ...]
    groups: Indices | None = None
    default_test: float | None = None
    notes: tuple[str, ...] = ()


def checked_labels(raw: npt.NDArray[Any], count: int, source: str) -> Labels:
    """Whole numbers from 0 as int32 [count], from an array [count] or [count, 1].

    Args:
        raw: The labels as read.
        count: Number of images that they belong to.
        source: Where they are from, for error messages.

    Raises:
        TuneError: If they are not integers, are negative, or are not one for each image.
    """
    if raw.ndim == 2 and raw.shape[1] == 1:  # noqa: PLR2004 - [count, 1] is Keras's form of CIFAR
        raw = raw[:, 0]
    if raw.ndim != 1:
        raise TuneError(
            f"{source} has shape {raw.shape}; expected one class number for each image.",
            hint="Turn one-hot rows into class numbers with labels.argmax(axis=1).",
        )
    if not np.issubdtype(raw.dtype, np.integer):
        raise TuneError(
            f"{source} is {raw.dtype}; expected whole numbers, the class of each image from 0.",
            hint="Number the classes from 0 and store them as int64.",
        )
    if len(raw) != count:
        raise TuneError(
            f"{source} has {len(raw):,} labels for {count:,} images.",
            hint="Store exactly one label for each image.",
        )
    if count and raw.min() < 0:
        raise TuneError(
            f"{source} holds the label {raw.min()}; labels are class numbers from 0.",
            hint="Remove images without a class, or number the classes from 0.",
        )
    if count and raw.max() > np.iinfo(np.int32).max:
        raise TuneError(
            f"{source} holds the label {raw.max()}; labels are class numbers from 0.",
            hint="Number the classes 0, 1, 2 and so on.",
        )
    return raw.astype(np.int32)


def check_classes(pool: Pool, source: str) -> None:
    """Validate that a classifier can be trained on the pool.

    Raises:
        TuneError: If it is empty, has one class only, or labels beyond its classes.
    """
    if len(pool.labels) == 0:
        raise TuneError(f"{source} holds no images.", hint="Check 'path:' in the study's data.")
    check_label_range(pool.labels, len(pool.classes), source)
    if len(np.unique(pool.labels)) == 1:
        raise TuneError(
            f"{source} has one class only, {pool.classes[pool.labels[0]]!r}.",
            hint="A classifier needs at least two classes: one folder or one label for each.",
        )


def check_label_range(labels: Labels, classes: int, source: str) -> None:
    """Validate that labels are below the number of classes.

    Raises:
        TuneError: One is not.
    """
    if labels.max(initial=0) >= classes:
        raise TuneError(
            f"{source} holds the label {labels.max()}, but there are {classes} classes, "
            f"0 to {classes - 1}.",
            hint="Correct the labels, or name all classes.",
        )
