"""Writes the trials of a study as event files for TensorBoard, with its HParams plugin."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2, summary_v2
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from effv2_tune.session.trackers.base import metrics_of

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from effv2_tune.session.trackers.base import TrialPart


class TensorBoard:
    """Event files in a folder, one folder for each trial.

    Args:
        folder: That TensorBoard reads with ``--logdir``.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def log(self, part: TrialPart) -> None:
        """Append a file of events to the folder of the trial."""
        writer = EventFileWriter(str(self._folder / part.name))
        started = 0.0 if part.trial.started is None else part.trial.started.timestamp()
        if part.logged == 0:
            hparams = summary_v2.hparams_pb(
                part.config, trial_id=part.identity, start_time_secs=started
            )
            _add(writer, hparams, started, 0)
        for epoch, at in part.epoch_times():
            _add(writer, _scalars(metrics_of(epoch)), at, epoch.epoch)
        if part.trial.has_ended:
            _add(writer, _scalars(part.results), part.end_time, len(part.trial.curve))
            _add(writer, _session_end(part), part.end_time, len(part.trial.curve))
        writer.close()

    def close(self) -> None:
        """Every file is closed already."""


def _session_end(part: TrialPart) -> Any:
    """How and when a trial ended; TensorBoard's own function for it imports TensorFlow."""
    end = plugin_data_pb2.SessionEndInfo(
        status=api_pb2.STATUS_FAILURE if part.has_failed else api_pb2.STATUS_SUCCESS,
        end_time_secs=part.end_time,
    )
    content = plugin_data_pb2.HParamsPluginData(session_end_info=end)
    value = Summary.Value(
        tag=metadata.SESSION_END_INFO_TAG,
        metadata=metadata.create_summary_metadata(content),
        tensor=metadata.NULL_TENSOR,
    )
    return Summary(value=[value])


def _scalars(metrics: dict[str, float]) -> Any:
    return Summary(
        value=[Summary.Value(tag=tag, simple_value=value) for tag, value in metrics.items()]
    )


def _add(writer: EventFileWriter, summary: Any, at: float, step: int) -> None:
    writer.add_event(Event(wall_time=at or time.time(), step=step, summary=summary))
