"""Samples configs with Optuna's samplers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from effv2_tune.errors import TuneError
from effv2_tune.pareto.hypervolume import log_seconds
from effv2_tune.search.engines.base import begin_trial, position
from effv2_tune.search.engines.distributions import (
    config_of_params,
    params_of_config,
    suggest_config,
)
from effv2_tune.search.engines.preferences import preferred_config
from effv2_tune.search.engines.sampler_view import SamplerView
from effv2_tune.search.engines.samplers import FixedSampler, sampler_maker
from effv2_tune.study.plan import KNOW_PRIORS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

    from effv2_tune.search.engines.base import Asked
    from effv2_tune.search.storage.base import TrialStore
    from effv2_tune.study.space import Config, Space

#: Trials that TPE samples at random before its model starts (Optuna's default).
_RANDOM_TRIALS = 10


class OptunaEngine:
    """Samples configs with an Optuna sampler, which reads the study through a :class:`SamplerView`.

    The storage has measured values and plain seconds only. In the view, seconds are logarithmic, so
    that halving the time is the same improvement everywhere on the Pareto front, and pruned trials
    have the values expected from their last rung. A config is sampled in the view, then begun in
    the storage in one transaction. Each trial has a new sampler, seeded by (seed, trial number):
    its config depends on the trials that ended before, but on nothing that a restart would lose.

    Args:
        storage: Of the study.
        space: The search space.
        sampler: Its name: tpe, random, nsga2, qmc, grid or gp.
        seed: Of the sampler.
        enqueue: Configs of the first trials.
        time_scale: Applied to seconds in the view of the sampler.

    Where the space has priors, every second one of the first ten sampled configs of ``tpe`` is near
    their values: TPE's model starts after so many, and prefers what did well.

    Raises:
        TuneError: The sampler needs a package that is not installed, or knows no priors.
    """

    def __init__(
        self,
        storage: TrialStore,
        space: Space,
        *,
        sampler: str = "tpe",
        seed: int = 0,
        enqueue: Sequence[Config] = (),
        time_scale: Callable[[float], float] = log_seconds,
    ) -> None:
        self._storage = storage
        self._optuna = storage.optuna
        self._study_id = self._optuna.get_study_id_from_name(storage.study_name)
        self._time_scale = time_scale
        self._view = self._new_view()
        # NSGA-II caches its parents in the study, in an order that a restart would not restore.
        self._needs_new_view = sampler == "nsga2"
        self._space = space
        self._enqueued = [params_of_config(space, config)[0] for config in enqueue]
        self._make_sampler = sampler_maker(sampler, space, seed)
        self._seed = seed
        if space.priors and sampler not in KNOW_PRIORS:
            raise TuneError(
                f"The engine {sampler!r} knows no priors, and {', '.join(space.priors)} have one.",
                hint=f"Use one of: {', '.join(KNOW_PRIORS)}.",
            )

    def ask(self) -> Asked:
        """Begin a new trial; see :class:`effv2_tune.search.engines.base.Engine`."""
        return begin_trial(self._storage, self._propose)

    def resume(self, number: int) -> Config:
        """The config of a running trial; sampled now where its ask was interrupted."""
        trial_id = self._optuna.get_trial_id_from_study_id_trial_number(self._study_id, number)
        begun = self._optuna.get_trial(trial_id)
        if not begun.params:
            trials = self._optuna.get_all_trials(self._study_id, deepcopy=False)
            others = [trial for trial in trials if trial.number != number]
            self._view.update(others, self._storage.trials())
            begun, _ = self._sample(position(trials, number))
            for name, distribution in begun.distributions.items():
                value = distribution.to_internal_repr(begun.params[name])
                self._optuna.set_trial_param(trial_id, name, value, distribution)
        return config_of_params(self._space, begun.params)

    def _propose(self, trials: Sequence[FrozenTrial]) -> tuple[FrozenTrial, Config]:
        if self._needs_new_view:
            self._view = self._new_view()
        self._view.update(trials, self._storage.trials())
        return self._sample(position(trials, len(trials)))

    def _new_view(self) -> SamplerView:
        return SamplerView(self._optuna.get_study_directions(self._study_id), self._time_scale)

    def _sample(self, place: int) -> tuple[FrozenTrial, Config]:
        """Sample a trial, by its place in the order, in the sampler's view of the study."""
        trial = self._view.begin(self._sampler(place))
        config = suggest_config(trial, self._space)
        return self._view.withdraw(trial), config

    def _sampler(self, place: int) -> BaseSampler:
        if place < len(self._enqueued):
            return FixedSampler(self._enqueued[place])
        sampled = place - len(self._enqueued)
        if self._space.priors and sampled < _RANDOM_TRIALS and sampled % 2 == 0:
            config = preferred_config(self._space, self._seed, place)
            return FixedSampler(params_of_config(self._space, config)[0])
        return self._make_sampler(place)
