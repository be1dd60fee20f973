"""Holds a frozen backbone's features, in memory and on the device."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from effv2_tune.training.features.cache import FeatureFacts
    from effv2_tune.training.features.files import Features
    from effv2_tune.training.inputs.pipeline import DeviceData


@dataclass(frozen=True)
class FeatureSource:
    """The features of a split, and their labels.

    Attributes:
        views: [count, width] each: of the images, and with flips of the mirrored images.
        labels: [count].
    """

    views: tuple[Features, ...]
    labels: NDArray[np.int32]

    @property
    def image_shape(self) -> None:
        """None: they are not images."""

    @property
    def nbytes(self) -> int:
        """Of all views."""
        return sum(view.nbytes for view in self.views)

    def take(self, positions: NDArray[np.int32]) -> Features:
        """[positions, views, width]."""
        return np.stack([np.take(view, positions, axis=0) for view in self.views], axis=1)

    def whole(self) -> Features:
        """[count, views, width]."""
        return np.stack(self.views, axis=1)


@dataclass
class FeatureSet:
    """The features that buckets with the same frozen backbone, images and flips share.

    Attributes:
        facts: Of the features.
        sources: By split; the test split is added when it is needed.
        device_data: The same on the device; filled by `DeviceResidency.place`.
        extraction_seconds: Time to compute those of the training images, each view that is trained
            on.
        wall_seconds: Time until this process had them; 0 once it is charged to a trial.
        notes: Messages about their origin that are not reported yet.
    """

    facts: FeatureFacts
    sources: dict[str, FeatureSource]
    device_data: DeviceData
    extraction_seconds: float
    wall_seconds: float
    notes: list[str] = field(default_factory=list)

    @property
    def shape(self) -> tuple[int, int]:
        """Views and width."""
        views = self.sources["train"].views
        return len(views), views[0].shape[1]

    @property
    def nbytes(self) -> int:
        """Of all splits."""
        return sum(source.nbytes for source in self.sources.values())

    def take_notes(self) -> tuple[str, ...]:
        """Remove and return the notes."""
        notes, self.notes = tuple(self.notes), []
        return notes

    def take_wall_seconds(self) -> float:
        """Remove and return the wall time, for the one trial that is charged with it."""
        seconds, self.wall_seconds = self.wall_seconds, 0.0
        return seconds
