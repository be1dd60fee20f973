"""Decides by freeze-thaw what a two-objective Optuna study trains next.

A free worker begins a new trial, or continues one that waits at a rung with a checkpoint: whichever
has the highest expected hypervolume improvement per second. Optuna has no state for a trial that
waits: it stays RUNNING, with its curve in a user attribute, until it is complete or the search is
closed. `model` is a copy of `effv2_tune.search.freeze_thaw`, made by assemble.py.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.study import StudyDirection
from optuna.trial import TrialState

from .model import Begin, FreezeThaw, History, Observation, Problem
from .model import Trial as ModelTrial

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from optuna import Study
    from optuna.trial import FrozenTrial

__all__ = ["FreezeThawSearch", "Step"]

_CURVE, _TRAINS = "freeze_thaw:curve", "freeze_thaw:trains"


@dataclass(frozen=True)
class Step:
    """What a worker trains now.

    Attributes:
        number: Of the trial; its checkpoint belongs to it.
        params: Of the trial.
        start: The share of its training that it has been trained for; 0 is a new trial.
        stop: The share up to which it is trained now; 1 is the end.
    """

    number: int
    params: Mapping[str, Any]
    start: float
    stop: float


class FreezeThawSearch:
    """Decides what to train, from the trials of the study alone; one process decides.

    Args:
        study: Its directions are those of the quality and "minimize" for the cost.
        distributions: Of the parameters, as for `study.ask`.
        cost: Of the whole training of a trial with these params, known before it is trained: the
            seconds, above 0. It is the second objective, too.
        rungs: Shares of the training after which a trial can wait.
        continue_cost: What it costs to continue a trial after another one: to read its checkpoint.
        seed: Of the search.

    Raises:
        ValueError: The study does not have two objectives, the second of them minimized.
    """

    def __init__(
        self,
        study: Study,
        distributions: Mapping[str, BaseDistribution],
        cost: Callable[[Mapping[str, Any]], float],
        *,
        rungs: Sequence[float] = (0.1, 0.22, 0.4),
        continue_cost: float = 0.0,
        seed: int = 0,
    ) -> None:
        directions = study.directions
        if len(directions) != 2 or directions[1] != StudyDirection.MINIMIZE:  # noqa: PLR2004
            raise ValueError("The study needs a quality and a cost, and the cost is minimized.")
        self._study = study
        self._sign = -1.0 if directions[0] == StudyDirection.MINIMIZE else 1.0
        self._cost = cost
        self._continue_cost = continue_cost
        self._cube = _Cube(distributions)
        self._problem = Problem(
            self._cube.dimensions,
            lambda points: np.array([cost(self._cube.params(point)) for point in points]),
            tuple(rungs),
            snap=self._cube.snap,
        )
        self._search = FreezeThaw(self._problem, seed)

    def next(self, *, cost_left: float = math.inf) -> Step | None:
        """What a free worker trains next; `tell` takes the quality that it reaches.

        Args:
            cost_left: Of the budget; nothing is begun that costs more to its end.

        Returns:
            None if nothing fits into the budget.
        """
        history = self._history()
        number = len(history.trials) + len(history.observations)
        action = self._search.propose(history, number=number, seconds_left=cost_left)
        if action is None:
            return None
        if isinstance(action, Begin):
            params = self._cube.params(np.array(action.config))
            self._study.enqueue_trial(params)
            trial = self._study.ask(dict(self._cube.distributions))
            start = 0.0
        else:
            trial = self._trial(action.trial)
            start = history.last_shares()[action.trial]
        trial.set_user_attr(_TRAINS, value=True)
        return Step(trial.number, trial.params, start, self._problem.next_share(start))

    def tell(self, step: Step, quality: float) -> None:
        """Keep the quality that a trial has reached at `step.stop`; at 1, it is complete."""
        trial = self._trial(step.number)
        seen = sum(len(one.user_attrs.get(_CURVE, ())) for one in self._trials())
        curve = [*trial.user_attrs.get(_CURVE, ()), [seen, step.stop, quality]]
        trial.set_user_attr(_CURVE, curve)
        trial.set_user_attr(_TRAINS, value=False)
        if step.stop >= 1:
            self._study.tell(step.number, (quality, self._cost(step.params)))

    def close(self) -> None:
        """Tell the study that the trials which wait are pruned; they cannot be continued then."""
        for trial in self._trials():
            if trial.state == TrialState.RUNNING and not trial.user_attrs[_TRAINS]:
                self._study.tell(trial.number, state=TrialState.PRUNED)

    def _trials(self) -> list[FrozenTrial]:
        """Those of this search."""
        return [one for one in self._study.get_trials(deepcopy=False) if _TRAINS in one.user_attrs]

    def _trial(self, number: int) -> optuna.Trial:
        frozen = self._study.get_trials(deepcopy=False)[number]
        return optuna.trial.Trial(self._study, frozen._trial_id)  # noqa: SLF001 - no other way

    def _history(self) -> History:
        trials = self._trials()
        curves = {one.number: one.user_attrs.get(_CURVE, ()) for one in trials}
        measured = sorted(
            (order, number, share, quality)
            for number, curve in curves.items()
            for order, share, quality in curve
        )
        return History(
            {one.number: self._as_model(one) for one in trials},
            [
                Observation(number, share, self._sign * quality)
                for _, number, share, quality in measured
            ],
        )

    def _as_model(self, trial: FrozenTrial) -> ModelTrial:
        states = {TrialState.RUNNING: "paused", TrialState.COMPLETE: "complete"}
        state: Any = states.get(trial.state, "stopped")
        if state == "paused" and trial.user_attrs[_TRAINS]:
            state = "running"
        point = tuple(self._cube.point(trial.params).tolist())
        return ModelTrial(point, self._cost(trial.params), state, self._continue_cost)


class _Cube:
    """The unit cube of some distributions: a number has a coordinate, a choice one for each value.

    Args:
        distributions: By name.
    """

    def __init__(self, distributions: Mapping[str, BaseDistribution]) -> None:
        self.distributions = distributions
        self._widths = [
            len(one.choices) if isinstance(one, CategoricalDistribution) else 1
            for one in distributions.values()
        ]
        self.dimensions = sum(self._widths)

    def params(self, point: np.ndarray) -> dict[str, Any]:
        """Those nearest to a point [d]."""
        parts = np.split(point, np.cumsum(self._widths)[:-1])
        pairs = zip(self.distributions.items(), parts, strict=True)
        return {name: _value(one, part) for (name, one), part in pairs}

    def point(self, params: Mapping[str, Any]) -> np.ndarray:
        """The point [d] of params."""
        return np.concatenate([_part(one, params[n]) for n, one in self.distributions.items()])

    def snap(self, points: np.ndarray) -> np.ndarray:
        """Points [m, d] moved to the nearest ones that params have."""
        return np.array([self.point(self.params(point)) for point in points])


def _value(one: BaseDistribution, part: np.ndarray) -> Any:
    """The value of a distribution at its coordinates."""
    if isinstance(one, CategoricalDistribution):
        return one.choices[int(np.argmax(part))]
    low, high = _bounds(one)
    share = float(np.clip(part[0], 0.0, 1.0))
    number = math.exp(low + share * (high - low)) if one.log else low + share * (high - low)
    if one.step is not None:
        number = one.low + one.step * round((number - one.low) / one.step)
    number = min(max(number, one.low), one.high)
    return round(number) if isinstance(one, IntDistribution) else number


def _part(one: BaseDistribution, value: Any) -> np.ndarray:
    """The coordinates of a value."""
    if isinstance(one, CategoricalDistribution):
        return np.eye(len(one.choices))[one.choices.index(value)]
    low, high = _bounds(one)
    number = math.log(value) if one.log else float(value)
    return np.array([(number - low) / (high - low) if high > low else 0.5])


def _bounds(one: FloatDistribution | IntDistribution) -> tuple[float, float]:
    """Of the coordinate; each whole number has an equal part of it."""
    half = (one.step or 0) / 2 if isinstance(one, IntDistribution) else 0.0
    low, high = one.low - half, one.high + half
    return (math.log(low), math.log(high)) if one.log else (low, high)
