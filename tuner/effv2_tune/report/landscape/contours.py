"""Estimates the quality over two hyperparameters, where enough trials are near.

Kernel regression (Nadaraya 1964, Watson 1964) in the unit square of both, with the bandwidth that
predicts each trial best from all others (leave-one-out cross-validation). The other hyperparameters
differ between the trials too, so the share of the variance that is predicted in this way is stated,
and where it is small nothing is drawn but the trials themselves.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

from effv2_tune.report.importance import is_numeric
from effv2_tune.report.parallel import Axis, parameter_axis
from effv2_tune.report.quantities import label_of
from effv2_tune.report.tables.trials import parameter_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

    from effv2_tune.report.analysis import DeviceAnalysis
    from effv2_tune.study.trial import Trial

    Array = npt.NDArray[np.float64]

#: Fewest trials with both hyperparameters from which a surface is estimated.
FEWEST_TRIALS = 20
#: Least share of the variance of the quality that the two must predict.
LEAST_EXPLAINED = 0.1
#: Hyperparameters that are paired: every two of the most important ones.
MOST_PARAMETERS = 5
#: With fewer values a surface would be a few stripes.
_FEWEST_VALUES = 6
#: Standard deviations of the kernel that are compared, as shares of the axes.
_BANDWIDTHS = (0.05, 0.08, 0.12, 0.18, 0.27)
#: Trials on which they are compared; the time grows with the square of their number.
_MOST_COMPARED = 300
#: Points of the grid, along each axis.
GRID = 25
#: A point of the grid is estimated only within so many bandwidths of a trial.
_REACH = 2.0


class Contour(NamedTuple):
    """The quality over two hyperparameters.

    Attributes:
        parameters: Their names.
        axes: Theirs, with the positions of the trials [n].
        trials: Numbers of the complete trials that have both [n].
        qualities: Of each [n].
        explained: Share of the variance of the quality that the two predict; None with fewer than
            ``FEWEST_TRIALS``.
        surface: The estimated quality [y, x] on an even grid of positions from 0 to 1, None outside
            of the convex hull of the trials and far from each; empty where nothing is estimated.
    """

    parameters: tuple[str, str]
    axes: tuple[Axis, Axis]
    trials: Sequence[int]
    qualities: Sequence[float]
    explained: float | None
    surface: Sequence[Sequence[float | None]]

    @property
    def title(self) -> str:
        """Both hyperparameters, in words."""
        return " and ".join(label_of(name) for name in self.parameters)


def contours(device: DeviceAnalysis) -> list[Contour]:
    """Every two of the most important numeric hyperparameters, the best predictors first.

    Hyperparameters with fewer than six values are left out.
    """
    names = [name for name in _ranked(device) if _is_paired(device.complete, name)]
    found = [_contour(device, pair) for pair in itertools.combinations(names[:MOST_PARAMETERS], 2)]
    # A pair without a figure for what it explains comes last; the sort is stable.
    return sorted(found, key=lambda one: -1.0 if one.explained is None else -1.0 - one.explained)


def _ranked(device: DeviceAnalysis) -> list[str]:
    ranks = {one.parameter: place for place, one in enumerate(device.importances["quality"])}
    return sorted(parameter_names(device.complete), key=lambda name: ranks.get(name, len(ranks)))


def _is_paired(trials: Sequence[Trial], name: str) -> bool:
    values = [trial.config[name] for trial in trials if trial.config.get(name) is not None]
    return is_numeric(values) and len(set(values)) >= _FEWEST_VALUES


def _contour(device: DeviceAnalysis, names: tuple[str, str]) -> Contour:
    import numpy as np

    trials = [
        trial
        for trial in device.complete
        if all(trial.config.get(name) is not None for name in names)
    ]
    first, second = (
        parameter_axis(label_of(name), [trial.config[name] for trial in trials]) for name in names
    )
    qualities = [device.qualities[trial.number] for trial in trials]
    explained, surface = None, []
    if len(trials) >= FEWEST_TRIALS:
        places = np.array([first.positions, second.positions], dtype=float).T
        values = np.array(qualities, dtype=float)
        bandwidth, explained = best_bandwidth(places, values)
        if explained >= LEAST_EXPLAINED:
            surface = estimated_surface(places, values, bandwidth)
    numbers = [trial.number for trial in trials]
    return Contour(names, (first, second), numbers, qualities, explained, surface)


def best_bandwidth(places: Array, values: Array) -> tuple[float, float]:
    """The bandwidth that predicts each trial best from the others, and how well.

    Args:
        places: Of the trials in the unit square, [n, 2].
        values: Of each, [n].

    Returns:
        The bandwidth, and the share of the variance that it predicts; below 0 where the mean of
        all other trials predicts better.
    """
    import numpy as np

    every = max(1, -(-len(values) // _MOST_COMPARED))
    places, values = places[::every], values[::every]
    squares = ((places[:, None] - places[None]) ** 2).sum(axis=-1)
    # Of all others, as for the predictions.
    errors = values - (values.sum() - values) / (len(values) - 1)
    whole = float((errors**2).sum())
    if whole <= 0:
        return _BANDWIDTHS[-1], 0.0
    found = []
    for bandwidth in _BANDWIDTHS:
        weights = np.exp(-squares / (2 * bandwidth**2))
        np.fill_diagonal(weights, 0.0)
        sums = weights.sum(axis=1)
        # A trial far from all others is predicted by their mean.
        near = np.where(sums > 0, weights @ values / np.where(sums > 0, sums, 1.0), values - errors)
        found.append((1 - float(((values - near) ** 2).sum()) / whole, bandwidth))
    explained, bandwidth = max(found)
    return bandwidth, explained


def estimated_surface(places: Array, values: Array, bandwidth: float) -> list[list[float | None]]:
    """The quality on the grid, None outside of the convex hull of the trials and far from each.

    Args:
        places: Of the trials in the unit square, [n, 2].
        values: Of each, [n].
        bandwidth: Of the kernel.

    Returns:
        [y, x]; empty where the trials are on one line.
    """
    import numpy as np
    from scipy.spatial import Delaunay, QhullError  # type: ignore[import-untyped]

    try:
        hull = Delaunay(places)
    except QhullError:
        return []
    line = np.linspace(0.0, 1.0, GRID)
    grid = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    squares = ((grid[:, None] - places[None]) ** 2).sum(axis=-1)
    # Of a point far from all trials every weight may be 0; it is left out.
    weights = np.exp(-(squares - squares.min(axis=1, keepdims=True)) / (2 * bandwidth**2))
    estimates = weights @ values / weights.sum(axis=1)
    is_near = squares.min(axis=1) <= (_REACH * bandwidth) ** 2
    is_inside = hull.find_simplex(grid) >= 0
    shown = [
        float(f"{value:.5g}") if known else None
        for value, known in zip(estimates, is_near & is_inside, strict=True)
    ]
    return [shown[row * GRID : (row + 1) * GRID] for row in range(GRID)]
