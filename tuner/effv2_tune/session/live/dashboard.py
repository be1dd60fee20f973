"""Follows a study for its dashboard: progress from its events, the page from its records."""

from __future__ import annotations

import json
import math
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from effv2_tune.errors import TuneError
from effv2_tune.report.html.page import live_content, live_html
from effv2_tune.search import events as happened
from effv2_tune.search.mirror.contents import EVENTS
from effv2_tune.session.live.event_log import EventLog
from effv2_tune.session.live.following import follower_of
from effv2_tune.session.report_input import activity_sentence
from effv2_tune.session.results import Results

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from effv2_tune.search.events import Event
    from effv2_tune.session.live.event_log import Logged
    from effv2_tune.session.live.following import StudyFollower

#: Seconds between two looks at the log.
POLL_SECONDS = 0.5
#: Seconds without an event after which it is checked whether the study is still running.
_QUIET_SECONDS = 10.0
#: Fewest seconds between two versions of the page: after the end of a trial, and after an epoch.
_AFTER_TRIAL, _AFTER_EPOCH = 2.0, 15.0
#: A version of the page is computed for at most a twentieth of the time: training runs beside it.
_COST_FACTOR = 20.0
_MOST_FAILURES = 20
_CHANGES = (
    happened.StudyStarted,
    happened.ConfirmStarted,
    happened.TrialEnded,
    happened.TrialPaused,
    happened.BucketTimeRestated,
    happened.StudyEnded,
)


class Dashboard:
    """The study of one dashboard; :meth:`follow` is called by one thread, the rest by any.

    Args:
        location: The study's folder, or the URL of its database.
        name: Of the study, where ``location`` has several.
        now: The time in seconds since 1970.

    Raises:
        TuneError: There is no study.
    """

    def __init__(
        self,
        location: Path | str,
        *,
        name: str | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._location, self._name, self._now = location, name, now
        self._changed = threading.Condition()
        self._building = threading.Lock()
        self._results = self._read()
        self._log = EventLog(self._results.folder / EVENTS)
        self._log.skip_earlier_runs()
        self._follower = self._follower_of(self._results)
        self._failures: deque[dict[str, str]] = deque(maxlen=_MOST_FAILURES)
        self._text = activity_sentence(self._results.record)
        self._is_running = self._results.is_running
        self._checked = self._renewed = self._now()
        self._due_after = math.inf
        self._version = 0
        self._updates = 0
        self._built: tuple[int, str] = (-1, "")
        self._cost = 0.0
        self._closed = False

    @property
    def is_closed(self) -> bool:
        """Whether it has ended, and streams are to end."""
        return self._closed

    def close(self) -> None:
        """End all streams."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def follow(self) -> None:
        """Take into account what was logged since the last call."""
        now, events = self._now(), list(self._log.read())
        for logged in events:
            with self._changed:
                self._take(logged)
        if events:
            self._checked = now
            self._notify()
        elif now - self._checked >= _QUIET_SECONDS:
            self._check(now)
        if now - self._renewed >= max(self._due_after, _COST_FACTOR * self._cost):
            self._renew(now)

    def progress(self) -> dict[str, Any]:
        """What the study does now, as plain data."""
        with self._changed:
            return self._progress()

    def _progress(self) -> dict[str, Any]:
        follower, now = self._follower, self._now()
        work = list(follower.work.values()) if self._is_running else []
        return {
            "state": self._text,
            "is_running": self._is_running,
            "ended": follower.ended,
            "limit": follower.limit,
            "noun": "replicates" if follower.is_confirming else "trials",
            "best": follower.best_text(),
            "seconds_left": follower.seconds_left(now) if self._is_running else None,
            "work": [
                {
                    "worker": one.worker,
                    "trial": one.trial,
                    "text": one.text,
                    "done": one.done,
                    "total": one.total,
                }
                for one in work
            ],
            "failures": list(self._failures),
            "version": self._version,
        }

    def wait(self, seen: int, seconds: float) -> int:
        """Wait until something has changed.

        Args:
            seen: The last result, at first -1.
            seconds: At most so long.

        Returns:
            Counts the changes.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._updates != seen, seconds)
            return self._updates

    def page(self) -> str:
        """The HTML of the page, as the report writes it, with the progress of the study."""
        with self._building:
            return live_html(self._results.page, self._version)

    def content(self) -> str:
        """What changes in the page, as JSON; computed once for each version."""
        with self._building:
            version, results = self._version, self._results
            if self._built[0] != version:
                began = time.monotonic()
                self._built = (version, json.dumps(live_content(results.page, version)))
                self._cost = time.monotonic() - began
            return self._built[1]

    def _take(self, logged: Logged) -> None:
        event = logged.event
        if isinstance(event, happened.StudyStarted | happened.ConfirmStarted):
            self._begin_run(logged.at)
        self._follower.follow(event, logged.at)
        if isinstance(event, _CHANGES):
            self._due_after = _AFTER_TRIAL
        elif isinstance(event, happened.EpochTrained):
            self._due_after = min(self._due_after, _AFTER_EPOCH)
        failure = _failure(event)
        if failure is not None:
            self._failures.append(failure)

    def _begin_run(self, at: float) -> None:
        """Follow a run of the study from its start on, with the plan that it has now."""
        results = self._try_to_read() or self._results
        record = results.record
        self._results, self._is_running = results, results.is_running
        self._text = activity_sentence(record)
        # The seconds of the record include those of this run.
        ran = max(self._now() - at, 0.0) if self._is_running else 0.0
        self._follower = self._follower_of(results, ran=ran)

    def _follower_of(self, results: Results, *, ran: float = 0.0) -> StudyFollower:
        """A follower of a run that has been running for so many seconds."""
        record = results.record
        used = max(record.seconds - ran, 0.0)
        follower = follower_of(record.plan, record, out=results.folder, used_seconds=used)
        searched = (trial for trial in record.trials if trial.replicate_of is None)
        follower.ended = sum(trial.has_ended for trial in searched)
        return follower

    def _check(self, now: float) -> None:
        """Read whether the study is running; a killed one logs nothing."""
        self._checked = now
        results = self._try_to_read()
        if results is not None and activity_sentence(results.record) != self._text:
            self._show(results, now)

    def _renew(self, now: float) -> None:
        """Read the study anew, for another version of the page."""
        results = self._try_to_read()
        if results is not None:
            self._show(results, now)

    def _show(self, results: Results, now: float) -> None:
        """Make another version of the page."""
        with self._changed:
            self._results = results
            self._text, self._is_running = activity_sentence(results.record), results.is_running
            self._due_after, self._renewed = math.inf, now
            self._version += 1
        self._notify()

    def _read(self) -> Results:
        results = Results(self._location, name=self._name)
        _ = results.record
        return results

    def _try_to_read(self) -> Results | None:
        """The study; None while it cannot be read, as at the moment when it is restored."""
        try:
            return self._read()
        except (TuneError, OSError):
            return None

    def _notify(self) -> None:
        with self._changed:
            self._updates += 1
            self._changed.notify_all()


def _failure(event: Event) -> dict[str, str] | None:
    """What failed, with the last lines of its log."""
    if isinstance(event, happened.WorkerDied):
        return {"text": f"worker {event.worker} ended: {event.cause}", "log": event.log_tail}
    if isinstance(event, happened.TrialEnded) and event.trial.state in ("failed", "infeasible"):
        text = f"trial {event.trial.number} {event.trial.state}: {event.trial.reason}"
        return {"text": text, "log": ""}
    return None
