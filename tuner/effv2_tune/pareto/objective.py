"""Defines the objective of a study: the best quality in the least training time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from effv2_tune.study.trial import Measurement

QualityDirection = Literal["maximize", "minimize"]


@dataclass(frozen=True)
class Objective:
    """Turns measurements into costs, so that less is always better.

    Attributes:
        quality_direction: ``minimize`` where the quality is a loss.
    """

    quality_direction: QualityDirection = "maximize"

    def quality_cost(self, quality: float) -> float:
        """The cost of a quality, or the quality of a cost: the mapping is its own inverse."""
        return -quality if self.quality_direction == "maximize" else quality

    def costs(self, measurement: Measurement) -> tuple[float, float]:
        """The cost of the quality, and the training seconds."""
        return self.quality_cost(measurement.quality), measurement.train_seconds


#: The objective of a study whose quality is an accuracy.
ACCURACY = Objective()
