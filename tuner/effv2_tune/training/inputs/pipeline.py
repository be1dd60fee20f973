"""Transfers images or features to the device: all at once, or batch by batch, prefetched."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from effv2_tune.heartbeat import advance
from effv2_tune.training.inputs.shuffling import evaluation_order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    from effv2_tune.data import Dataset, Split

    PlaceAll = Callable[["Source"], tuple[Any, Any]]
    PlaceBatch = Callable[[NDArray[Any], NDArray[np.int32]], tuple[Any, Any]]

DeviceData = dict[str, "Resident | Streamed"]

#: Batches that are prefetched, and the threads that gather them: NumPy copies without the
#: interpreter lock, and a memory-mapped store waits for the disk.
_PREFETCH = 3
_THREADS = 2


class Source(Protocol):
    """The inputs of a network, one row for each image of a split."""

    @property
    def labels(self) -> NDArray[np.int32]:
        """[count]."""

    @property
    def image_shape(self) -> tuple[int, ...] | None:
        """Height, width and channels of images; None for features."""

    @property
    def nbytes(self) -> int:
        """Of all rows, on the device."""

    def take(self, positions: NDArray[np.int32]) -> NDArray[Any]:
        """The rows at these positions."""

    def whole(self) -> NDArray[Any]:
        """All rows."""


@dataclass(frozen=True)
class ImageSource:
    """The images of a split."""

    split: Split

    @property
    def labels(self) -> NDArray[np.int32]:
        """[count]."""
        return self.split.labels

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Height, width and channels."""
        return self.split.images.shape[1:]

    @property
    def nbytes(self) -> int:
        """Of all images."""
        return self.split.images.nbytes

    def take(self, positions: NDArray[np.int32]) -> NDArray[np.uint8]:
        """[positions, height, width, channels]."""
        return np.take(self.split.images, positions, axis=0)

    def whole(self) -> NDArray[np.uint8]:
        """[count, height, width, channels]."""
        return np.asarray(self.split.images)


def image_sources(dataset: Dataset) -> dict[str, ImageSource]:
    """The images of a dataset, by split that has any.

    With folds, the training images are those of all folds.
    """
    splits = {"train": dataset.pool, "validation": dataset.validation, "test": dataset.test}
    return {name: ImageSource(split) for name, split in splits.items() if len(split)}


@dataclass(frozen=True)
class Resident:
    """A split on the device, where batches are gathered.

    Attributes:
        pixels: All rows, on the device: images [count, height, width, channels], uint8, or in rows
            of bytes (`packing`); or features [count, views, width], float32.
        labels: [count], int32, on the device.
    """

    pixels: Any
    labels: Any

    def __len__(self) -> int:
        """The number of images."""
        return len(self.labels)


class Streamed:
    """A split in host memory or on disk.

    Args:
        source: Its images, or features.
        place: Puts one batch of rows and labels on the device.
    """

    def __init__(self, source: Source, place: PlaceBatch) -> None:
        self._source = source
        self._place = place
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="prefetch")
        self._order: NDArray[np.int32] = np.zeros((0, 0), np.int32)
        self._pending: deque[tuple[int, Future[tuple[Any, Any]]]] = deque()

    def __len__(self) -> int:
        """The number of images."""
        return len(self._source.labels)

    def begin(self, order: NDArray[np.int32]) -> None:
        """Set the positions [steps, batch] of the coming batches."""
        self._order = order
        self._pending.clear()

    def take(self, step: int) -> tuple[Any, Any]:
        """Pixels and labels of one step on the device; prefetches those of the next steps."""
        while self._pending and self._pending[0][0] != step:
            self._pending.popleft()
        following = self._pending[-1][0] + 1 if self._pending else step
        for ahead in range(following, min(step + 1 + _PREFETCH, len(self._order))):
            self._pending.append((ahead, self._threads.submit(self.gather, self._order[ahead])))
        return self._pending.popleft()[1].result()

    def gather(self, positions: NDArray[np.int32]) -> tuple[Any, Any]:
        """Pixels and labels at these positions, on the device."""
        return self._place(self._source.take(positions), self._source.labels[positions])


def device_data(
    sources: Mapping[str, Source], *, limit: int, place_all: PlaceAll, place_batch: PlaceBatch
) -> DeviceData:
    """Each split on the device: resident if all together have at most ``limit`` bytes.

    Args:
        sources: By split.
        limit: Bytes.
        place_all: Puts all rows and labels of a split on the device.
        place_batch: Puts one batch there.
    """
    if sum(source.nbytes for source in sources.values()) > limit:
        return {name: Streamed(source, place_batch) for name, source in sources.items()}
    return {name: Resident(*place_all(source)) for name, source in sources.items()}


def image_batches(
    data: Resident | Streamed, order: NDArray[np.int32]
) -> Iterator[tuple[Any, NDArray[np.int32]]]:
    """For each batch of an order [batches, batch], pixels and its positions in them."""
    if isinstance(data, Resident):
        for positions in order:
            advance()
            yield data.pixels, positions
        return
    data.begin(order)
    for step in range(len(order)):
        advance()
        yield data.take(step)[0], np.arange(order.shape[1], dtype=np.int32)


def evaluation_rows(
    data: Resident | Streamed, batch: int, positions: NDArray[np.int32] | None = None
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The positions of every evaluation batch [batches, batch], and which of them count.

    Args:
        data: The split.
        batch: Images per batch.
        positions: Of the images to evaluate; all of the split if left out.
    """
    evaluated = np.arange(len(data), dtype=np.int32) if positions is None else positions
    order, counted = evaluation_order(len(evaluated), batch)
    return evaluated[order], counted


def evaluation_batches(
    data: Resident | Streamed, batch: int, positions: NDArray[np.int32] | None = None
) -> Iterator[tuple[tuple[Any, Any], NDArray[np.int32], NDArray[np.float32]]]:
    """For each evaluation batch, pixels and labels, its positions in them, and which count.

    The arguments are those of :func:`evaluation_rows`.
    """
    for indices, counted in zip(*evaluation_rows(data, batch, positions), strict=True):
        advance()
        if isinstance(data, Resident):
            yield (data.pixels, data.labels), indices, counted
        else:
            yield data.gather(indices), np.arange(batch, dtype=np.int32), counted
