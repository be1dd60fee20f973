"""Limits a study: by trials, by hours, or by the growth of its front."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from effv2_tune.pareto import Objective, front_growth, outcome_of
from effv2_tune.plurals import all_of, are, pluralized
from effv2_tune.search.events import StudyEnded
from effv2_tune.search.storage.records import is_duplicate, is_in_budget, without_replicates

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from effv2_tune.search.clock import Clock
    from effv2_tune.search.storage.base import Storage
    from effv2_tune.study.plan import StudyPlan
    from effv2_tune.study.trial import Trial

_HOUR = 3600.0
#: Failed trials in a row after which the study ends; the cause is then not the trials.
MAX_FAILURES = 5


class Budget:
    """The budget of a study, earlier runs included.

    Args:
        plan: With the limits.
        storage: With the usage of earlier runs.
        clock: Of this run, which starts now.
    """

    def __init__(self, plan: StudyPlan, storage: Storage, clock: Clock) -> None:
        self._plan = plan
        self._storage = storage
        self._clock = clock
        self._began = clock.now()
        self._before = storage.seconds_before()
        self._elsewhere = storage.device_seconds_elsewhere()
        self._devices: dict[int, int] = {}
        self._device_seconds, self._counted_at = 0.0, self._began
        self._failed_before = {t.number for t in storage.trials() if t.state == "failed"}

    def spent(self) -> StudyEnded | None:
        """Why no new trial may begin; None while one may."""
        over = self.time_spent()
        if over is not None:
            return over
        known = without_replicates(self._storage.trials())
        trials = [trial for trial in known if not is_duplicate(trial)]
        count = sum(map(is_in_budget, trials))
        if self._plan.trials is not None and count >= self._plan.trials:
            return trials_spent(self._plan)
        return self.failing() or self._stagnation(trials)

    def failing(self) -> StudyEnded | None:
        """The reason where trial after trial has failed in this run; None otherwise."""
        return failing(self._storage.trials(), before=self._failed_before)

    def leave_out(self) -> None:
        """Do not count this run so far: a download needs no device."""
        self._began = self._counted_at = self._clock.now()

    def hold(self, worker: int, devices: int) -> None:
        """Count the devices of ``worker`` from now on, until the run ends."""
        self._device_seconds, self._counted_at = self._held(), self._clock.now()
        self._devices[worker] = devices

    def time_spent(self) -> StudyEnded | None:
        """The reason where the hours or the accelerator-hours are used up; None otherwise."""
        if self._hours_left() <= 0:
            return StudyEnded(kind="hours", reason=_used_up(self._plan.hours, "hour"))
        if self._device_seconds_left() <= 0:
            return StudyEnded(
                kind="accelerator_hours",
                reason=_used_up(self._plan.accelerator_hours, "accelerator-hour"),
            )
        return None

    def seconds_left(self) -> float:
        """Seconds until a limit of time is reached; infinite without one."""
        devices = max(1, sum(self._devices.values()))
        return min(self._hours_left(), self._device_seconds_left() / devices)

    def keep(self) -> None:
        """Store the duration and the device-seconds of this run."""
        self._storage.keep_seconds(self._running(), self._held())
        if self._plan.accelerator_hours is not None:
            # Other supervisors use devices too.
            self._elsewhere = self._storage.device_seconds_elsewhere()

    def _hours_left(self) -> float:
        """Until the hours are used up, in seconds."""
        if self._plan.hours is None:
            return math.inf
        return self._plan.hours * _HOUR - self._before - self._running()

    def _device_seconds_left(self) -> float:
        if self._plan.accelerator_hours is None:
            return math.inf
        return self._plan.accelerator_hours * _HOUR - self._elsewhere - self._held()

    def _running(self) -> float:
        return self._clock.now() - self._began

    def _held(self) -> float:
        """Device-seconds of this run."""
        since = self._clock.now() - self._counted_at
        return self._device_seconds + since * sum(self._devices.values())

    def _stagnation(self, trials: Sequence[Trial]) -> StudyEnded | None:
        """The reason where the last trials have hardly improved the front."""
        stop = self._plan.stop_when
        if stop is None:
            return None
        ended = [trial for trial in trials if trial.has_ended and trial.state != "failed"]
        ended.sort(key=lambda trial: (str(trial.ended), trial.number))
        data = self._storage.data_facts()
        images = None if data is None else data.scored
        growth = front_growth(
            [outcome_of(trial, self._plan.quality, images) for trial in ended],
            Objective(self._plan.directions[0]),
        )
        added, since = growth.added_by_last(stop.trials), growth.since_new_point
        if since is None:
            return None
        if stop.growth is not None and added < stop.growth:
            reason = f"added less than {stop.growth:.3%} of the front's hypervolume"
            return _stagnated(f"The last {pluralized(stop.trials, 'trial')} {reason}.")
        if stop.no_new_front_point is not None and since >= stop.no_new_front_point:
            return _stagnated(f"The last {pluralized(since, 'trial')} added no point to the front.")
        return None


def _stagnated(reason: str) -> StudyEnded:
    return StudyEnded(kind="stagnation", reason=reason)


def _used_up(hours: float | None, noun: str) -> str:
    count = hours or 0
    return f"The {pluralized(count, noun)} of the study {are(count)} used up."


def trials_spent(plan: StudyPlan) -> StudyEnded:
    """The reason where all trials have been begun."""
    count = plan.trials or 0
    reason = f"{all_of(count, 'trial')} of the study {are(count)} done."
    return StudyEnded(kind="trials", reason=reason)


def failing(trials: Sequence[Trial], *, before: Collection[int]) -> StudyEnded | None:
    """The reason where trial after trial has failed in a run; None otherwise.

    Args:
        trials: All trials of the study.
        before: Numbers of those that had failed before the run.
    """
    failures = _failures_at_the_end(
        [trial for trial in trials if trial.number not in before and not is_duplicate(trial)]
    )
    if len(failures) < MAX_FAILURES:
        return None
    return StudyEnded(
        kind="failing", reason=f"The last {MAX_FAILURES} trials failed: {failures[-1].reason}"
    )


def _failures_at_the_end(trials: Sequence[Trial]) -> list[Trial]:
    """The failed trials since the last one that did not fail."""
    failures: list[Trial] = []
    for trial in trials:
        if trial.state == "failed":
            failures.append(trial)
        elif trial.state != "running":
            failures = []
    return failures
