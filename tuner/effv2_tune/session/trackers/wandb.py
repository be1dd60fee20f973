"""Logs the trials of a study to Weights & Biases, online or offline as it is set up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import wandb

from effv2_tune.session.trackers.base import metrics_of

if TYPE_CHECKING:
    from pathlib import Path

    from effv2_tune.session.trackers.base import TrialPart


class WeightsAndBiases:
    """One project, with a run for each trial.

    Args:
        project: Its name.
        folder: Where its own files go.
    """

    def __init__(self, project: str, folder: Path) -> None:
        self._project, self._folder = project, folder

    def log(self, part: TrialPart) -> None:
        """Create the run of a trial, or resume it; the run is finished until there is more."""
        run = wandb.init(
            project=self._project,
            id=part.identity,
            name=part.name,
            group=part.study,
            config=dict(part.config),
            dir=str(self._folder),
            resume="allow",
            reinit="create_new",
            settings=wandb.Settings(silent=True, console="off", disable_git=True, save_code=False),
        )
        for epoch in part.epochs:
            run.log(metrics_of(epoch), step=epoch.epoch)
        for name, value in part.results.items():
            run.summary[name] = value
        if part.trial.has_ended:
            run.summary["state"] = part.trial.state
        run.finish(exit_code=int(part.has_failed))

    def close(self) -> None:
        """Every run is finished already."""
