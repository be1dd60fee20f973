"""An Optuna study as the oracle of Keras Tuner."""

from __future__ import annotations

import contextlib
import math
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras_tuner
from keras_tuner.engine.trial import Trial, TrialStatus

# What its decorator `synchronized` works with, and what a trial measures into: in 1.4.8 both are
# public by no other path.
from keras_tuner.src.engine.metrics_tracking import MetricsTracker
from keras_tuner.src.engine.oracle import LOCKS, THREADS
from optuna.trial import TrialState

from effv2_tune.files.atomic import write_json
from effv2_tune.interop.oracle_study import OracleStudy, sampler_maker
from effv2_tune.pareto import nondominated_ranks

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

    The Optuna study is the truth: each trial is in it, with Keras Tuner's record of it, from before
    it is handed out. So after a kill at any moment nothing is lost or done twice: what was
    running is handed out again under its number, and what had ended is as it was, even where Keras
    Tuner's own files are torn. Optuna and its dashboard can read the database while it grows.

    Trials end as Optuna knows them: COMPLETE with the objectives' values; PRUNED where Keras Tuner
    has them FAILED (`FailedTrialError`, which also violates the constraint ``fits``) or an
    objective is no finite number; FAIL where they crashed, and only these count as consecutive
    failures. With several objectives a trial's score is its non-dominated rank, 0 for the Pareto
    set, and lower is better. A config that was tried already is answered from its record and not
    handed out again. What is enqueued in :attr:`study` goes first.

    Args:
        objective: Name, `keras_tuner.Objective`, or a list of them.
        max_trials: How many trials in all, over every time that the tuner is run; None for no
            limit.
        sampler: An Optuna sampler, or a function that makes one for a trial's number. By default
            TPE, made anew from (seed, number) for each trial, so that going on repeats nothing; a
            sampler with a seed of its own begins its stream again whenever the program does.
        storage: Optuna storage or its URL; ``optuna.db`` in the project's folder if left out.
        study_name: In that storage; the project's name if left out.
        hyperparameters: The search space, as far as it is known beforehand.
        seed: Of the default sampler.
        max_retries_per_trial: How often a trial that crashed is run again.
        max_consecutive_failed_trials: So many crashed trials in a row end the search.
        allow_new_entries: Whether a hypermodel may ask for more hyperparameters.
        tune_new_entries: Whether these are searched.

    Source: asked for in https://github.com/keras-team/keras-tuner/issues/555.
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
        #: Optuna's number of each trial, and how each ended one was told.
        self._numbers: dict[str, int] = {}
        self._told: dict[str, TrialState] = {}

    # What it is.

    @property
    def objectives(self) -> list[keras_tuner.Objective]:
        """What is optimized, one or several."""
        return list(getattr(self.objective, "objectives", [self.objective]))

    @property
    def study(self) -> optuna.Study:
        """The Optuna study; the oracle of a tuner opens it at first use, in the tuner's project.

        Raises:
            TuneError: The storage holds a study of that name with other objectives.
        """
        return self._opened().study

    def remaining_trials(self) -> int | None:
        """How many trials are still to be begun; None without a limit."""
        self._opened()
        return None if self.max_trials is None else self.max_trials - len(self.trials)

    def get_best_trials(self, num_trials: int | None = None) -> list[Trial]:
        """Complete trials, the best first.

        Args:
            num_trials: How many at most. If left out, the Pareto set: with several objectives each
                trial that no other one dominates, in the order of the first objective, and with
                one the best trial. Where more are wanted, the next ranks follow.
        """
        self._opened()
        done = [trial for trial in self.trials.values() if trial.status == TrialStatus.COMPLETED]
        losses = [self._losses(trial) for trial in done]
        ranks = nondominated_ranks(losses)
        order = sorted(range(len(done)), key=lambda place: (ranks[place], losses[place]))
        if num_trials is None:
            num_trials = ranks.count(0)
        return [done[place] for place in order[:num_trials]]

    # Keras Tuner's calls.

    def create_trial(self, tuner_id: str) -> Trial:
        """The next trial for a tuner; one that was interrupted comes before a new one."""
        with self._exclusive():
            return super().create_trial(tuner_id)

    def update_trial(self, trial_id: str, metrics: Mapping[str, float], step: int = 0) -> Trial:
        """Note what a trial has reached."""
        with self._exclusive():
            known = self.trials[trial_id].metrics
            for objective in self.objectives:
                # Keras Tuner takes a direction that it cannot infer from a name for "min".
                if not known.exists(objective.name):
                    known.register(objective.name, direction=objective.direction)
            return super().update_trial(trial_id, metrics, step=step)

    def end_trial(self, trial: Trial) -> None:
        """Tell the study what became of a trial, unless it is to be run again."""
        with self._exclusive():
            known = self.trials[trial.trial_id]
            known.hyperparameters, known.message = trial.hyperparameters, trial.message
            known.status = trial.status
            crashed = known.status == TrialStatus.INVALID
            again = self._run_times[known.trial_id] < self.max_retries_per_trial
            if not (crashed and again):
                self._tell(known)
            super().end_trial(known)
            if crashed and again:
                # Keras Tuner ignores what a trial returns that has reported before.
                known.metrics = MetricsTracker()
                known.status = TrialStatus.RUNNING
                self._save_trial(known)

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Draw the values of a new trial; STOPPED where all that comes was tried before."""
        kept = self._opened()
        kept.keep_space(self.hyperparameters)
        for _ in range(self._max_collisions + 1):
            number = kept.begin(int(trial_id))
            values = kept.draw(number, self.hyperparameters.space)
            twin = self._tried(values)
            if twin is None:
                self._numbers[trial_id] = number
                return {"status": TrialStatus.RUNNING, "values": values}
            kept.answer(number, int(twin), self._numbers[twin])
        return {"status": TrialStatus.STOPPED, "values": None}

    def score_trial(self, trial: Trial) -> None:
        """Score a trial: the objective's value, or with several its non-dominated rank.

        The ranks of all complete trials are renewed.
        """
        if len(self.objectives) == 1:
            trial.score = self._values(trial)[0]
            trial.best_step = trial.metrics.get_best_step(self.objective.name)
            return
        done = [one for one in self.trials.values() if one.status == TrialStatus.COMPLETED]
        ranks = nondominated_ranks([self._losses(one) for one in done])
        for one, rank in zip(done, ranks, strict=True):
            one.score = rank

    # Keeping it.

    def save(self) -> None:
        """Write Keras Tuner's file of the oracle, atomically."""
        write_json(Path(self._get_oracle_fname()), self.get_state())

    def reload(self) -> None:
        """Go on where the study stands; Keras Tuner's own files are not needed for it."""
        self._opened()

    def _save_trial(self, trial: Trial) -> None:
        state = trial.get_state()
        record = {"trial": state, "run_times": self._run_times[trial.trial_id]}
        self._opened().remember(self._numbers[trial.trial_id], record)
        write_json(Path(self._get_trial_dir(trial.trial_id)) / "trial.json", state)

    def _opened(self) -> OracleStudy:
        with self._lock:
            if self._kept is None:
                in_project = f"sqlite:///{self._project_dir}/{DATABASE}"
                kept = OracleStudy(
                    in_project if self._given_storage is None else self._given_storage,
                    self._study_name or self._project_name,
                    [_DIRECTIONS[objective.direction] for objective in self.objectives],
                    self._make_sampler,
                )
                self._kept = kept
                self._take_over(kept.trials())
                if kept.space is not None:
                    self.hyperparameters.merge(kept.space, overwrite=False)
            return self._kept

    def _take_over(self, trials: Sequence[KeptTrial]) -> None:
        """Be as if these trials had been this oracle's from their beginning."""
        for kept in trials:
            if kept.record is None:
                continue  # it was being drawn: populate_space goes on with it
            trial = Trial.from_state(kept.record["trial"])
            self.trials[trial.trial_id] = trial
            self.start_order.append(trial.trial_id)
            self._numbers[trial.trial_id] = kept.number
            self._run_times[trial.trial_id] = kept.record["run_times"]
            self._record_values(trial)
            if kept.state == TrialState.RUNNING and trial.status in _ENDED:
                kept_state = self._tell(trial)  # it was killed just before telling
            else:
                kept_state = kept.state
            if kept_state == TrialState.RUNNING:
                trial.status = TrialStatus.RUNNING
                trial.metrics = MetricsTracker()
                self._retry_queue.append(trial.trial_id)
                continue
            complete = kept_state == TrialState.COMPLETE
            trial.status = TrialStatus.COMPLETED if complete else TrialStatus.FAILED
            self._told[trial.trial_id] = kept_state
            self.end_order.append(trial.trial_id)
        self._retry_queue.reverse()  # Keras Tuner takes the last one first
        for trial in self.trials.values():
            if trial.status == TrialStatus.COMPLETED:
                self.score_trial(trial)

    def _tell(self, trial: Trial) -> TrialState:
        """Tell the study what became of a trial; its record is kept before that."""
        kept, number = self._opened(), self._numbers[trial.trial_id]
        values, fits = None, trial.status != TrialStatus.FAILED
        state = TrialState.FAIL if trial.status == TrialStatus.INVALID else TrialState.PRUNED
        if trial.status == TrialStatus.COMPLETED:
            values = self._values(trial)
            if all(map(math.isfinite, values)):
                state = TrialState.COMPLETE
            else:
                values, trial.status = None, TrialStatus.FAILED
                trial.message = "An objective was no finite number."
        kept.keep_late_values(number, trial.hyperparameters)
        self._save_trial(trial)
        kept.tell(number, state, values, fits=fits)
        self._told[trial.trial_id] = state
        return state

    # Small facts.

    def _values(self, trial: Trial) -> list[float]:
        """The objectives' values: the best of one, those of the last step of several."""
        values = []
        for objective in self.objectives:
            seen = [float(one.mean()) for one in trial.metrics.get_history(objective.name)]
            best = max if objective.direction == "max" else min
            numbers = [value for value in seen if not math.isnan(value)]
            if len(self.objectives) > 1:
                values.append(seen[-1])
            else:
                values.append(best(numbers) if numbers else math.nan)
        return values

    def _losses(self, trial: Trial) -> tuple[float, ...]:
        """The values, with signs such that less is better."""
        signs = [-1.0 if one.direction == "max" else 1.0 for one in self.objectives]
        return tuple(s * value for s, value in zip(signs, self._values(trial), strict=True))

    def _tried(self, values: Mapping[str, Any]) -> str | None:
        """The trial that has these very values."""
        wanted = self._compute_values_hash(values)
        return next((one for one, seen in self._id_to_hash.items() if seen == wanted), None)

    def _check_consecutive_failures(self) -> None:
        """End the search after crashes in a row; what does not fit or diverges is a result."""
        crashes = 0
        for trial_id in reversed(self.end_order):
            if self._told[trial_id] != TrialState.FAIL:
                break
            crashes += 1
        if crashes >= self.max_consecutive_failed_trials:
            message = self.trials[self.end_order[-1]].message or ""
            raise RuntimeError(f"{crashes} trials in a row have crashed.\n{message}")

    @contextlib.contextmanager
    def _exclusive(self) -> Iterator[None]:
        """One thread at a time, and the lock is free again whatever happens.

        Keras Tuner's decorator `synchronized` knows threads by their names, and keeps its lock
        when a method raises, so that every other thread would wait for ever.
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
