"""Creates samplers by name, one for each trial."""

from __future__ import annotations

import json
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
from optuna.samplers import NSGAIISampler, RandomSampler, TPESampler

from effv2_tune.errors import TuneError
from effv2_tune.search.engines.base import Exhausted
from effv2_tune.study.space import ChoiceParameter, FloatParameter, IntParameter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.study import Study
    from optuna.trial import FrozenTrial

    from effv2_tune.study.space import Dimension, Space

    Floats = NDArray[np.float64]

#: Points of a grid along a numeric range.
GRID_POINTS = 5
LARGEST_GRID = 10_000


class FixedSampler(RandomSampler):
    """Returns fixed values; like its base class, it samples no parameters jointly.

    Args:
        values: One for each parameter.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__()
        self._values = values

    def sample_independent(
        self,
        study: Study,  # noqa: ARG002 - Optuna's protocol
        trial: FrozenTrial,  # noqa: ARG002 - Optuna's protocol
        param_name: str,
        param_distribution: BaseDistribution,  # noqa: ARG002 - Optuna's protocol
    ) -> Any:
        """The value of this parameter."""
        return self._values[param_name]


def trial_seed(seed: int, number: int) -> int:
    """The seed of one trial's sampler, from the study's and the trial's number."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


def choice_labels(dimension: Dimension) -> list[bool | int | float | str | None]:
    """Optuna's labels of the values of a choice.

    The values themselves where Optuna can store and distinguish them (to it, True equals 1), their
    JSON otherwise.
    """
    if not isinstance(dimension.parameter, ChoiceParameter):
        return []
    values = dimension.parameter.values
    labels = [json.dumps(value) if isinstance(value, dict) else value for value in values]
    if any(labels.count(label) > 1 for label in labels):
        return [json.dumps(value) for value in values]
    return labels


def sampler_maker(name: str, space: Space, seed: int) -> Callable[[int], BaseSampler]:
    """A function that creates the sampler of a trial, from the number of the trial.

    It raises :class:`Exhausted` where there is nothing left to try.

    Raises:
        TuneError: There is no such sampler, or it needs a package that is not installed.
    """
    if name == "grid":
        points = _grid(space)
        order = np.random.default_rng(seed).permutation(len(points))

        def next_point(number: int) -> BaseSampler:
            if number >= len(points):
                raise Exhausted
            return FixedSampler(points[order[number]])

        return next_point
    if name == "qmc":
        return lambda number: FixedSampler(_sobol_point(space, seed, number))
    if name == "gp":
        if find_spec("torch") is None:
            raise TuneError(
                "The engine 'gp' needs PyTorch, which is not installed.",
                hint="Install it with 'pip install torch', or use 'engine: tpe'.",
            )
        return lambda number: optuna.samplers.GPSampler(seed=trial_seed(seed, number))
    makers = {"tpe": TPESampler, "random": RandomSampler, "nsga2": NSGAIISampler}
    if name not in makers:
        raise TuneError(f"Unknown engine {name!r}.", hint=f"Use one of: {', '.join(makers)}.")
    return lambda number: makers[name](seed=trial_seed(seed, number))


def _sobol_point(space: Space, seed: int, number: int) -> dict[str, Any]:
    """Point ``number`` of a scrambled Sobol sequence, on the scales of the space."""
    from scipy.stats import qmc  # type: ignore[import-untyped]

    dimensions = space.dimensions()
    sequence = qmc.Sobol(len(dimensions), rng=np.random.default_rng(seed))
    point = sequence.fast_forward(number).random(1)[0] if number else sequence.random(1)[0]
    return {d.name: at_share(d, float(share)) for d, share in zip(dimensions, point, strict=True)}


def at_share(dimension: Dimension, share: float) -> Any:
    """The label of the value at ``share``, from 0 to below 1, of the scale of a dimension."""
    parameter = dimension.parameter
    if isinstance(parameter, ChoiceParameter):
        labels = choice_labels(dimension)
        return labels[min(int(share * len(labels)), len(labels) - 1)]
    return numbers_at(parameter, np.array([share]))[0]


def numbers_at(parameter: FloatParameter | IntParameter, shares: Floats) -> list[float | int]:
    """The values [m] at shares [m], from 0 to 1, of the scale of a number."""
    low, high = float(parameter.low), float(parameter.high)
    if isinstance(parameter, IntParameter):
        # Each integer has the part of the scale that is nearest to it.
        low, high = low - parameter.step / 2, high + parameter.step / 2
    if parameter.scale == "log":
        values = np.exp(np.log(low) + shares * (np.log(high) - np.log(low)))
    else:
        values = low + shares * (high - low)
    if isinstance(parameter, FloatParameter):
        return [parameter.clip(value) for value in values.tolist()]
    last = (parameter.high - parameter.low) // parameter.step
    steps = np.clip(np.rint((values - parameter.low) / parameter.step), 0, last)
    return [parameter.low + parameter.step * int(step) for step in steps]


def _grid(space: Space) -> list[dict[str, Any]]:
    """Every point of the grid, as labels; inactive dimensions add no points."""
    points: list[tuple[dict[str, Any], dict[str, Any]]] = [({}, {})]
    for dimension in space.dimensions():
        axis = _grid_axis(dimension)
        wider = []
        for values, labels in points:
            if dimension.parameter.is_active(space.decode(values)):
                wider += [
                    (values | {dimension.name: value}, labels | {dimension.name: label})
                    for value, label in axis
                ]
            else:
                wider.append((values, labels))
        if len(wider) > LARGEST_GRID:
            raise TuneError(
                f"A grid over this search space has more than {LARGEST_GRID:,} points.",
                hint="Use 'engine: tpe', or search fewer parameters.",
            )
        points = wider
    return [point for _, point in points]


def _grid_axis(dimension: Dimension) -> list[tuple[Any, Any]]:
    """The values of a dimension with their labels: all of a choice, a few of a range."""
    if isinstance(dimension.parameter, ChoiceParameter):
        return list(zip(dimension.parameter.values, choice_labels(dimension), strict=True))
    values = [at_share(dimension, share) for share in np.linspace(0, 1, GRID_POINTS).tolist()]
    return [(value, value) for value in dict.fromkeys(values)]
