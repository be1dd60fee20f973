"""Stores a study in memory, for simulations and tests of the loop."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from optuna.storages import BaseStorage, InMemoryStorage
from optuna.trial import TrialState

from effv2_tune.search.storage.optuna_study import create_study, end_trial

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from optuna.trial import FrozenTrial

    from effv2_tune.search.events import StudyEnded
    from effv2_tune.search.workload import BucketTime
    from effv2_tune.study.bucket import BucketKey, DataFacts
    from effv2_tune.study.plan import Direction
    from effv2_tune.study.trial import Trial
    from effv2_tune.workers.messages import Ready


class MemoryStorage:
    """A study in memory, for one supervisor; see :class:`effv2_tune.search.storage.base.Storage`.

    Args:
        name: The study.
        directions: Which way is better, for quality and for seconds.

    Attributes:
        study_name: As given.
        optuna: Optuna's view.
        end: Why the study ended.
    """

    def __init__(self, name: str, directions: tuple[Direction, Direction]) -> None:
        self.study_name = name
        self.optuna: BaseStorage = InMemoryStorage()
        create_study(self.optuna, name, directions)
        self._study_id = self.optuna.get_study_id_from_name(name)
        self.tick_seconds = math.inf
        self.end: StudyEnded | None = None
        self._records: dict[int, Trial] = {}
        self._held: set[int] = set()
        self._data: DataFacts | None = None
        self._times: dict[BucketKey, BucketTime] = {}
        self._reference_seconds: float | None = None
        self._seconds: list[float] = [0.0]
        self._device_seconds: list[float] = [0.0]
        self._confirm_seconds: list[float] = [0.0]

    def trials(self) -> Sequence[Trial]:
        """Every trial by number."""
        return list(self._records.values())

    def begin(self, template: FrozenTrial, number: int) -> None:  # noqa: ARG002 - a protocol
        """Begin a trial."""
        self.optuna.create_new_trial(self._study_id, template)

    def save(self, trial: Trial) -> None:
        """Keep the progress of a running trial."""
        self._held.add(trial.number)
        self._records[trial.number] = trial

    def pause(self, trial: Trial) -> None:
        """Keep the record of a paused trial, which has no owner."""
        self._records[trial.number] = trial
        self._held.discard(trial.number)

    def take_paused(self, trial: Trial) -> None:
        """Replace the record of a paused trial, which has an owner again."""
        self.save(trial)

    def finish(self, trial: Trial) -> None:
        """Record the outcome of a trial."""
        self._records[trial.number] = trial
        trial_id = self.optuna.get_trial_id_from_study_id_trial_number(self._study_id, trial.number)
        end_trial(self.optuna, trial_id, trial)

    def claim(self, among: Collection[int] | None = None) -> int | None:
        """Take over a running trial of an earlier run."""
        number = next(iter(self._unowned(among)), None)
        if number is not None:
            self._held.add(number)
        return number

    def has_unowned(self, among: Collection[int] | None = None) -> bool:
        """Whether an earlier run has left a running trial."""
        return bool(self._unowned(among))

    def held_elsewhere(self, among: Collection[int] | None = None) -> list[int]:  # noqa: ARG002
        """No trial: there is one supervisor."""
        return []

    def renew(self, numbers: Sequence[int]) -> list[int]:  # noqa: ARG002 - a protocol
        """No lease is ever lost: there is one supervisor."""
        return []

    def release_all(self) -> None:
        """Let the next run take over the running trials."""
        self._held.clear()

    def stop_waiting(self) -> None:
        """Nothing is ever waited for."""

    def bind(
        self,
        ready: Ready,
        target_devices: int | None = None,  # noqa: ARG002 - a protocol
        *,
        is_timed: bool = True,  # noqa: ARG002 - a protocol
    ) -> None:
        """Accept any device."""
        self._data = ready.data

    def data_facts(self) -> DataFacts | None:
        """Facts of the images."""
        return self._data

    def bucket_time(self, bucket: BucketKey) -> BucketTime | None:
        """The step time of a bucket, if it has been measured."""
        return self._times.get(bucket)

    def bucket_times(self) -> Mapping[str, BucketTime]:
        """The step times of all buckets that have been measured, by the digest of the bucket."""
        return {bucket.digest: time for bucket, time in self._times.items()}

    def keep_bucket_time(self, bucket: BucketKey, time: BucketTime) -> BucketTime:
        """Keep the step time of a bucket unless it has one; returns the one that counts."""
        return self._times.setdefault(bucket, time)

    def restate_bucket_time(
        self, bucket: BucketKey, time: BucketTime, *, replaces: BucketTime
    ) -> BucketTime:
        """Replace the step time of a bucket if it is still ``replaces``."""
        if self._times[bucket] == replaces:
            self._times[bucket] = time
        return self._times[bucket]

    def reference_seconds(self) -> float | None:
        """Time of the reference kernel on the quiet machine, once measured."""
        return self._reference_seconds

    def keep_reference_seconds(self, seconds: float) -> None:
        """Keep that of the first quiet measurement."""
        self._reference_seconds = self._reference_seconds or seconds

    def seconds_before(self) -> float:
        """How long the study has run, this run excluded."""
        self._seconds.append(0.0)
        self._device_seconds.append(0.0)
        return sum(self._seconds)

    def device_seconds_elsewhere(self) -> float:
        """Device-seconds of the study, those of this run excluded."""
        return sum(self._device_seconds[:-1])

    def keep_seconds(self, seconds: float, device_seconds: float) -> None:
        """Keep the duration and the device-seconds of this run."""
        self._seconds[-1] = seconds
        self._device_seconds[-1] = device_seconds

    def confirm_seconds_before(self) -> float:
        """How long replicates have been trained, this run excluded."""
        self._confirm_seconds.append(0.0)
        return sum(self._confirm_seconds)

    def keep_confirm_seconds(self, seconds: float) -> None:
        """Keep how long this run has trained replicates."""
        self._confirm_seconds[-1] = seconds

    def keep_end(self, end: StudyEnded | None) -> None:
        """Keep why the study ended; None while it runs."""
        self.end = end

    def _unowned(self, among: Collection[int] | None) -> list[int]:
        running = self.optuna.get_all_trials(
            self._study_id, deepcopy=False, states=(TrialState.RUNNING,)
        )
        paused = {number for number, one in self._records.items() if one.state == "paused"}
        free = [one.number for one in running if one.number not in self._held | paused]
        return [number for number in free if among is None or number in among]
