"""Reads what each worker did from the log of a study's events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from effv2_tune.report.timeline import Span, Timeline, Work, recorded_timeline
from effv2_tune.search import events as happened
from effv2_tune.session.live.event_log import EventLog

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from effv2_tune.search.events import Event
    from effv2_tune.session.live.event_log import Logged
    from effv2_tune.study.trial import Trial


def study_timeline(log: Path, trials: Sequence[Trial]) -> Timeline:
    """The timeline of a study: from its log, or from its records where the log is not complete.

    A log lacks the trials of other machines, which share the study's database.

    Args:
        log: ``events.jsonl`` in the study's folder; it need not exist.
        trials: All of the study.
    """
    found = logged_timeline(EventLog(log).read())
    logged = {span.trial for span in found.spans}
    if all(trial.number in logged for trial in trials if trial.ended and trial.times.wall > 0):
        return found
    return recorded_timeline(trials)


def logged_timeline(events: Iterable[Logged]) -> Timeline:
    """The timeline by the events of all runs.

    Within a trial, training is drawn before evaluation: each epoch has both, and a study thousands
    of epochs.
    """
    lanes = _Lanes()
    for at, event in events:
        lanes.take(event, at)
    return lanes.timeline()


@dataclass
class _Lane:
    """What a worker does now.

    Attributes:
        work: The kind of work; that of a trial is ``training`` from its first step on.
        since: When it began.
        trial: The trial.
        trained: Seconds of training steps since then.
        marked: When the last epoch ended.
    """

    work: Work
    since: float
    trial: int | None = None
    trained: float = 0.0
    marked: float = 0.0


class _Lanes:
    """The workers of a study by its events so far."""

    def __init__(self) -> None:
        self._spans: list[Span] = []
        self._runs: list[tuple[float, float]] = []
        self._open: dict[int, _Lane] = {}
        self._began: float | None = None
        self._loading_since = 0.0
        self._last = 0.0

    def take(self, event: Event, at: float) -> None:
        """Take an event into account, which happened at a time in seconds since 1970."""
        match event:
            case happened.StudyStarted() | happened.ConfirmStarted():
                self._end_run()
                self._began = self._loading_since = at
            case happened.PlacementChanged():
                self._end_all(at)
                self._loading_since = at
            case happened.WorkerReady(worker=worker):
                self._open.setdefault(worker, _Lane("starting", self._loading_since))
                self._change(worker, "idle", at)
            case happened.WorkerDied(worker=worker) | happened.WorkerReplaced(worker=worker):
                self._open.setdefault(worker, _Lane("starting", at))
                self._change(worker, "starting", at)
            case happened.StudyEnded():
                self._end_all(at)
            case _:
                self._take_of_trial(event, at)
        self._last = at

    def _take_of_trial(self, event: Event, at: float) -> None:
        match event:
            case happened.TrialStarted(worker=worker, trial=trial):
                self._open.setdefault(worker, _Lane("idle", at))
                self._change(worker, "compilation", at, trial)
            case happened.BucketCompiled(trial=trial):
                self._change_trial(trial, "training", at, trial)
            case happened.EpochTrained():
                self._train(event, at)
            case happened.TrialEnded():
                self._end_trial(event.trial.number, at)
            case happened.TrialPaused():
                self._end_trial(event.trial, at)
            case happened.TrialInterrupted() | happened.LeaseLost():
                self._change_trial(event.trial, "idle", at)
            case _:
                pass

    def timeline(self) -> Timeline:
        """The timeline up to the last event."""
        self._end_run()
        return Timeline(spans=tuple(self._spans), runs=tuple(self._runs))

    def _end_run(self) -> None:
        self._end_all(self._last)
        if self._began is not None and self._last > self._began:
            self._runs.append((self._began, self._last))
        self._began = None

    def _end_all(self, at: float) -> None:
        for worker, lane in self._open.items():
            self._close(worker, lane, at)
        self._open.clear()

    def _end_trial(self, trial: int, at: float) -> None:
        """End a trial after its last epoch: what followed that was the end of its evaluation."""
        for lane in self._open.values():
            if lane.trial == trial and lane.trained > 0:
                lane.marked = at
        self._change_trial(trial, "idle", at)

    def _change_trial(self, trial: int, work: Work, at: float, now: int | None = None) -> None:
        for worker, lane in self._open.items():
            if lane.trial == trial:
                self._change(worker, work, at, now)
                return

    def _change(self, worker: int, work: Work, at: float, trial: int | None = None) -> None:
        self._close(worker, self._open[worker], at)
        self._open[worker] = _Lane(work, at, trial, marked=at)

    def _train(self, event: happened.EpochTrained, at: float) -> None:
        for worker, lane in self._open.items():
            if lane.trial != event.trial:
                continue
            trained = min(event.epoch.seconds, at - max(lane.since, lane.marked))
            if lane.work == "compilation":  # it was compiled before, and nothing was logged of it
                self._change(worker, "training", at - trained, event.trial)
            its = self._open[worker]
            its.trained += trained
            its.marked = at
            return

    def _close(self, worker: int, lane: _Lane, at: float) -> None:
        """Add what a worker did until now."""
        name = f"worker {worker}"
        if lane.work != "training":
            self._add(Span(name, lane.work, lane.since, at, lane.trial))
            return
        # After the last epoch that ended, the next one had begun.
        trained = lane.since + lane.trained + at - lane.marked
        self._add(Span(name, "training", lane.since, trained, lane.trial))
        self._add(Span(name, "evaluation", trained, at, lane.trial))

    def _add(self, span: Span) -> None:
        if span.end > span.start:
            self._spans.append(span)
