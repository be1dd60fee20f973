"""Logs what is new of a study to a tracker, and remembers how far it came."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any, Literal, get_args

from effv2_tune.errors import EXIT_FAILED, TuneError
from effv2_tune.files.atomic import write_json
from effv2_tune.host import install_command
from effv2_tune.session.results import Results
from effv2_tune.session.trackers.base import TrialPart

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from effv2_tune.search.storage.snapshot import StudyRecord
    from effv2_tune.session.trackers.base import Tracker
    from effv2_tune.study.trial import Trial

TrackerName = Literal["tensorboard", "mlflow", "wandb", "trackio"]
TRACKERS: tuple[TrackerName, ...] = get_args(TrackerName)
_STATE = "trackers.json"
_FOLLOW_SECONDS = 10.0


def open_tracker(name: TrackerName, folder: Path, project: str) -> Tracker:
    """The tracker of this name.

    Args:
        name: Of the tracker.
        folder: Of the study.
        project: The project, or experiment, that the runs belong to.

    Raises:
        TuneError: Its package is not installed.
    """
    try:
        if name == "tensorboard":
            from effv2_tune.session.trackers.tensorboard import TensorBoard

            return TensorBoard(folder / "tensorboard")
        if name == "mlflow":
            from effv2_tune.session.trackers.mlflow import MLflow

            return MLflow(project)
        if name == "wandb":
            from effv2_tune.session.trackers.wandb import WeightsAndBiases

            return WeightsAndBiases(project, folder)
        from effv2_tune.session.trackers.trackio import Trackio

        return Trackio(project)
    except ImportError as error:
        raise TuneError(
            f"The package of {name} is not installed: {error}.",
            hint=f"Install it: {install_command(name)}",
            exit_code=EXIT_FAILED,
        ) from error


def log_study(
    location: Path | str,
    tracker: TrackerName,
    *,
    name: str | None = None,
    project: str | None = None,
    follow: bool = False,
    on_round: Callable[[int], None] = lambda _: None,
) -> Results:
    """Log the trials of a study to a tracker: what was not logged there before.

    Args:
        location: The study's folder, or the URL of its database.
        tracker: Its name.
        name: Of the study, where ``location`` has several.
        project: The tracker's project; the study's name if left out.
        follow: Go on while the study is running.
        on_round: Called after each round with the number of trials that had something new.

    Returns:
        The results that were logged.

    Raises:
        TuneError: There is no study, or the tracker's package is not installed.
    """
    results = Results(location, name=name)
    chosen = project or results.record.plan.name
    folder = results.folder
    folder.mkdir(parents=True, exist_ok=True)
    opened = open_tracker(tracker, folder, chosen)
    try:
        while True:
            # Trackers greet on stdout, which is for results.
            with redirect_stdout(sys.stderr):
                count = _log_new(results.record, opened, _State(folder, f"{tracker}:{chosen}"))
            on_round(count)
            if not follow or not results.is_running:
                return results
            time.sleep(_FOLLOW_SECONDS)
            results = Results(location, name=name)
    finally:
        opened.close()


def _log_new(record: StudyRecord, tracker: Tracker, state: _State) -> int:
    """Log what is new; returns in how many trials."""
    count = 0
    for trial in record.trials:
        logged, has_ended = state.of(trial)
        if has_ended or (len(trial.curve) <= logged and not trial.has_ended):
            continue
        part = TrialPart(
            study=record.plan.name,
            identity=_identity(record, trial),
            trial=trial,
            logged=logged,
            quality=record.plan.quality,
        )
        tracker.log(part)
        state.keep(trial)
        count += 1
    return count


def _identity(record: StudyRecord, trial: Trial) -> str:
    """A key that another study of the same name does not have."""
    first = record.trials[0].started
    key = f"{record.plan.name}/{first}"
    return f"{hashlib.sha256(key.encode()).hexdigest()[:16]}-{trial.number}"


class _State:
    """How far the trials of a study were logged to one destination, in a file of its folder.

    Args:
        folder: Of the study.
        destination: Tracker and project.
    """

    def __init__(self, folder: Path, destination: str) -> None:
        self._path = folder / _STATE
        self._destination = destination
        try:
            self._all: dict[str, dict[str, Any]] = json.loads(self._path.read_text())
        except (FileNotFoundError, ValueError):
            self._all = {}  # nothing was logged yet; a damaged file logs everything again
        self._trials = self._all.setdefault(destination, {})

    def of(self, trial: Trial) -> tuple[int, bool]:
        """The epochs of a trial that were logged, and whether its end was."""
        epochs, has_ended = self._trials.get(str(trial.number), (0, False))
        return epochs, has_ended

    def keep(self, trial: Trial) -> None:
        """Record that a trial was logged as it is now."""
        self._trials[str(trial.number)] = [len(trial.curve), trial.has_ended]
        write_json(self._path, self._all)
