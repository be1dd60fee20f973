"""Turns the priors of a search space into expectations of freeze-thaw, and into first configs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from effv2_tune.search.engines.samplers import trial_seed
from effv2_tune.search.engines.unit_cube import UnitCube
from effv2_tune.search.freeze_thaw.expectations import Peak, draw_preferred

if TYPE_CHECKING:
    from effv2_tune.study.space import Config, Space

#: Width of a peak, as a share of the scale, and its height, by confidence.
_WIDTHS = {"low": 0.3, "medium": 0.2, "high": 0.1}
_HEIGHTS = {"low": 0.5, "medium": 1.0, "high": 1.5}


def peaks_of(space: Space, cube: UnitCube) -> tuple[Peak, ...]:
    """The preferred values of a space, as peaks over the coordinates of its cube."""
    peaks = []
    for name, prior in space.priors.items():
        first, point = cube.coordinates(name, prior.value)
        # Of a choice without order, the coordinate of the value.
        place = int(np.argmax(point))
        width, height = _WIDTHS[prior.confidence], _HEIGHTS[prior.confidence]
        peaks.append(Peak(first + place, float(point[place]), width, height))
    return tuple(peaks)


def preferred_config(space: Space, seed: int, place: int) -> Config:
    """A random config near the preferred values, for the trial at a place in the order."""
    cube = UnitCube(space)
    rng = np.random.default_rng(trial_seed(seed, place))
    point = draw_preferred(peaks_of(space, cube), rng.random((1, cube.dimensions)), rng)
    return cube.config(point[0])
