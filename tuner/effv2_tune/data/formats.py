"""Parses the published files of CIFAR and MNIST without running any code in them."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from effv2_tune.data.pool import checked_labels
from effv2_tune.errors import TuneError
from effv2_tune.files.safe_pickle import read_pickle

if TYPE_CHECKING:
    from collections.abc import Sequence

    from effv2_tune.data.dataset import Images, Labels

_SIDE = 32  # of the images of CIFAR
_IDX_UNSIGNED_BYTE = 0x08
_BATCH_HINT = "Unpack the official archive again, or leave 'path:' out to download it."


@dataclass(frozen=True)
class Part:
    """Images with their labels.

    Attributes:
        images: [count, height, width, 3] uint8.
        labels: [count] int32.
    """

    images: Images
    labels: Labels

    @classmethod
    def of(cls, images: Images, labels: npt.NDArray[Any], source: str) -> Part:
        """Images and as many labels as there are images.

        Raises:
            TuneError: If the labels are not one class number for each image.
        """
        return cls(images, checked_labels(labels, len(images), f"The labels in {source}"))

    @classmethod
    def joined(cls, parts: Sequence[Part]) -> Part:
        """All parts, one after the other."""
        return cls(
            np.concatenate([part.images for part in parts]),
            np.concatenate([part.labels for part in parts]),
        )


def read_batch(content: bytes, name: str, label_key: str) -> Part:
    """A pickled batch of CIFAR: a dictionary of flat images, channel after channel, and labels.

    Only dictionaries, lists, text, numbers and numpy arrays of numbers are read; a pickle that
    names anything else is refused, and nothing that it names is run.

    Args:
        content: The bytes of the file.
        name: Its name, for messages.
        label_key: Under which the labels are.

    Raises:
        TuneError: If it is not such a batch.
    """
    try:
        batch = read_pickle(content)
        pixels, labels = batch[b"data"], _label_array(batch[label_key.encode()])
        flat = pixels.shape == (len(labels), 3 * _SIDE * _SIDE) and pixels.dtype == np.uint8
    except Exception as error:  # a broken pickle may raise anything
        raise TuneError(
            f"{name} is not a batch of CIFAR ({type(error).__name__}: {error}).", hint=_BATCH_HINT
        ) from error
    if not flat:
        raise TuneError(
            f"{name} has images of shape {pixels.shape}, {pixels.dtype}, for {len(labels):,} "
            f"labels; expected [count, {3 * _SIDE * _SIDE}] of uint8.",
            hint=_BATCH_HINT,
        )
    images = pixels.reshape(-1, 3, _SIDE, _SIDE).transpose(0, 2, 3, 1)
    return Part.of(np.ascontiguousarray(images), labels, name)


def _label_array(labels: Any) -> npt.NDArray[Any]:
    """Labels as an array; a list of lists, which can be of any size in a few bytes, is refused."""
    if isinstance(labels, np.ndarray):
        return labels
    if isinstance(labels, list) and all(type(label) in (int, float) for label in labels):
        return np.asarray(labels)
    raise ValueError(f"the labels are no list of numbers, but {type(labels).__name__}")


def read_idx(content: bytes, name: str) -> npt.NDArray[np.uint8]:
    """An array of unsigned bytes in the IDX format of http://yann.lecun.com/exdb/mnist/.

    Raises:
        TuneError: If it is truncated, or not such a file.
    """
    try:
        zero, kind, dimensions = struct.unpack_from(">HBB", content)
        shape = struct.unpack_from(f">{dimensions}I", content, 4)
    except struct.error:
        zero, kind, dimensions, shape = -1, 0, 0, ()
    start = 4 + 4 * dimensions
    if zero != 0 or kind != _IDX_UNSIGNED_BYTE or len(content) - start != math.prod(shape):
        raise TuneError(
            f"{name} is not a complete IDX file of unsigned bytes.",
            hint="Fetch the file again, or leave 'path:' out to download it.",
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
