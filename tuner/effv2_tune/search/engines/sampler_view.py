"""Copies a study for its samplers, with scaled seconds and expected values of pruned trials."""

from __future__ import annotations

from typing import TYPE_CHECKING

import optuna
from optuna.trial import TrialState

from effv2_tune.pareto import expected_outcome
from effv2_tune.search.storage.optuna_study import silence_optuna
from effv2_tune.search.storage.records import REPLICATE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from optuna.samplers import BaseSampler
    from optuna.study import StudyDirection
    from optuna.trial import FrozenTrial

    from effv2_tune.study.trial import Measurement, Trial

_NAME = "sampler view"


class SamplerView:
    """A copy of a stored study in memory, with transformed values.

    Args:
        directions: Of the stored study.
        time_scale: Applied to seconds.
    """

    def __init__(
        self, directions: Sequence[StudyDirection], time_scale: Callable[[float], float]
    ) -> None:
        self._directions = directions
        self._time_scale = time_scale
        self._clear()

    def _clear(self) -> None:
        self._storage = optuna.storages.InMemoryStorage()
        with silence_optuna():
            self._study_id = self._storage.create_new_study(self._directions, _NAME)
        self._ids: dict[int, int] = {}
        self._running: set[int] = set()
        self._seconds: dict[int, float | None] = {}

    def update(self, trials: Sequence[FrozenTrial], records: Sequence[Trial]) -> None:
        """Copy the trials that have begun or ended since the last update.

        Failed ones and replicates are left out.

        Where a step time was restated, all of them are copied anew: ended trials never change.

        Args:
            trials: All trials of the study, in Optuna's form.
            records: Our records of them.
        """
        expected = ExpectedOutcomes(records)
        if any(expected.seconds(number) != seconds for number, seconds in self._seconds.items()):
            self._clear()
        for trial in trials:
            number = trial.number
            if number not in self._ids:
                is_seen = trial.state != TrialState.FAIL and REPLICATE not in trial.user_attrs
                if not is_seen or not trial.params:
                    continue
                self._ids[number] = self._storage.create_new_trial(self._study_id, _begun(trial))
                self._running.add(number)
            if number in self._running and trial.state.is_finished():
                self._running.remove(number)
                self._seconds[number] = expected.seconds(number)
                self._end(self._ids[number], trial, expected.of(number))

    def begin(self, sampler: BaseSampler) -> optuna.Trial:
        """Begin a trial whose parameters ``sampler`` samples."""
        # A new study object, as Optuna caches trials in one until the next tell.
        study = optuna.load_study(
            study_name=_NAME,
            storage=self._storage,
            sampler=sampler,
            pruner=optuna.pruners.NopPruner(),
        )
        return optuna.trial.Trial(study, self._storage.create_new_trial(self._study_id))

    def withdraw(self, trial: optuna.Trial) -> FrozenTrial:
        """Remove a trial and return it, to be begun in the stored study."""
        trial_id = self._storage.get_trial_id_from_study_id_trial_number(
            self._study_id, trial.number
        )
        sampled = self._storage.get_trial(trial_id)
        self._storage.set_trial_state_values(trial_id, TrialState.FAIL)
        return _begun(sampled)

    def _end(self, trial_id: int, trial: FrozenTrial, expected: Measurement | None) -> None:
        for key, value in trial.system_attrs.items():
            self._storage.set_trial_system_attr(trial_id, key, value)
        if trial.state == TrialState.COMPLETE:
            # Optuna's own values have the step time that counted when the trial ended.
            now = self._seconds[trial.number]
            quality, seconds = trial.values[0], trial.values[1] if now is None else now
        elif expected is not None:
            quality, seconds = expected.quality, expected.train_seconds
        else:
            self._storage.set_trial_state_values(trial_id, trial.state)
            return
        values = (quality, self._time_scale(seconds))
        self._storage.set_trial_state_values(trial_id, TrialState.COMPLETE, values)


class ExpectedOutcomes:
    """The outcomes that pruned trials are expected to have had after their full training.

    Args:
        records: All trials of the study.
    """

    def __init__(self, records: Sequence[Trial]) -> None:
        self._records = {record.number: record for record in records}

    def seconds(self, number: int) -> float | None:
        """The training seconds of a complete trial, or those projected for a pruned one."""
        record = self._records.get(number)
        if record is None:
            return None
        if record.measurement is not None:
            return record.measurement.train_seconds
        return record.rungs[-1].projected_seconds if record.rungs else None

    def of(self, number: int) -> Measurement | None:
        """The expected outcome of a pruned trial; None for any other.

        It depends on the trials that were complete when this one was pruned, so it never changes
        unless a step time is restated.
        """
        record = self._records.get(number)
        if record is None or record.state != "pruned" or not record.rungs:
            return None
        last = record.rungs[-1]
        full = [
            (result, other.measurement)
            for other in self._records.values()
            if other.measurement is not None and _ended_before(other, record)
            for result in other.rungs
            if result.rung == last.rung
        ]
        return expected_outcome(last, full)


def _begun(trial: FrozenTrial) -> FrozenTrial:
    """A running trial with the parameters of ``trial``."""
    return optuna.trial.create_trial(
        state=TrialState.RUNNING,
        params=trial.params,
        distributions=trial.distributions,
        system_attrs=trial.system_attrs,
    )


def _ended_before(trial: Trial, other: Trial) -> bool:
    if trial.ended is None or other.ended is None:
        return False
    return (trial.ended, trial.number) < (other.ended, other.number)
