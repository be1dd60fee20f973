"""Holds what is expected of configs before the study, which its own trainings correct.

An expectation is a function f of the config. The model adds w f to the quality, with an unknown
weight w for each expectation: normal, with a mean of `WEIGHT` and an equal standard deviation. The
weights are integrated out (Rasmussen and Williams, section 2.7), so trainings that agree with an
expectation confirm it, and those that do not take it back, or turn it around.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from effv2_tune.search.freeze_thaw.kernel import Floats

#: Mean and standard deviation of the weights, in warped quality.
WEIGHT = 0.7


class Expectation(Protocol):
    """What is expected of configs, up to a factor and a constant."""

    def at(self, configs: Floats) -> Floats:
        """Of configs [m, d]: [m], about from -1 to 1, or 0 to 1."""


@dataclass(frozen=True)
class Peak:
    """A preferred value of one coordinate.

    Attributes:
        coordinate: Of the unit cube.
        center: The preferred value.
        width: How far from it a value may be to be nearly as good.
        height: How much better than far from it.
    """

    coordinate: int
    center: float
    width: float
    height: float = 1.0

    def at(self, configs: Floats) -> Floats:
        """The height at the preferred value, falling like a normal density."""
        distance = (configs[:, self.coordinate] - self.center) / self.width
        return np.asarray(self.height * np.exp(-0.5 * distance**2))


@dataclass(frozen=True)
class Basis:
    """The expectations relative to their means over some configs, times `WEIGHT`.

    Attributes:
        expectations: k.
        means: [k].
    """

    expectations: tuple[Expectation, ...]
    means: Floats

    @classmethod
    def of(cls, expectations: Sequence[Expectation], configs: Floats) -> Basis:
        """Relative to the configs of observations [n, d], whose mean quality is known."""
        columns = [one.at(configs).mean() for one in expectations]
        return cls(tuple(expectations), np.array(columns, float))

    def at(self, configs: Floats) -> Floats:
        """The functions, whose weights have mean and variance 1 [m, k]."""
        columns = [one.at(configs) for one in self.expectations]
        return WEIGHT * (np.reshape(columns, (len(columns), len(configs))).T - self.means)


def draw_preferred(peaks: Sequence[Peak], configs: Floats, rng: np.random.Generator) -> Floats:
    """Configs [m, d] with the coordinates of the peaks drawn near their centers."""
    moved = configs.copy()
    for one in peaks:
        drawn = one.center + one.width * rng.standard_normal(len(configs))
        moved[:, one.coordinate] = np.clip(drawn, 0.0, 1.0)
    return moved
