"""Defines a dataset: uint8 images in three splits, and a digest of all of it."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from effv2_tune.study.bucket import DataFacts

if TYPE_CHECKING:
    from collections.abc import Iterable

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int32]

#: Images that are hashed as one piece; part of the digest's definition.
_IMAGES_PER_PIECE = 1024


@dataclass(frozen=True)
class Split:
    """Images and their labels, in the order that indices of batches refer to.

    Attributes:
        images: [count, height, width, 3] uint8, read-only; a memory map where the images were
            decoded to disk.
        labels: [count] int32, from 0 to the number of classes - 1.
    """

    images: Images
    labels: Labels

    def __len__(self) -> int:
        """The number of images."""
        return len(self.labels)


@dataclass(frozen=True)
class Dataset:
    """The images of a study.

    Attributes:
        train: For training.
        validation: For comparing trials.
        test: For evaluating the final training only.
        classes: Names of the classes; a label is an index into them.
        digest: Of all pixels, labels, splits and the number of classes: the same for the same
            images whatever form they came in.
        notes: Messages about what was left out or assumed.
        fold_of: With folds, the fold of each image of :attr:`pool`, from 0: :attr:`validation` is
            fold 0, and :attr:`train` all others. None without folds.
        added: With ``train_on: train+validation``, how many of the last images of :attr:`train` are
            those of the validation split, which has none then.
        split_digest: The digest with these images in the validation split, as a study sees them;
            None where it is :attr:`digest`.
    """

    train: Split
    validation: Split
    test: Split
    classes: tuple[str, ...]
    digest: str
    notes: tuple[str, ...] = ()
    fold_of: npt.NDArray[np.int64] | None = None
    added: int = 0
    split_digest: str | None = None

    def facts(self) -> DataFacts:
        """Counts, image shape and digest."""
        height, width, channels = self.train.images.shape[1:]
        return DataFacts(
            classes=len(self.classes),
            image_shape=(height, width, channels),
            train=len(self.train),
            validation=len(self.validation),
            test=len(self.test),
            digest=self.digest,
            folds=self.folds,
        )

    @property
    def folds(self) -> int:
        """The number of folds; 1 without folds."""
        return 1 if self.fold_of is None else int(self.fold_of.max()) + 1

    @cached_property
    def pool(self) -> Split:
        """With folds, the images of all folds: those of :attr:`train`, then of the first fold.

        Without folds, the training images.
        """
        if self.fold_of is None:
            return self.train
        both = (self.train, self.validation)
        return Split(
            np.concatenate([split.images for split in both]),
            np.concatenate([split.labels for split in both]),
        )

    def fold(self, number: int) -> Fold:
        """A fold and the images to train on, as positions in the pool.

        Each training has as many images as the first: the last ones are left out where the fold is
        smaller.
        """
        if self.fold_of is None:
            raise ValueError("the dataset has no folds")
        in_fold = self.fold_of == number
        rest, fold = (np.flatnonzero(part).astype(np.int32) for part in (~in_fold, in_fold))
        return Fold(rest[: len(self.train)], fold)


@dataclass(frozen=True)
class Fold:
    """The split of one training of cross-validation.

    Attributes:
        train: Positions of the training images in the pool, int32.
        validation: Positions of the validation images, int32.
    """

    train: npt.NDArray[np.int32]
    validation: npt.NDArray[np.int32]


def dataset_digest(
    splits: Iterable[Split],
    class_count: int,
    fold_of: npt.NDArray[np.int64] | None = None,
) -> str:
    """SHA-256 over pixels, labels and splits, as 64 hexadecimal digits.

    The pixels enter as the digests of pieces of 1,024 images, so that all cores share the work.
    The names of the classes do not enter: an ``npz`` has none.
    """
    whole = hashlib.sha256(f"effv2-tune dataset 1, {class_count} classes".encode())
    for split in splits:
        whole.update(f"\n{split.images.shape}".encode())
        whole.update(np.ascontiguousarray(split.labels, dtype="<i4").tobytes())
        whole.update(b"".join(piece_digests(split.images)))
    if fold_of is not None:
        whole.update(b"\nfolds" + np.ascontiguousarray(fold_of, dtype="<i8").tobytes())
    return whole.hexdigest()


def piece_digests(images: Images) -> list[bytes]:
    """SHA-256 of each run of 1,024 images, in order, computed on all cores."""
    starts = range(0, len(images), _IMAGES_PER_PIECE)

    def digest(start: int) -> bytes:
        piece = np.ascontiguousarray(images[start : start + _IMAGES_PER_PIECE])
        return hashlib.sha256(piece.data).digest()

    with ThreadPoolExecutor(os.cpu_count()) as threads:  # hashlib releases the interpreter lock
        return list(threads.map(digest, starts))
