"""Stores the trials of an oracle in an Optuna study."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import keras_tuner
import optuna
from optuna.samplers import BaseSampler
from optuna.trial import TrialState

from effv2_tune.errors import TuneError
from effv2_tune.interop.axes import axis_name, axis_of
from effv2_tune.search.engines.samplers import trial_seed
from effv2_tune.search.storage.optuna_study import CONSTRAINT, VIOLATED, silence_optuna

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

    from effv2_tune.study.plan import Direction

    MakeSampler = Callable[[int], BaseSampler]

#: Names of user attributes of a trial, and of the study.
_KEY, _RECORD, _ORIGINAL = "keras_tuner:number", "keras_tuner:trial", "keras_tuner:duplicate_of"
_SPACE = "keras_tuner:space"


@dataclass(frozen=True)
class KeptTrial:
    """A trial of the oracle in the study.

    Attributes:
        key: Its number in Keras Tuner.
        number: Its number in Optuna.
        state: Its state in Optuna.
        record: Keras Tuner's record; None where the program ended while it was sampled.
    """

    key: int
    number: int
    state: TrialState
    record: dict[str, Any] | None


class OracleStudy:
    """The Optuna study behind an oracle.

    Args:
        storage: Optuna storage, or its URL.
        name: Of the study, which is created if it does not exist.
        directions: ``minimize`` or ``maximize`` for each objective.
        make_sampler: The sampler of a trial, for its Optuna number.

    Attributes:
        study: The Optuna study.

    Raises:
        TuneError: There is a study of that name with other directions.
    """

    def __init__(
        self,
        storage: str | BaseStorage,
        name: str,
        directions: Sequence[Direction],
        make_sampler: MakeSampler,
    ) -> None:
        self._storage = optuna.storages.get_storage(storage)
        self._make_sampler = make_sampler
        with silence_optuna():
            self.study = optuna.create_study(
                storage=self._storage, study_name=name, directions=directions, load_if_exists=True
            )
        found = [direction.name.lower() for direction in self.study.directions]
        if found != list(directions):
            raise TuneError(
                f"The Optuna study {name!r} has the directions {', '.join(found)}, and the "
                f"oracle's objectives have {', '.join(directions)}.",
                hint="Give the oracle another study_name, or the tuner another project_name.",
            )
        self._study_id = self._storage.get_study_id_from_name(name)
        #: Trials interrupted while they were sampled: Optuna's number by Keras Tuner's.
        self._interrupted: dict[int, int] = {}

    def trials(self) -> list[KeptTrial]:
        """Return the oracle's trials by key, without those that others added to the study."""
        kept = []
        for trial in self._all():
            attributes = trial.user_attrs
            if (
                _KEY not in attributes
                or _ORIGINAL in attributes
                or trial.state == TrialState.WAITING
            ):
                continue
            text = attributes.get(_RECORD)
            record = None if text is None else json.loads(text)
            kept.append(KeptTrial(attributes[_KEY], trial.number, trial.state, record))
            if record is None:
                self._interrupted[attributes[_KEY]] = trial.number
        return sorted(kept, key=lambda trial: trial.key)

    def begin(self, key: int) -> int:
        """Begin a trial, or resume one that was interrupted; returns Optuna's number.

        It has its key from the first moment, so that nothing is begun twice.
        """
        if key in self._interrupted:
            return self._interrupted.pop(key)
        for trial in self._all():
            if trial.state != TrialState.WAITING:
                continue
            trial_id = self._trial_id(trial.number)
            self._storage.set_trial_user_attr(trial_id, _KEY, key)
            if self._storage.set_trial_state_values(trial_id, TrialState.RUNNING):
                return trial.number
        begun = optuna.trial.create_trial(state=TrialState.RUNNING, user_attrs={_KEY: key})
        trial_id = self._storage.create_new_trial(self._study_id, begun)
        return self._storage.get_trial(trial_id).number

    def draw(self, number: int, space: Sequence[Any]) -> dict[str, Any]:
        """Sample the active hyperparameters of ``space``, parents before children."""
        # A new study object: Optuna caches the trials of a study until the next tell.
        study = optuna.load_study(
            study_name=self.study.study_name,
            storage=self._storage,
            sampler=self._make_sampler(number),
        )
        trial = optuna.trial.Trial(study, self._trial_id(number))
        values = keras_tuner.HyperParameters()
        for hyperparameter in space:
            values.merge([hyperparameter])
            if not values.is_active(hyperparameter):
                continue
            axis = axis_of(hyperparameter)
            if axis is None:
                values.values[hyperparameter.name] = hyperparameter.value
            else:
                # What suggest_float and its siblings call.
                drawn = trial._suggest(axis.name, axis.distribution)  # noqa: SLF001
                values.values[hyperparameter.name] = axis.value_of(drawn)
        return dict(values.values)

    def keep_late_values(self, number: int, hyperparameters: keras_tuner.HyperParameters) -> None:
        """Record hyperparameters that a trial added while it ran."""
        trial = self._frozen(number)
        if trial.state.is_finished():
            return
        for hyperparameter in hyperparameters.space:
            known = axis_name(hyperparameter) in trial.params
            if known or not hyperparameters.is_active(hyperparameter):
                continue
            axis = axis_of(hyperparameter)
            if axis is not None and hyperparameter.name in hyperparameters.values:
                drawn = axis.drawn_for(hyperparameters.values[hyperparameter.name])
                internal = axis.distribution.to_internal_repr(drawn)
                self._storage.set_trial_param(
                    self._trial_id(number), axis.name, internal, axis.distribution
                )

    def remember(self, number: int, record: Mapping[str, Any]) -> None:
        """Save Keras Tuner's record of an unfinished trial."""
        if not self._frozen(number).state.is_finished():
            self._storage.set_trial_user_attr(self._trial_id(number), _RECORD, json.dumps(record))

    def tell(
        self, number: int, state: TrialState, values: Sequence[float] | None, *, fits: bool
    ) -> None:
        """Finish a trial; nothing changes if it is finished already.

        Args:
            number: In Optuna.
            state: COMPLETE, PRUNED or FAIL.
            values: Of the objectives, for a complete one.
            fits: Whether it was feasible.
        """
        trial = self._frozen(number)
        if trial.state.is_finished():
            return
        if not fits:
            # As Trial.set_constraint does, without sampling again.
            self._storage.set_trial_system_attr(self._trial_id(number), CONSTRAINT, VIOLATED)
        with silence_optuna():
            self.study.tell(number, values, state=state)

    def finish_duplicate(self, number: int, key: int, original: int) -> None:
        """Finish a duplicate with the result of the original trial.

        Args:
            number: The duplicate's number in Optuna.
            key: The original's number in Keras Tuner.
            original: Its number in Optuna.
        """
        old = self._frozen(original)
        self._storage.set_trial_user_attr(self._trial_id(number), _ORIGINAL, key)
        state = old.state if old.state.is_finished() else TrialState.FAIL
        self.tell(number, state, old.values, fits=not old.constraints)

    @property
    def space(self) -> keras_tuner.HyperParameters | None:
        """The search space that was saved last."""
        text = self.study.user_attrs.get(_SPACE)
        return None if text is None else keras_tuner.HyperParameters.from_config(json.loads(text))

    def keep_space(self, space: keras_tuner.HyperParameters) -> None:
        """Save the search space, which grows as hypermodels are built."""
        config = space.get_config()
        config["values"] = {}
        text = json.dumps(config)
        if self.study.user_attrs.get(_SPACE) != text:
            self.study.set_user_attr(_SPACE, text)

    def _all(self) -> Sequence[FrozenTrial]:
        return self._storage.get_all_trials(self._study_id, deepcopy=False)

    def _frozen(self, number: int) -> FrozenTrial:
        return self._storage.get_trial(self._trial_id(number))

    def _trial_id(self, number: int) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._study_id, number)


def sampler_maker(sampler: BaseSampler | MakeSampler | None, seed: int) -> MakeSampler:
    """Return a function from trial number to sampler: by default TPE, from (seed, number)."""
    if sampler is None:
        return lambda number: optuna.samplers.TPESampler(seed=trial_seed(seed, number))
    if isinstance(sampler, BaseSampler):
        return lambda _: sampler
    return sampler
