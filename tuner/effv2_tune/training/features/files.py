"""Stores the features of one split on disk, with the measured cost of extracting them."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, ClassVar

from effv2_tune.files.block_store import BlockStore

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    Features = NDArray[np.float32]


class FeatureFile(BlockStore):
    """One array of features, float32 [count, width].

    Args:
        folder: Where it is.
        name: Without ending.
        count: Images.
        width: Features of an image.
        block: Images that are computed and written as one piece.
    """

    contents: ClassVar[str] = "features"
    hint: ClassVar[str] = (
        "Free space there, or set EFFV2_TUNE_CACHE to a folder on another disk; what is written "
        "already remains. 'features: off' runs the backbone in every step."
    )

    def __init__(self, folder: Path, name: str, *, count: int, width: int, block: int) -> None:
        super().__init__(folder, name, dtype="<f4", shape=(count, width), block=block)

    def seconds(self) -> float | None:
        """What one image takes: the median of the measured blocks; None if there are none."""
        measured = self._measured()
        return statistics.median(measured) if measured else None

    def measured_blocks(self) -> int:
        """How many blocks have been measured."""
        return len(self._measured())

    def _measured(self) -> list[float]:
        return [block.seconds for block in self.recorded().values() if block.seconds is not None]
