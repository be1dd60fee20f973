"""A storage that nothing survives: for simulations and tests of the loop."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from optuna.storages import BaseStorage, InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import TrialState

from effv2_tune.pareto import standard_reference
from effv2_tune.search.storage.database import silence_optuna

if TYPE_CHECKING:
    from collections.abc import Sequence

    from optuna.trial import FrozenTrial

    from effv2_tune.search.events import StudyEnded
    from effv2_tune.search.workload import BucketTime
    from effv2_tune.study.bucket import BucketKey
    from effv2_tune.study.plan import Direction
    from effv2_tune.study.trial import Trial
    from effv2_tune.workers.messages import Ready


class MemoryStorage:
    """A study in memory, for one supervisor; see `database.Storage`.

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
        kinds = {"maximize": StudyDirection.MAXIMIZE, "minimize": StudyDirection.MINIMIZE}
        with silence_optuna():
            self._study_id = self.optuna.create_new_study([kinds[d] for d in directions], name)
        self.tick_seconds = math.inf
        self.reference = standard_reference(directions[0])
        self.end: StudyEnded | None = None
        self._records: dict[int, Trial] = {}
        self._held: set[int] = set()
        self._costs: dict[BucketKey, BucketTime] = {}
        self._seconds: list[float] = [0.0]
        self._device_seconds: list[float] = [0.0]

    def trials(self) -> Sequence[Trial]:
        """Every trial by number."""
        return list(self._records.values())

    def begin(self, drawn: FrozenTrial, number: int) -> None:  # noqa: ARG002 - a protocol
        """Begin a trial."""
        self.optuna.create_new_trial(self._study_id, drawn)

    def save(self, trial: Trial) -> None:
        """Keep the progress of a running trial."""
        self._held.add(trial.number)
        self._records[trial.number] = trial

    def finish(self, trial: Trial) -> None:
        """Tell what became of a trial."""
        self._records[trial.number] = trial
        trial_id = self.optuna.get_trial_id_from_study_id_trial_number(self._study_id, trial.number)
        measured = trial.measurement
        if trial.state == "complete" and measured is not None:
            values = (measured.quality, measured.train_seconds)
            self.optuna.set_trial_state_values(trial_id, TrialState.COMPLETE, values)
        elif trial.state == "failed":
            self.optuna.set_trial_state_values(trial_id, TrialState.FAIL)
        else:
            if trial.state == "infeasible":
                self.optuna.set_trial_system_attr(trial_id, "constraints:fits", 1.0)
            self.optuna.set_trial_state_values(trial_id, TrialState.PRUNED)

    def claim(self) -> int | None:
        """Take over a trial of an earlier run that has not ended."""
        for trial in self.optuna.get_all_trials(
            self._study_id, deepcopy=False, states=(TrialState.RUNNING,)
        ):
            if trial.number not in self._held:
                self._held.add(trial.number)
                return trial.number
        return None

    def has_left_behind(self) -> bool:
        """Whether an earlier run has left a trial."""
        running = self.optuna.get_all_trials(
            self._study_id, deepcopy=False, states=(TrialState.RUNNING,)
        )
        return any(trial.number not in self._held for trial in running)

    def renew(self, numbers: Sequence[int]) -> list[int]:  # noqa: ARG002 - a protocol
        """Nobody else takes a trial over."""
        return []

    def release_all(self) -> None:
        """Let the next run take over what has not ended."""
        self._held.clear()

    def bind(self, ready: Ready) -> None:
        """Any device will do."""

    def bucket_time(self, bucket: BucketKey) -> BucketTime | None:
        """What a bucket costs, if it has been measured."""
        return self._costs.get(bucket)

    def keep_bucket_time(self, bucket: BucketKey, cost: BucketTime) -> BucketTime:
        """Keep what a bucket costs, and return what counts: the first that was kept."""
        return self._costs.setdefault(bucket, cost)

    def seconds_before(self) -> float:
        """How long the study has run, apart from this time."""
        self._seconds.append(0.0)
        self._device_seconds.append(0.0)
        return sum(self._seconds)

    def device_seconds_elsewhere(self) -> float:
        """Seconds for which devices were held, apart from those that this run holds."""
        return sum(self._device_seconds[:-1])

    def keep_seconds(self, seconds: float, device_seconds: float) -> None:
        """Keep how long it has run this time, and for how long it has held devices."""
        self._seconds[-1] = seconds
        self._device_seconds[-1] = device_seconds

    def keep_end(self, end: StudyEnded | None) -> None:
        """Keep why the study ended; none while it runs."""
        self.end = end
