"""Adapts an Optuna study as the oracle of Keras Tuner."""

from __future__ import annotations

import contextlib
import math
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras_tuner
from keras_tuner.engine.trial import Trial, TrialStatus

# The state of its decorator `synchronized`, and the metrics of a trial: not public in 1.4.8.
from keras_tuner.src.engine.metrics_tracking import MetricsTracker
from keras_tuner.src.engine.oracle import LOCKS, THREADS
from optuna.trial import TrialState

from effv2_tune.files.atomic import write_json
from effv2_tune.interop.oracle_study import OracleStudy, sampler_maker
from effv2_tune.pareto import nondominated_ranks
from effv2_tune.search.storage.urls import sqlite_url

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import optuna
    from optuna.samplers import BaseSampler
    from optuna.storages import BaseStorage

    from effv2_tune.interop.oracle_study import KeptTrial, MakeSampler
    from effv2_tune.study.plan import Direction

DATABASE = "optuna.db"
_DIRECTIONS: Mapping[str, Direction] = {"min": "minimize", "max": "maximize"}


class OptunaOracle(keras_tuner.Oracle):  # type: ignore[misc]  # Keras Tuner ships no types
    """Any Optuna sampler for any tuner of Keras Tuner; several objectives stay several.

    The Optuna study is the source of truth: each trial is in it, with Keras Tuner's record of it,
    before it starts. So after a kill at any moment nothing is lost or repeated: a running trial
    starts again under its number, and finished ones keep their results, even if Keras Tuner's own
    files are corrupt. Optuna and its dashboard can read the database during the search.

    The states of trials in Optuna: COMPLETE with the objectives' values; PRUNED where Keras Tuner
    has FAILED (`FailedTrialError`, which also violates the constraint ``fits``) or an objective is
    not finite; FAIL after a crash, and only these count as consecutive failures. With several
    objectives a trial's score is its non-dominated rank, 0 for the Pareto set, and lower is better.
    A duplicate config gets the result of the first one and is not run again. Trials that are
    enqueued in :attr:`study` go first.

    Args:
        objective: Name, `keras_tuner.Objective`, or a list of them.
        max_trials: Number of trials over all runs of the tuner; None for no limit.
        sampler: An Optuna sampler, or a function that returns one for a trial's number. By default
            TPE, created from (seed, number) for each trial, so that a resumed search repeats
            nothing; a sampler that is passed restarts its random stream with the program.
        storage: Optuna storage or its URL; ``optuna.db`` in the project's folder by default.
        study_name: In that storage; the project's name by default.
        hyperparameters: The search space, as far as it is known beforehand.
        seed: Of the default sampler.
        max_retries_per_trial: Retries of a trial that crashed.
        max_consecutive_failed_trials: Number of crashes in a row that ends the search.
        allow_new_entries: Whether a hypermodel may add hyperparameters.
        tune_new_entries: Whether these are searched.

    Source: requested in https://github.com/keras-team/keras-tuner/issues/555.
    """

    def __init__(
        self,
        objective: Any = None,
        max_trials: int | None = None,
        *,
        sampler: BaseSampler | MakeSampler | None = None,
        storage: str | BaseStorage | None = None,
        study_name: str | None = None,
        hyperparameters: keras_tuner.HyperParameters | None = None,
        seed: int | None = None,
        max_retries_per_trial: int = 0,
        max_consecutive_failed_trials: int = 3,
        allow_new_entries: bool = True,
        tune_new_entries: bool = True,
    ) -> None:
        super().__init__(
            objective=objective,
            max_trials=max_trials,
            hyperparameters=hyperparameters,
            allow_new_entries=allow_new_entries,
            tune_new_entries=tune_new_entries,
            seed=seed,
            max_retries_per_trial=max_retries_per_trial,
            max_consecutive_failed_trials=max_consecutive_failed_trials,
        )
        self._make_sampler = sampler_maker(sampler, self.seed if seed is None else seed)
        self._given_storage = storage
        self._study_name = study_name
        self._kept: OracleStudy | None = None
        self._lock = threading.RLock()
        #: Optuna's number of each trial, and its state of each finished one.
        self._numbers: dict[str, int] = {}
        self._states: dict[str, TrialState] = {}

    # Public facts.

    @property
    def objectives(self) -> list[keras_tuner.Objective]:
        """The objectives, one or several."""
        return list(getattr(self.objective, "objectives", [self.objective]))

    @property
    def study(self) -> optuna.Study:
        """The Optuna study; the oracle of a tuner opens it at first use, in the tuner's project.

        Raises:
            TuneError: The storage holds a study of that name with other objectives.
        """
        return self._opened().study

    def remaining_trials(self) -> int | None:
        """Number of trials that have not started; None without a limit."""
        self._opened()
        return None if self.max_trials is None else self.max_trials - len(self.trials)

    def get_best_trials(self, num_trials: int | None = None) -> list[Trial]:
        """Return complete trials, the best first.

        Args:
            num_trials: At most so many, by rank. By default the Pareto set: with several objectives
                the non-dominated trials in the order of the first objective, with one objective
                the best trial.
        """
        self._opened()
        done = [trial for trial in self.trials.values() if trial.status == TrialStatus.COMPLETED]
        losses = [self._losses(trial) for trial in done]
        ranks = nondominated_ranks(losses)
        order = sorted(range(len(done)), key=lambda index: (ranks[index], losses[index]))
        if num_trials is None:
            num_trials = ranks.count(0)
        return [done[index] for index in order[:num_trials]]

    # Keras Tuner's calls.

    def create_trial(self, tuner_id: str) -> Trial:
        """Return the next trial for a tuner; interrupted ones come before new ones."""
        with self._exclusive():
            return super().create_trial(tuner_id)

    def update_trial(self, trial_id: str, metrics: Mapping[str, float], step: int = 0) -> Trial:
        """Record the metrics of a trial."""
        with self._exclusive():
            known = self.trials[trial_id].metrics
            for objective in self.objectives:
                # Keras Tuner assumes "min" where it cannot infer the direction from a name.
                if not known.exists(objective.name):
                    known.register(objective.name, direction=objective.direction)
            return super().update_trial(trial_id, metrics, step=step)

    def end_trial(self, trial: Trial) -> None:
        """Finish a trial in the study, unless it is retried."""
        with self._exclusive():
            known = self.trials[trial.trial_id]
            known.hyperparameters, known.message = trial.hyperparameters, trial.message
            known.status = trial.status
            crashed = known.status == TrialStatus.INVALID
            retried = crashed and self._run_times[known.trial_id] < self.max_retries_per_trial
            if not retried:
                self._tell(known)
            super().end_trial(known)
            if retried:
                # Keras Tuner ignores the results of a trial that has reported before.
                known.metrics = MetricsTracker()
                known.status = TrialStatus.RUNNING
                self._save_trial(known)

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Sample the values of a new trial; STOPPED if only duplicates are sampled."""
        kept = self._opened()
        kept.keep_space(self.hyperparameters)
        for _ in range(self._max_collisions + 1):
            number = kept.begin(int(trial_id))
            values = kept.draw(number, self.hyperparameters.space)
            original = self._trial_with(values)
            if original is None:
                self._numbers[trial_id] = number
                return {"status": TrialStatus.RUNNING, "values": values}
            kept.finish_duplicate(number, int(original), self._numbers[original])
        return {"status": TrialStatus.STOPPED, "values": None}

    def score_trial(self, trial: Trial) -> None:
        """Score a trial: the objective's value, or with several its non-dominated rank.

        The ranks of all complete trials are updated.
        """
        if len(self.objectives) == 1:
            trial.score = self._values(trial)[0]
            trial.best_step = trial.metrics.get_best_step(self.objective.name)
            return
        done = [other for other in self.trials.values() if other.status == TrialStatus.COMPLETED]
        ranks = nondominated_ranks([self._losses(other) for other in done])
        for other, rank in zip(done, ranks, strict=True):
            other.score = rank

    # Persistence.

    def save(self) -> None:
        """Write Keras Tuner's file of the oracle, atomically."""
        write_json(Path(self._get_oracle_fname()), self.get_state())

    def reload(self) -> None:
        """Resume from the study; Keras Tuner's own files are not needed."""
        self._opened()

    def _save_trial(self, trial: Trial) -> None:
        state = trial.get_state()
        record = {"trial": state, "run_times": self._run_times[trial.trial_id]}
        self._opened().remember(self._numbers[trial.trial_id], record)
        write_json(Path(self._get_trial_dir(trial.trial_id)) / "trial.json", state)

    def _opened(self) -> OracleStudy:
        with self._lock:
            if self._kept is None:
                in_project = sqlite_url(Path(self._project_dir) / DATABASE)
                kept = OracleStudy(
                    in_project if self._given_storage is None else self._given_storage,
                    self._study_name or self._project_name,
                    [_DIRECTIONS[objective.direction] for objective in self.objectives],
                    self._make_sampler,
                )
                self._kept = kept
                self._restore(kept.trials())
                if kept.space is not None:
                    self.hyperparameters.merge(kept.space, overwrite=False)
            return self._kept

    def _restore(self, trials: Sequence[KeptTrial]) -> None:
        """Restore the oracle's state from the trials of the study."""
        for kept in trials:
            if kept.record is None:
                continue  # interrupted while it was sampled: populate_space resumes it
            trial = Trial.from_state(kept.record["trial"])
            self.trials[trial.trial_id] = trial
            self.start_order.append(trial.trial_id)
            self._numbers[trial.trial_id] = kept.number
            self._run_times[trial.trial_id] = kept.record["run_times"]
            self._record_values(trial)
            if kept.state == TrialState.RUNNING and trial.status in _ENDED:
                kept_state = self._tell(trial)  # interrupted just before `tell`
            else:
                kept_state = kept.state
            if kept_state == TrialState.RUNNING:
                trial.status = TrialStatus.RUNNING
                trial.metrics = MetricsTracker()
                self._retry_queue.append(trial.trial_id)
                continue
            complete = kept_state == TrialState.COMPLETE
            trial.status = TrialStatus.COMPLETED if complete else TrialStatus.FAILED
            self._states[trial.trial_id] = kept_state
            self.end_order.append(trial.trial_id)
        self._retry_queue.reverse()  # Keras Tuner takes the last one first
        for trial in self.trials.values():
            if trial.status == TrialStatus.COMPLETED:
                self.score_trial(trial)

    def _tell(self, trial: Trial) -> TrialState:
        """Finish a trial in the study, after its record is saved."""
        kept, number = self._opened(), self._numbers[trial.trial_id]
        values, fits = None, trial.status != TrialStatus.FAILED
        state = TrialState.FAIL if trial.status == TrialStatus.INVALID else TrialState.PRUNED
        if trial.status == TrialStatus.COMPLETED:
            values = self._values(trial)
            if all(map(math.isfinite, values)):
                state = TrialState.COMPLETE
            else:
                values, trial.status = None, TrialStatus.FAILED
                trial.message = "An objective was not finite."
        kept.keep_late_values(number, trial.hyperparameters)
        self._save_trial(trial)
        kept.tell(number, state, values, fits=fits)
        self._states[trial.trial_id] = state
        return state

    # Small facts.

    def _values(self, trial: Trial) -> list[float]:
        """The objectives' values: the best of one, those of the last step of several."""
        values = []
        for objective in self.objectives:
            history = [float(step.mean()) for step in trial.metrics.get_history(objective.name)]
            best = max if objective.direction == "max" else min
            measured = [value for value in history if not math.isnan(value)]
            if len(self.objectives) > 1:
                values.append(history[-1])
            else:
                values.append(best(measured) if measured else math.nan)
        return values

    def _losses(self, trial: Trial) -> tuple[float, ...]:
        """The values as losses: less is better."""
        signs = [-1.0 if goal.direction == "max" else 1.0 for goal in self.objectives]
        return tuple(s * value for s, value in zip(signs, self._values(trial), strict=True))

    def _trial_with(self, values: Mapping[str, Any]) -> str | None:
        """The id of the trial with these values."""
        digest = self._compute_values_hash(values)
        return next((key for key, other in self._id_to_hash.items() if other == digest), None)

    def _check_consecutive_failures(self) -> None:
        """End the search after crashes in a row; infeasible and diverged trials do not count."""
        crashes = 0
        for trial_id in reversed(self.end_order):
            if self._states[trial_id] != TrialState.FAIL:
                break
            crashes += 1
        if crashes >= self.max_consecutive_failed_trials:
            message = self.trials[self.end_order[-1]].message or ""
            raise RuntimeError(f"{crashes} trials in a row have crashed.\n{message}")

    @contextlib.contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Run one thread at a time, and release the lock after an exception too.

        Keras Tuner's decorator `synchronized` identifies threads by name, and keeps its lock when a
        method raises, so that every other thread would wait forever.
        """
        with self._lock:
            self._opened()
            try:
                yield
            finally:
                if LOCKS[self].locked():
                    THREADS[self] = None
                    LOCKS[self].release()


_ENDED = (TrialStatus.COMPLETED, TrialStatus.FAILED, TrialStatus.INVALID)
