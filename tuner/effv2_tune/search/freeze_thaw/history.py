"""Holds the trials and observations that a decision is made from, and the decision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from effv2_tune.search.freeze_thaw.expectations import Expectation, Peak

    Floats = NDArray[np.float64]


def _no_seconds(configs: Floats) -> Floats:
    return np.zeros(len(configs))


@dataclass(frozen=True)
class Trial:
    """A trial, as the model sees it.

    Attributes:
        config: [d], each from 0 to 1 on the scale of its parameter.
        seconds: Of its whole training, known. Any unit, the same everywhere.
        state: ``running``; ``paused`` at a rung with a checkpoint; ``complete``; or ``stopped``,
            which cannot be continued.
        continue_seconds: Beyond the training itself, of continuing a paused one: reading its
            checkpoint, for example.
    """

    config: tuple[float, ...]
    seconds: float
    state: Literal["running", "paused", "complete", "stopped"]
    continue_seconds: float = 0.0


@dataclass(frozen=True)
class Screening:
    """A training of a config on a subset of the training images: it only informs the model.

    Attributes:
        config: [d], as of a trial.
    """

    config: tuple[float, ...]


@dataclass(frozen=True)
class Observation:
    """The quality of a trial after a share of its epochs, or of a screening at its end.

    Attributes:
        trial: Its key in the history.
        share: Of the trial's epochs, above 0; 1 is the end.
        quality: Higher is better; a loss is negated.
        standard_error: Of the quality; 0 where it is exact.
    """

    trial: int
    share: float
    quality: float
    standard_error: float = 0.0


@dataclass(frozen=True)
class History:
    """All that a study has measured and begun so far.

    Attributes:
        trials: By number, in the order begun.
        observations: In the order measured; those of a trial have rising shares.
        screenings: By number, in the order begun; no trial has the same number. None in a search
            without screenings.
    """

    trials: Mapping[int, Trial]
    observations: Sequence[Observation]
    screenings: Mapping[int, Screening] | None = None

    def last_shares(self) -> dict[int, float]:
        """The share of epochs that each observed trial has been trained for."""
        return {one.trial: one.share for one in self.observations}


@dataclass(frozen=True)
class Problem:
    """What the search varies, and what is known of its cost.

    Attributes:
        dimensions: Of the unit cube, d.
        seconds: The seconds of the whole trainings of configs [m, d]: [m]. Never learned.
        rungs: Shares of the epochs at which a trial can be paused, rising, below 1.
        begin_seconds: Beyond the training itself, of new configs [m, d]: [m]; the compilation,
            for example.
        snap: Moves configs [m, d] to the nearest ones that exist, as integers need.
        peaks: Preferred values; every second one of the first configs has values near them.
        earlier: What earlier studies expect of configs.
        images: The share of the training images in a screening, from 0 to 1, which takes that
            share of the seconds; None for no screenings.
    """

    dimensions: int
    seconds: Callable[[Floats], Floats]
    rungs: tuple[float, ...] = (0.1, 0.22, 0.4)
    begin_seconds: Callable[[Floats], Floats] = _no_seconds
    snap: Callable[[Floats], Floats] = np.asarray
    peaks: tuple[Peak, ...] = ()
    earlier: tuple[Expectation, ...] = ()
    images: float | None = None

    @property
    def expectations(self) -> tuple[Expectation, ...]:
        """All that is expected of configs."""
        return (*self.peaks, *self.earlier)

    def next_share(self, share: float) -> float:
        """The next rung after ``share``, or the end."""
        return next((rung for rung in self.rungs if rung > share + 1e-9), 1.0)


@dataclass(frozen=True)
class Begin:
    """Train a new config to its first rung."""

    config: tuple[float, ...]


@dataclass(frozen=True)
class Continue:
    """Train a paused trial to its next rung."""

    trial: int


@dataclass(frozen=True)
class Screen:
    """Train a config on a subset of the training images."""

    config: tuple[float, ...]


Action = Begin | Continue | Screen
