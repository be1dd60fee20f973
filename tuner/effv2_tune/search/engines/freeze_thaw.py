"""Proposes configs and continues paused trials by freeze-thaw, in one decision."""

from __future__ import annotations

import math
import statistics
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import optuna
from optuna.trial import TrialState

from effv2_tune.errors import TuneError
from effv2_tune.pareto import Objective
from effv2_tune.search.engines.base import Exhausted, begin_trial, position
from effv2_tune.search.engines.curve_history import CurveReader
from effv2_tune.search.engines.distributions import config_of_params, params_of_config
from effv2_tune.search.engines.preferences import peaks_of
from effv2_tune.search.engines.unit_cube import UnitCube
from effv2_tune.search.freeze_thaw import Begin, Continue, FreezeThaw, Problem
from effv2_tune.search.rung_decision import RungDecision, has_passed
from effv2_tune.search.storage.records import is_duplicate, is_in_budget, without_replicates

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray
    from optuna.trial import FrozenTrial

    from effv2_tune.search.engines.action_costs import Costs
    from effv2_tune.search.engines.base import Asked
    from effv2_tune.search.engines.earlier_studies import EarlierStudy
    from effv2_tune.search.freeze_thaw import Action, History, Settings
    from effv2_tune.search.storage.base import TrialStore
    from effv2_tune.study.plan import StudyPlan
    from effv2_tune.study.space import Config
    from effv2_tune.study.trial import RungResult, Trial

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]
    #: The costs of actions, given all trials of the study.
    KnownCosts = Callable[[Sequence[Trial]], Costs]


class _Decoded(NamedTuple):
    """Configs of points.

    Attributes:
        points: [m, d], of the cube.
        configs: k of their configs.
        members: [m], from 0 to k - 1: the config that a point takes as long as.
    """

    points: Floats
    configs: list[Config]
    members: Integers


_NO_TIME = "No further training can end within the hours of the study."
#: After all recorded moments: a rung that a trial waits at was reached last.
_NOW = datetime.max.replace(tzinfo=UTC)


