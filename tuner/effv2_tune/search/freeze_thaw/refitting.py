"""Decides when the hyperparameters are fitted anew, and spreads each fit over some decisions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from effv2_tune.search.freeze_thaw.curves import curve_data
from effv2_tune.search.freeze_thaw.fitting import PARTS, Fit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from effv2_tune.search.freeze_thaw.expectations import Expectation
    from effv2_tune.search.freeze_thaw.history import History
    from effv2_tune.search.freeze_thaw.kernel import Hyperparameters

#: How much more observations there are at the next fit.
_GROWTH = 1.15
#: Of its observations, how many more there are when a fit is used: the time that it is spread over.
_DELAY = 0.1


class Refits:
    """The hyperparameters at each time of a study.

    They are fitted on the first observations of the study, so that they follow from the records
    alone: a new process computes at once what another one has spread over its decisions.

    Args:
        seed: Of the starts of the fits.
        most: Observations that a fit is on.
        expectations: Of configs.
    """

    def __init__(self, seed: int, most: int, expectations: Sequence[Expectation] = ()) -> None:
        self._seed = seed
        self._most = most
        self._expectations = expectations
        #: The fit in use and the one that is spread, by their observations.
        self._fits: dict[tuple[int, int], Fit] = {}

    def current(self, history: History) -> Hyperparameters:
        """The hyperparameters to decide with; part of the next fit is computed, too."""
        count = len(history.observations)
        newest = fitted_count(count)
        self._fits = dict(self._fit(history, number) for number in (used_count(count), newest))
        in_use, *spread = self._fits.values()
        for one in spread:
            passed = (count - newest + 1) / _delay(newest)
            one.advance(math.ceil(passed * PARTS))
        return in_use.result()

    def _fit(self, history: History, count: int) -> tuple[tuple[int, int], Fit]:
        """The fit on the first observations, by its key."""
        first = history.observations[:count]
        key = (count, hash(tuple(first)))
        if key in self._fits:
            return key, self._fits[key]
        data = curve_data(history.trials, first, self._most, history.screenings)
        return key, Fit(
            data.points,
            data.values,
            data.noise,
            seed=self._seed,
            expectations=self._expectations,
        )


def fitted_count(observations: int) -> int:
    """How many of so many observations the newest fit is on: a rare change."""
    count = 1
    while (larger := int(count * _GROWTH) + 1) <= observations:
        count = larger
    return count


def used_count(observations: int) -> int:
    """How many of so many observations the hyperparameters in use are fitted on."""
    newest = fitted_count(observations)
    return newest if newest + _delay(newest) <= observations else fitted_count(newest - 1)


def _delay(count: int) -> int:
    """Observations between the beginning of a fit and its use; 0 of a fit on few."""
    return int(_DELAY * count)
