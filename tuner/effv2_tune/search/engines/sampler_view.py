"""A study as a sampler sees it: in memory, on other scales, with what stopped trials suggest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import optuna
from optuna.trial import TrialState

from effv2_tune.pareto import expected_outcome
from effv2_tune.search.storage.database import silence_optuna

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from optuna.samplers import BaseSampler
    from optuna.study import StudyDirection
    from optuna.trial import FrozenTrial

    from effv2_tune.study.trial import Measurement, Trial

_MIRROR = "mirror"


class Mirror:
    """A study in memory that reflects a stored one, with its seconds on another scale.

    Args:
        directions: Of the stored study.
        time_scale: What stands for a duration.
    """

    def __init__(
        self, directions: Sequence[StudyDirection], time_scale: Callable[[float], float]
    ) -> None:
        self._time_scale = time_scale
        self._storage = optuna.storages.InMemoryStorage()
        with silence_optuna():
            self._study_id = self._storage.create_new_study(directions, _MIRROR)
        self._ids: dict[int, int] = {}
        self._running: set[int] = set()

    def reflect(self, trials: Sequence[FrozenTrial], records: Sequence[Trial]) -> None:
        """Take over what has been begun and told since the last time, save what failed.

        Args:
            trials: All trials of the study, as Optuna has them.
            records: Our records of them.
        """
        outlooks = ExpectedOutcomes(records)
        for trial in trials:
            number = trial.number
            if number not in self._ids:
                if trial.state == TrialState.FAIL or not trial.params:
                    continue
                self._ids[number] = self._storage.create_new_trial(
                    self._study_id,
                    optuna.trial.create_trial(
                        state=TrialState.RUNNING,
                        params=trial.params,
                        distributions=trial.distributions,
                        system_attrs=trial.system_attrs,
                    ),
                )
                self._running.add(number)
            if number in self._running and trial.state.is_finished():
                self._running.remove(number)
                self._tell(self._ids[number], trial, outlooks.of(number))

    def begin(self, sampler: BaseSampler) -> optuna.Trial:
        """A trial whose values ``sampler`` draws."""
        # A study object of its own: Optuna keeps what it has read in one until the next tell.
        study = optuna.load_study(
            study_name=_MIRROR,
            storage=self._storage,
            sampler=sampler,
            pruner=optuna.pruners.NopPruner(),
        )
        return optuna.trial.Trial(study, self._storage.create_new_trial(self._study_id))

    def withdraw(self, trial: optuna.Trial) -> FrozenTrial:
        """What was drawn, to be begun elsewhere, from where it will be reflected."""
        trial_id = self._storage.get_trial_id_from_study_id_trial_number(
            self._study_id, trial.number
        )
        drawn = self._storage.get_trial(trial_id)
        self._storage.set_trial_state_values(trial_id, TrialState.FAIL)
        return optuna.trial.create_trial(
            state=TrialState.RUNNING,
            params=drawn.params,
            distributions=drawn.distributions,
            system_attrs=drawn.system_attrs,
        )

    def _tell(self, trial_id: int, trial: FrozenTrial, outlook: Measurement | None) -> None:
        for key, value in trial.system_attrs.items():
            self._storage.set_trial_system_attr(trial_id, key, value)
        if trial.state == TrialState.COMPLETE:
            quality, seconds = trial.values
        elif outlook is not None:
            quality, seconds = outlook.quality, outlook.train_seconds
        else:
            self._storage.set_trial_state_values(trial_id, trial.state)
            return
        values = (quality, self._time_scale(seconds))
        self._storage.set_trial_state_values(trial_id, TrialState.COMPLETE, values)


class ExpectedOutcomes:
    """What the trials that halving stopped would have come to.

    Args:
        records: All trials of the study.
    """

    def __init__(self, records: Sequence[Trial]) -> None:
        self._records = {record.number: record for record in records}

    def of(self, number: int) -> Measurement | None:
        """The expected outcome of a stopped trial; None for any other.

        It rests on the trials that were complete when this one was stopped, so that it is the same
        whenever it is asked for.
        """
        record = self._records.get(number)
        if record is None or record.state != "pruned" or not record.rungs:
            return None
        last = record.rungs[-1]
        full = [
            (result, other.measurement)
            for other in self._records.values()
            if other.measurement is not None and _was_told_before(other, record)
            for result in other.rungs
            if result.rung == last.rung
        ]
        return expected_outcome(last, full)


def _was_told_before(one: Trial, other: Trial) -> bool:
    if one.ended is None or other.ended is None:
        return False
    return (one.ended, one.number) < (other.ended, other.number)