class FreezeThawEngine:
    """Chooses between new configs and paused trials; an engine, and the policy at its rungs.

    Every decision follows from the records alone, so that a new process decides as one that was
    never interrupted. A trial at a rung is promoted at once if it is the best use of its worker,
    and paused otherwise; none is stopped.

    Args:
        storage: Of the study.
        plan: The study.
        costs: Of actions.
        epochs: Of the whole training of a trial.
        enqueue: Configs of the first trials.
        earlier: Studies whose learning curves say what to expect of configs.
        settings: Of the decision.

    Raises:
        TuneError: The space has nothing to search.
    """

    pauses = True

    def __init__(
        self,
        storage: TrialStore,
        plan: StudyPlan,
        *,
        costs: KnownCosts,
        epochs: Callable[[Trial], int],
        enqueue: Sequence[Config] = (),
        earlier: Sequence[EarlierStudy] = (),
        settings: Settings | None = None,
    ) -> None:
        self._storage = storage
        self._plan = plan
        self._space = plan.search_space
        self._cube = UnitCube(self._space)
        if not self._cube.dimensions:
            raise TuneError(
                "The engine 'freeze_thaw' needs a parameter to search, and all are fixed.",
                hint="Use 'engine: random', or search at least one parameter.",
            )
        self._known_costs = costs
        self._enqueued = list(enqueue)
        halving = plan.search.halving
        problem = Problem(
            dimensions=self._cube.dimensions,
            seconds=lambda points: self._each(points, self._costs.seconds),
            begin_seconds=lambda points: self._each(points, self._costs.begin_seconds),
            rungs=tuple(halving.rungs) if halving.enabled else (),
            snap=self._cube.snap,
            peaks=peaks_of(self._space, self._cube),
            earlier=tuple(filter(None, (one.ends(self._space, self._cube) for one in earlier))),
        )
        self._model = FreezeThaw(problem, plan.search.seed, settings)
        self._reader = CurveReader(
            self._space,
            cube=self._cube,
            epochs=epochs,
            objective=Objective(plan.directions[0]),
            quality=plan.quality,
        )
        self._costs = costs(())
        self._decoded: _Decoded | None = None
        self._seconds_left = math.inf
        self._last: tuple[tuple[History, float, bool], Action | None] | None = None

    def ask(self) -> Asked:
        """Begin a trial of the config that was found best; see :class:`Engine`."""
        return begin_trial(self._storage, self._propose)

    def resume(self, number: int) -> Config:
        """The config of a running trial, which has all its parameters from the beginning."""
        study_id = self._storage.optuna.get_study_id_from_name(self._storage.study_name)
        trial_id = self._storage.optuna.get_trial_id_from_study_id_trial_number(study_id, number)
        return config_of_params(self._space, self._storage.optuna.get_trial(trial_id).params)

    def decide(
        self, trial: Trial, result: RungResult, known: Sequence[Trial], *, seconds_left: float
    ) -> RungDecision:
        """Promote a trial that is the best use of its worker, and pause any other one."""
        if has_passed(trial, result) or trial.replicate_of is not None:
            return RungDecision("promote")
        changes = {
            "state": "paused",
            "rungs": (*trial.rungs, result),
            "rung_times": (*trial.rung_times, _NOW),
        }
        paused = trial.model_copy(update=changes)
        others = [one for one in known if one.number != trial.number]
        everything = sorted([*others, paused], key=lambda one: one.number)
        chosen = self._choose(everything, seconds_left=seconds_left, here=trial.number)
        return RungDecision("promote" if chosen == trial.number else "pause")

    def choose_paused(self, known: Sequence[Trial], *, seconds_left: float) -> int | None:
        """The paused trial that is a better use of a worker than any new config."""
        return self._choose(known, seconds_left=seconds_left)

    def _choose(
        self, known: Sequence[Trial], *, seconds_left: float, here: int | None = None
    ) -> int | None:
        """The same; a trial that is ``here``, in the worker, continues at no cost."""
        self._seconds_left = seconds_left
        sampled = sum(one.retry_of is None and one.replicate_of is None for one in known)
        if self._next_enqueued(sampled) is not None:
            return None
        action = self._action(known, here)
        return action.trial if isinstance(action, Continue) else None

    def _propose(self, trials: Sequence[FrozenTrial]) -> tuple[FrozenTrial, Config]:
        """The template of the next trial, and its config."""
        config = self._next_enqueued(position(trials, len(trials)))
        if config is None:
            action = self._action(self._storage.trials())
            if not isinstance(action, Begin):
                is_timed = not math.isinf(self._seconds_left)
                raise Exhausted(_NO_TIME if is_timed else "Every config has been tried.")
            config = self._cube.config(np.array(action.config))
        params, distributions = params_of_config(self._space, config)
        template = optuna.trial.create_trial(
            state=TrialState.RUNNING, params=params, distributions=distributions
        )
        return template, config

    def _next_enqueued(self, place: int) -> Config | None:
        return self._enqueued[place] if place < len(self._enqueued) else None

    def _action(self, known: Sequence[Trial], here: int | None = None) -> Action | None:
        """The best action, from the records alone."""
        self._costs = self._known_costs(known)
        history = self._reader.history(known, self._costs)
        left, limit = self._training_seconds_left(known), self._plan.trials
        may_begin = limit is None or sum(map(is_in_budget, known)) < limit
        # The policy and the engine are asked one after the other.
        question = (history, left, may_begin)
        if self._last is None or self._last[0] != question:
            asked = history if here is None else _without_cost(history, here)
            action = self._decide(asked, left, may_begin=may_begin)
            if here is not None and action == Continue(here):
                return action
            # Once it is paused, a trial that was not the best at no cost is not the best either.
            self._last = (question, action)
        return self._last[1]

    def _decide(self, history: History, left: float, *, may_begin: bool) -> Action | None:
        if not may_begin:
            return self._model.finish(history, seconds_left=left)
        return self._model.propose(history, number=_count(history), seconds_left=left)

    def _training_seconds_left(self, known: Sequence[Trial]) -> float:
        """The seconds left, in those of training: a trial also compiles, evaluates and waits."""
        if math.isinf(self._seconds_left) or not self._costs.is_absolute:
            return math.inf
        ratios = [
            trial.times.wall / trial.measurement.train_seconds
            for trial in without_replicates(known)
            if trial.measurement is not None
            and trial.measurement.train_seconds > 0
            and not is_duplicate(trial)
        ]
        return self._seconds_left / max(1.0, statistics.median(ratios) if ratios else 1.0)

    def _each(
        self, points: Floats, seconds: Callable[[Sequence[Config]], Sequence[float]]
    ) -> Floats:
        """The seconds of the configs of points of the cube [m, d]: [m]."""
        decoded = self._decoded
        # The same points are asked for several times, one after the other.
        if decoded is None or decoded.points is not points:
            decoded = self._decoded = self._decode(points)
        return np.array(seconds(decoded.configs))[decoded.members]

    def _decode(self, points: Floats) -> _Decoded:
        """The configs of points, one for all that take equally long."""
        if not self._costs.ignores_reals:
            return _Decoded(points, self._cube.configs(points), np.arange(len(points)))
        kinds = self._cube.kinds(points)
        _, places, members = np.unique(kinds, axis=0, return_index=True, return_inverse=True)
        return _Decoded(points, self._cube.configs(points[places]), members.reshape(-1))


def _without_cost(history: History, number: int) -> History:
    """The history, where one trial is continued at no cost beyond its training."""
    trials = {
        one: replace(trial, continue_seconds=0.0) if one == number else trial
        for one, trial in history.trials.items()
    }
    return replace(history, trials=trials)


def _count(history: History) -> int:
    """How many actions there were: of each trial its beginning, and each rung and end."""
    return len(history.trials) + len(history.observations)
