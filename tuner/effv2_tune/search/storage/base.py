"""Defines the storage of a study: its trials, their leases, and the facts of the study itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

    from effv2_tune.search.events import StudyEnded
    from effv2_tune.search.workload import BucketTime
    from effv2_tune.study.bucket import BucketKey, DataFacts
    from effv2_tune.study.trial import Trial
    from effv2_tune.workers.messages import Ready

#: Prefix of the attributes that this package adds to an Optuna study or trial.
OURS = "effv2_tune:"
#: Optuna's constraint that an infeasible trial violates.
FITS = "fits"
#: The token in the lease of a trial that is paused, and so has no supervisor.
PAUSED = "paused"
#: Optuna's state of an ended trial, by ours. Samplers never see FAIL, but learn from PRUNED.
_OPTUNA_STATES = {
    "complete": "COMPLETE",
    "pruned": "PRUNED",
    "infeasible": "PRUNED",
    "diverged": "PRUNED",
    "failed": "FAIL",
}


def optuna_state_name(trial: Trial) -> str:
    """The name of Optuna's state of a trial.

    A replicate ends without values, so that it is on no Pareto front that Optuna computes.
    """
    if trial.state == "complete" and trial.replicate_of is not None:
        return "PRUNED"
    return _OPTUNA_STATES.get(trial.state, "RUNNING")


def optuna_values(trial: Trial) -> tuple[float, float] | None:
    """Quality and seconds of a complete trial; None for any other, and for a replicate."""
    if optuna_state_name(trial) != "COMPLETE" or trial.measurement is None:
        return None
    return trial.measurement.quality, trial.measurement.train_seconds


class BudgetSpentError(Exception):
    """All trials of the study have been begun, here or by other supervisors."""


class TrialNumberTakenError(Exception):
    """Another supervisor has meanwhile begun the trial of that number."""


class LeaseLostError(Exception):
    """Another supervisor has taken the trial over; results of this one are void."""


class TrialStore(Protocol):
    """The trials of a study, in Optuna's form and as records.

    Attributes:
        study_name: Of the study, in Optuna's form.
        optuna: Optuna's view of the storage.
    """

    study_name: str
    optuna: BaseStorage

    def trials(self) -> Sequence[Trial]:
        """Every trial by number, those of other supervisors included.

        Training seconds follow from the newest step times of the buckets.
        """

    def begin(self, template: FrozenTrial, number: int) -> None:
        """Begin a trial, with its lease.

        Args:
            template: Its parameters.
            number: The number that they were sampled for.

        Raises:
            TrialNumberTakenError: Another supervisor has begun that one.
            BudgetSpentError: All trials of the study have been begun.
        """

    def save(self, trial: Trial) -> None:
        """Keep the progress of a running trial.

        Raises:
            LeaseLostError: Another supervisor has taken it over.
        """

    def pause(self, trial: Trial) -> None:
        """Keep the record of a paused trial and give back its lease, both or neither.

        No supervisor claims it as long as it is paused.

        Raises:
            LeaseLostError: Another supervisor has taken it over.
        """

    def take_paused(self, trial: Trial) -> None:
        """Take over a paused trial and replace its record, both or neither.

        Args:
            trial: The record from now on: running again, or ended, to be finished next.

        Raises:
            LeaseLostError: It is paused no longer: another supervisor has taken it over.
        """

    def finish(self, trial: Trial) -> None:
        """Record the outcome of a trial, once and for all.

        Raises:
            LeaseLostError: Another supervisor has taken it over.
        """


class LeaseKeeper(Protocol):
    """The leases of a study, as one supervisor sees them.

    Attributes:
        tick_seconds: Seconds between two renewals.
    """

    tick_seconds: float

    def claim(self, among: Collection[int] | None = None) -> int | None:
        """Take over a running trial that has no owner; None where there is none.

        A paused trial has no owner either, and is not taken over here.

        Args:
            among: Numbers of trials; all if left out, here and below.
        """

    def has_unowned(self, among: Collection[int] | None = None) -> bool:
        """Whether there is such a trial, or one whose owner may turn out to be dead."""

    def held_elsewhere(self, among: Collection[int] | None = None) -> list[int]:
        """Numbers of the running trials whose other owners are alive."""

    def renew(self, numbers: Sequence[int]) -> list[int]:
        """Renew leases; returns the trials that another supervisor has taken over."""

    def release_all(self) -> None:
        """Give back every lease of this supervisor, so that others can claim its trials."""

    def stop_waiting(self) -> None:
        """Wait for an unavailable database for a few seconds only, as the run ends."""


class StudyFacts(Protocol):
    """What a study keeps beside its trials."""

    def bind(
        self, ready: Ready, target_devices: int | None = None, *, is_timed: bool = True
    ) -> None:
        """Check that a worker has the device, backend and images of the trials before.

        Args:
            ready: From the worker.
            target_devices: Devices that trials are timed on; those of the worker if left out.
            is_timed: Whether step times are measured on its device; if not, it may be any.

        Raises:
            TuneError: It has others.
        """

    def data_facts(self) -> DataFacts | None:
        """Facts of the images; None before a worker was ready."""

    def bucket_time(self, bucket: BucketKey) -> BucketTime | None:
        """The step time of a bucket, if it has been measured."""

    def bucket_times(self) -> Mapping[str, BucketTime]:
        """The step times of all buckets that have been measured, by the digest of the bucket."""

    def keep_bucket_time(self, bucket: BucketKey, time: BucketTime) -> BucketTime:
        """Keep the step time of a bucket unless it has one; returns the one that counts."""

    def restate_bucket_time(
        self, bucket: BucketKey, time: BucketTime, *, replaces: BucketTime
    ) -> BucketTime:
        """Replace the step time of a bucket by a new version of it; the earlier ones are kept.

        Args:
            bucket: It has a step time.
            time: The new one.
            replaces: The one that it corrects. If another supervisor has restated it meanwhile,
                that version counts.

        Returns:
            The one that counts.
        """

    def reference_seconds(self) -> float | None:
        """Time of the reference kernel on the quiet machine: the scale of all step times."""

    def keep_reference_seconds(self, seconds: float) -> None:
        """Keep that of the first quiet measurement."""

    def seconds_before(self) -> float:
        """How long the study has run, this run excluded."""

    def device_seconds_elsewhere(self) -> float:
        """Device-seconds of the study, those of this run excluded."""

    def keep_seconds(self, seconds: float, device_seconds: float) -> None:
        """Keep the duration and the device-seconds of this run."""

    def confirm_seconds_before(self) -> float:
        """How long replicates have been trained, this run excluded."""

    def keep_confirm_seconds(self, seconds: float) -> None:
        """Keep how long this run has trained replicates."""

    def keep_end(self, end: StudyEnded | None) -> None:
        """Keep why the study ended; None while it runs."""


class Storage(TrialStore, LeaseKeeper, StudyFacts, Protocol):
    """All that the loop needs of a study's storage."""
