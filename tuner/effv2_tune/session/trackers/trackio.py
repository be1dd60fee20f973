"""Logs the trials of a study to trackio, in its local database or the space that it is set to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trackio

from effv2_tune.session.trackers.base import metrics_of

if TYPE_CHECKING:
    from effv2_tune.session.trackers.base import TrialPart


class Trackio:
    """One project, with a run for each trial.

    Args:
        project: Its name.
    """

    def __init__(self, project: str) -> None:
        self._project = project

    def log(self, part: TrialPart) -> None:
        """Create the run of a trial, or resume it."""
        trackio.init(
            project=self._project,
            name=part.name,
            config=dict(part.config),
            resume="allow",
            embed=False,
            auto_log_gpu=False,  # of this machine, which trains nothing
            auto_log_cpu=False,
        )
        for epoch in part.epochs:
            trackio.log(metrics_of(epoch), step=epoch.epoch)
        if part.results:
            trackio.log(part.results, step=len(part.trial.curve) + 1)
        trackio.finish()

    def close(self) -> None:
        """Every run is finished already."""
