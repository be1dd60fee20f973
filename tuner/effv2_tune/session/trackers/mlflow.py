"""Logs the trials of a study to MLflow, at the tracking URI of its own settings."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

from effv2_tune.session.trackers.base import metrics_of

if TYPE_CHECKING:
    from effv2_tune.session.trackers.base import TrialPart

_TAG = "effv2_tune.trial"
#: MLflow accepts a thousand metrics in one call.
_EPOCHS_AT_ONCE = 80


class MLflow:
    """One experiment, with a run for each trial.

    Args:
        experiment: Its name; created if there is none.
    """

    def __init__(self, experiment: str) -> None:
        self._client = MlflowClient()
        found = self._client.get_experiment_by_name(experiment)
        self._experiment: str = (
            self._client.create_experiment(experiment) if found is None else found.experiment_id
        )

    def log(self, part: TrialPart) -> None:
        """Create the run of a trial, or continue it."""
        run = self._run(part)
        pairs = list(part.epoch_times())
        for first in range(0, len(pairs), _EPOCHS_AT_ONCE):
            metrics = [
                Metric(name, value, int(1000 * at), epoch.epoch)
                for epoch, at in pairs[first : first + _EPOCHS_AT_ONCE]
                for name, value in metrics_of(epoch).items()
            ]
            self._client.log_batch(run, metrics=metrics)
        if not part.trial.has_ended:
            return
        at, step = int(1000 * (part.end_time or time.time())), len(part.trial.curve)
        results = [Metric(name, value, at, step) for name, value in part.results.items()]
        tags = [RunTag("state", part.trial.state), RunTag("reason", part.trial.reason)]
        self._client.log_batch(run, metrics=results, tags=tags)
        status = "FAILED" if part.has_failed else "FINISHED"
        self._client.set_terminated(run, status, end_time=at)

    def close(self) -> None:
        """Everything is written already."""

    def _run(self, part: TrialPart) -> str:
        found = self._client.search_runs(
            [self._experiment], filter_string=f"tags.`{_TAG}` = '{part.identity}'", max_results=1
        )
        if found:
            run: str = found[0].info.run_id
            return run
        started = part.trial.started
        created: str = self._client.create_run(
            self._experiment,
            start_time=None if started is None else int(1000 * started.timestamp()),
            tags={_TAG: part.identity, "study": part.study},
            run_name=part.name,
        ).info.run_id
        params = [Param(name, str(value)) for name, value in part.config.items()]
        self._client.log_batch(created, params=params)
        return created
