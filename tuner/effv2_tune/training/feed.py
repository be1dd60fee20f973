"""How images reach the device: all of them once, or batch after batch, gathered ahead."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from effv2_tune.data import Dataset, Split

    Place = Callable[[NDArray[np.uint8], NDArray[np.int32]], tuple[Any, Any]]

Feeds = dict[str, "Resident | Streamed"]

#: Batches that are gathered ahead, and the threads that gather: NumPy copies without the
#: interpreter lock, and a memory-mapped store waits for the disk.
_AHEAD = 3
_THREADS = 2


@dataclass(frozen=True)
class Resident:
    """A split that lies on the device; a batch is gathered there.

    Attributes:
        pixels: [count, height, width, channels], uint8, on the device.
        labels: [count], int32, on the device.
    """

    pixels: Any
    labels: Any

    def __len__(self) -> int:
        """The number of images."""
        return len(self.labels)


class Streamed:
    """A split that lies in host memory or on disk.

    Args:
        split: Its images.
        place: Puts one batch of pixels and labels on the device.
    """

    def __init__(self, split: Split, place: Place) -> None:
        self._split = split
        self._place = place
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="feed")
        self._order: NDArray[np.int32] = np.zeros((0, 0), np.int32)
        self._pending: deque[tuple[int, Future[tuple[Any, Any]]]] = deque()

    def __len__(self) -> int:
        """The number of images."""
        return len(self._split)

    def begin(self, order: NDArray[np.int32]) -> None:
        """Give the positions [steps, batch] of the coming batches."""
        self._order = order
        self._pending.clear()

    def take(self, step: int) -> tuple[Any, Any]:
        """Pixels and labels of one step on the device; those after it are on their way."""
        while self._pending and self._pending[0][0] != step:
            self._pending.popleft()
        following = self._pending[-1][0] + 1 if self._pending else step
        for ahead in range(following, min(step + 1 + _AHEAD, len(self._order))):
            self._pending.append((ahead, self._threads.submit(self.gather, self._order[ahead])))
        return self._pending.popleft()[1].result()

    def gather(self, positions: NDArray[np.int32]) -> tuple[Any, Any]:
        """Pixels and labels at these positions, on the device."""
        return self._place(
            np.take(self._split.images, positions, axis=0), self._split.labels[positions]
        )


def feeds_of(dataset: Dataset, *, limit: int, place_all: Place, place_batch: Place) -> Feeds:
    """A feed for each split: resident if all images together have at most ``limit`` bytes.

    Args:
        dataset: The images.
        limit: Bytes.
        place_all: Puts all images of a split on the device.
        place_batch: Puts one batch there.
    """
    splits = {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}
    if sum(split.images.nbytes for split in splits.values()) > limit:
        return {name: Streamed(split, place_batch) for name, split in splits.items()}
    return {
        name: Resident(*place_all(np.asarray(split.images), np.asarray(split.labels)))
        for name, split in splits.items()
    }
