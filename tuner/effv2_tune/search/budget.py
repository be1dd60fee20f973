"""When a study has had enough: trials, hours, or a front that has stopped growing."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from effv2_tune.pareto import Objective, hypervolume
from effv2_tune.search.events import StudyEnded
from effv2_tune.search.storage.records import is_duplicate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from effv2_tune.search.clock import Clock
    from effv2_tune.search.storage.base import Storage
    from effv2_tune.study.plan import StudyPlan
    from effv2_tune.study.trial import Measurement, Trial

_HOUR = 3600.0
#: Trials that failed in a row: the cause lies outside of them.
MOST_FAILURES = 5


class Budget:
    """What a study may use, earlier runs included.

    Args:
        plan: With the limits.
        storage: With what has been used.
        clock: Begins to count now.
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
        """Why nothing new is begun, if so."""
        over = self.time_spent()
        if over is not None:
            return over
        trials = [trial for trial in self._storage.trials() if not is_duplicate(trial)]
        if self._plan.trials is not None and len(trials) >= self._plan.trials:
            return self.trials_spent()
        failures = _failures_at_the_end(
            [trial for trial in trials if trial.number not in self._failed_before]
        )
        if len(failures) >= MOST_FAILURES:
            return StudyEnded(
                kind="failing",
                reason=f"The last {MOST_FAILURES} trials failed: {failures[-1].reason}",
            )
        return self._stagnation(trials)

    def hold(self, worker: int, devices: int) -> None:
        """From now on ``worker`` holds so many devices, until the run ends."""
        self._device_seconds, self._counted_at = self._held(), self._clock.now()
        self._devices[worker] = devices

    def time_spent(self) -> StudyEnded | None:
        """The reason where the study has run, or held devices, for as long as it may."""
        if self._hours_left() <= 0:
            return StudyEnded(
                kind="hours", reason=f"The {self._plan.hours:g} hours of the study are over."
            )
        if self._device_seconds_left() <= 0:
            return StudyEnded(
                kind="accelerator_hours",
                reason=f"The {self._plan.accelerator_hours:g} accelerator-hours of the study "
                "are over.",
            )
        return None

    def trials_spent(self) -> StudyEnded:
        """The reason where all trials have been begun."""
        return StudyEnded(
            kind="trials", reason=f"All {self._plan.trials} trials of the study are done."
        )

    def seconds_left(self) -> float:
        """Until a limit of time is reached, if there is one."""
        devices = max(1, sum(self._devices.values()))
        return min(self._hours_left(), self._device_seconds_left() / devices)

    def keep(self) -> None:
        """Write down how long the study has run this time, and held devices."""
        self._storage.keep_seconds(self._running(), self._held())
        if self._plan.accelerator_hours is not None:
            # Other supervisors hold devices too.
            self._elsewhere = self._storage.device_seconds_elsewhere()

    def _hours_left(self) -> float:
        """In seconds."""
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
        """Whether the last trials have added nothing worth their time."""
        stop = self._plan.stop_when
        if stop is None:
            return None
        told = [trial for trial in trials if trial.state not in ("running", "failed")]
        told.sort(key=lambda trial: (str(trial.ended), trial.number))
        if len(told) <= stop.trials:
            return None
        before = self._covered(told[: -stop.trials])
        now = self._covered(told)
        if before <= 0 or now - before >= stop.growth * before:
            return None
        return StudyEnded(
            kind="stagnation",
            reason=f"The hypervolume grew by less than {stop.growth:.3%} in the last "
            f"{stop.trials} trials.",
        )

    def _covered(self, trials: Sequence[Trial]) -> float:
        points: list[Measurement] = [
            trial.measurement
            for trial in trials
            if trial.state == "complete" and trial.measurement is not None
        ]
        objective = Objective(self._plan.directions[0])
        return hypervolume(points, self._storage.reference, objective)


def _failures_at_the_end(trials: Sequence[Trial]) -> list[Trial]:
    """The failed trials since the last one that did not fail."""
    failures: list[Trial] = []
    for trial in trials:
        if trial.state == "failed":
            failures.append(trial)
        elif trial.state != "running":
            failures = []
    return failures
