"""Defines a dataset: uint8 images in three splits, and a digest of all of it."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
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
    """

    train: Split
    validation: Split
    test: Split
    classes: tuple[str, ...]
    digest: str
    notes: tuple[str, ...] = ()

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
        )


def dataset_digest(splits: Iterable[Split], class_count: int) -> str:
    """SHA-256 over pixels, labels and splits, as 64 hexadecimal digits.

    The pixels enter as the digests of pieces of 1,024 images, so that all cores share the work.
    The names of the classes do not enter: an ``npz`` has none.
    """
    whole = hashlib.sha256(f"effv2-tune dataset 1, {class_count} classes".encode())
    for split in splits:
        whole.update(f"\n{split.images.shape}".encode())
        whole.update(np.ascontiguousarray(split.labels, dtype="<i4").tobytes())
        whole.update(b"".join(piece_digests(split.images)))
    return whole.hexdigest()


def piece_digests(images: Images) -> list[bytes]:
    """SHA-256 of each run of 1,024 images, in order, computed on all cores."""
    starts = range(0, len(images), _IMAGES_PER_PIECE)

    def digest(start: int) -> bytes:
        piece = np.ascontiguousarray(images[start : start + _IMAGES_PER_PIECE])
        return hashlib.sha256(piece.data).digest()

    with ThreadPoolExecutor(os.cpu_count()) as threads:  # hashlib releases the interpreter lock
        return list(threads.map(digest, starts))
