"""Optuna's samplers as engines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from effv2_tune.pareto.hypervolume import log_seconds
from effv2_tune.search.engines.base import Asked
from effv2_tune.search.engines.sampler_view import Mirror
from effv2_tune.search.engines.samplers import (
    FixedSampler,
    choice_labels,
    sampler_maker,
    trial_seed,
)
from effv2_tune.search.storage.database import TrialNumberTakenError
from effv2_tune.study.space import ChoiceParameter, FloatParameter, IntParameter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import optuna
    from optuna.samplers import BaseSampler
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

    from effv2_tune.search.engines.base import Engine
    from effv2_tune.study.space import Config, Dimension, Space
    from effv2_tune.study.trial import Trial


class _Stored(Protocol):
    """A storage that holds its study in Optuna's form."""

    study_name: str
    optuna: BaseStorage

    def trials(self) -> Sequence[Trial]: ...

    def begin(self, drawn: FrozenTrial, number: int) -> None: ...


class OptunaEngine:
    """Asks an Optuna sampler, which sees the told trials in a mirror of the study.

    The mirror is in memory. Its time axis is logarithmic, so that half the time is as much better
    everywhere on the front, and trials that halving stopped have the values that their last rung
    suggests; the storage keeps measured values and plain seconds alone. A config is drawn in the
    mirror, and then begun in the storage, in one transaction. The sampler is made anew for each
    trial, from (seed, trial number): what a trial is given depends on what was told before it, and
    on nothing that a restart would lose.

    Args:
        storage: Where the study is.
        space: What is searched.
        sampler: Its name: tpe, random, nsga2, qmc, grid or gp.
        seed: Of the sampler.
        enqueue: Configs that the first trials get.
        time_scale: What the sampler sees of a duration.

    Raises:
        TuneError: The sampler needs a package that is not installed.
    """

    def __init__(
        self,
        storage: _Stored,
        space: Space,
        *,
        sampler: str = "tpe",
        seed: int = 0,
        enqueue: Sequence[Config] = (),
        time_scale: Callable[[float], float] = log_seconds,
    ) -> None:
        self._stored = storage
        self._storage = storage.optuna
        self._study_id = self._storage.get_study_id_from_name(storage.study_name)
        self._time_scale = time_scale
        self._mirror = self._new_mirror()
        # NSGA-II keeps its parents in the study, in another order than it would find them again.
        self._forgets = sampler == "nsga2"
        self._space = space
        self._dimensions = space.dimensions()
        self._labels = {d.name: choice_labels(d) for d in self._dimensions}
        self._seed = seed
        self._enqueued = [self._labelled(space.encode(config)) for config in enqueue]
        self._make = sampler_maker(sampler, space, seed)

    def ask(self) -> Asked:
        """Begin a new trial; see :class:`effv2_tune.search.engines.base.Engine`."""
        while True:
            if self._forgets:
                self._mirror = self._new_mirror()
            trials = self._storage.get_all_trials(self._study_id, deepcopy=False)
            self._mirror.reflect(trials, self._stored.trials())
            drawn, config = self._draw_config(len(trials))
            try:
                self._stored.begin(drawn, len(trials))
            except TrialNumberTakenError:
                # Drawn from the same seed, two supervisors' configs would be the same.
                continue
            return Asked(len(trials), config)

    def resume(self, number: int) -> Config:
        """The config of a trial that was begun; what it lacks is drawn now."""
        trial_id = self._storage.get_trial_id_from_study_id_trial_number(self._study_id, number)
        begun = self._storage.get_trial(trial_id)
        if not begun.params:
            trials = self._storage.get_all_trials(self._study_id, deepcopy=False)
            others = [trial for trial in trials if trial.number != number]
            self._mirror.reflect(others, self._stored.trials())
            begun, _ = self._draw_config(number)
            for name, distribution in begun.distributions.items():
                value = distribution.to_internal_repr(begun.params[name])
                self._storage.set_trial_param(trial_id, name, value, distribution)
        return self._space.decode(self._unlabelled(begun.params))

    def tell(self, trial: Trial) -> None:
        """Nothing to do: the mirror reflects the storage."""

    def _new_mirror(self) -> Mirror:
        return Mirror(self._storage.get_study_directions(self._study_id), self._time_scale)

    def _draw_config(self, number: int) -> tuple[FrozenTrial, Config]:
        """Draw what trial ``number`` will be, in the mirror."""
        trial = self._mirror.begin(self._sampler(number))
        drawn: dict[str, Any] = {}
        for dimension in self._dimensions:
            if dimension.is_active(self._space.decode(drawn)):
                drawn[dimension.name] = self._draw(trial, dimension)
        return self._mirror.withdraw(trial), self._space.decode(drawn)

    def _sampler(self, number: int) -> BaseSampler:
        if number < len(self._enqueued):
            return FixedSampler(self._enqueued[number])
        return self._make(number, trial_seed(self._seed, number))

    def _draw(self, trial: optuna.Trial, dimension: Dimension) -> Any:
        parameter, name = dimension.parameter, dimension.name
        if isinstance(parameter, FloatParameter):
            log = parameter.scale == "log"
            return trial.suggest_float(name, parameter.low, parameter.high, log=log)
        if isinstance(parameter, IntParameter):
            log = parameter.scale == "log"
            step = parameter.step
            return trial.suggest_int(name, parameter.low, parameter.high, step=step, log=log)
        labels = self._labels[name]
        label = trial.suggest_categorical(name, labels)
        return parameter.values[_position(labels, label)]

    def _labelled(self, drawn: Mapping[str, Any]) -> dict[str, Any]:
        """Values as Optuna knows them."""
        return {
            d.name: _label(drawn[d.name], d, self._labels[d.name])
            for d in self._dimensions
            if d.name in drawn
        }

    def _unlabelled(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The inverse of :meth:`_labelled`."""
        drawn = dict(params)
        for dimension in self._dimensions:
            name = dimension.name
            if name in drawn and isinstance(dimension.parameter, ChoiceParameter):
                label = _position(self._labels[name], drawn[name])
                drawn[name] = dimension.parameter.values[label]
        return drawn


def _label(value: Any, dimension: Dimension, labels: list[Any]) -> Any:
    if not isinstance(dimension.parameter, ChoiceParameter):
        return value
    known = dimension.parameter.values
    same = [p for p, one in enumerate(known) if one == value and type(one) is type(value)]
    return labels[same[0] if same else known.index(value)]


def _position(labels: list[Any], label: Any) -> int:
    return next(p for p, one in enumerate(labels) if one == label and type(one) is type(label))


if TYPE_CHECKING:

    def _is_an_engine(engine: OptunaEngine) -> Engine:
        return engine
