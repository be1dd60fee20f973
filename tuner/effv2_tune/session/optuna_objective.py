"""Defines a study as an objective for the user's own ``optuna.Study.optimize``."""

from __future__ import annotations

import shutil
import tempfile
import threading
import weakref
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Self

from effv2_tune.errors import EXIT_FAILED, TuneError
from effv2_tune.session.study import Study

if TYPE_CHECKING:
    import optuna

    from effv2_tune.search.single_worker import Trained, TrainerClient
    from effv2_tune.study.space import Config

#: The user attribute with the record of a trial.
RECORD = "effv2_tune"


class StudyObjective:
    """Samples a config from an Optuna trial, trains it, and returns (quality, train_seconds).

    Trials are trained one after another by one worker process, which keeps what it has compiled;
    with ``n_jobs``, threads wait for each other. A trial whose loss becomes NaN, or that does not
    fit the device, is pruned; one that does not fit also violates the constraint ``fits``, which
    samplers learn from. Close it, or use it as a context manager, to end the worker; it also ends
    with this process.

    Args:
        study: What is searched, on which data; its budget, workers and halving are not used. The
            worker has the devices of its target, if there is one.
    """

    def __init__(self, study: Study) -> None:
        self._study = study
        self._client: TrainerClient | None = None
        self._lock = threading.Lock()
        self._resources = ExitStack()
        weakref.finalize(self, self._resources.close)

    @property
    def directions(self) -> tuple[str, str]:
        """For ``optuna.create_study(directions=...)``."""
        return self._study.plan.directions

    def __call__(self, trial: optuna.Trial) -> tuple[float, float]:
        """Train the config of the trial.

        Raises:
            optuna.TrialPruned: The trial diverged, or does not fit the device.
            TuneError: It failed otherwise; or the Optuna study has other directions.
        """
        import optuna as optuna_

        self._check_directions(trial.study)

        from effv2_tune.search.engines.distributions import suggest_config

        config = suggest_config(trial, self._study.plan.search_space)
        with self._lock:
            client = self._working_client()
            trained = _train(client, trial.number, config)
        finished = trained.finished
        trial.set_user_attr(RECORD, finished.model_dump_json())
        if trained.values is not None:
            return trained.values
        if finished.outcome == "infeasible":
            trial.set_constraint("fits", 1.0)
        if finished.outcome in ("diverged", "infeasible"):
            raise optuna_.TrialPruned(finished.reason)
        raise TuneError(
            f"Trial {trial.number} failed: {finished.reason}",
            hint=f"The worker's log is in {client.logs}.",
            exit_code=EXIT_FAILED,
        )

    def close(self) -> None:
        """End the worker, and remove its folder."""
        self._client = None
        self._resources.close()

    def __enter__(self) -> Self:
        """The worker starts with the first trial."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the worker."""
        self.close()

    def _check_directions(self, study: optuna.Study) -> None:
        """Refuse other directions before anything is trained."""
        found = tuple(direction.name.lower() for direction in study.directions)
        if found != self.directions:
            raise TuneError(
                f"The Optuna study has directions {list(found)}, and this objective returns "
                f"(quality, train_seconds), to {self.directions[0]} and {self.directions[1]}.",
                hint=f"optuna.create_study(directions={list(self.directions)})",
            )

    def _working_client(self) -> TrainerClient:
        if self._client is None:
            from effv2_tune.search.single_worker import TrainerClient

            folder = Path(tempfile.mkdtemp(prefix="effv2-tune-"))
            self._resources.callback(shutil.rmtree, folder, ignore_errors=True)
            self._client = TrainerClient(self._study.plan, base=self._study.base, folder=folder)
            self._resources.callback(self._client.close)
        return self._client


def _train(client: TrainerClient, number: int, config: Config) -> Trained:
    """Train; on an error or Ctrl-C, end the worker as well."""
    try:
        return client.train(number, config)
    except BaseException:
        client.close()
        raise
    finally:
        client.forget(number)


def objective(study: Study | str | Path) -> StudyObjective:
    """A study as a callable for ``optuna.Study.optimize``.

    Args:
        study: A study, a study file, or a shipped study's name.

    Example:
        >>> import optuna
        >>> goal = objective("quickstart")                                   # doctest: +SKIP
        >>> mine = optuna.create_study(directions=goal.directions)           # doctest: +SKIP
        >>> mine.optimize(goal, n_trials=10)                                 # doctest: +SKIP
    """
    return StudyObjective(study if isinstance(study, Study) else Study.load(study))
