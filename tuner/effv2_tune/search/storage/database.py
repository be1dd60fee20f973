"""Stores a study in a database: an Optuna study with a record of each trial."""

from __future__ import annotations

import contextlib
import itertools
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, RDBStorage, get_storage
from optuna.storages._rdb.models import BaseModel

from effv2_tune.errors import EXIT_FAILED, TuneError
from effv2_tune.host import install_command
from effv2_tune.search.restatement import with_newest_times
from effv2_tune.search.storage import records
from effv2_tune.search.storage.activity import CONFIRM_SECONDS, SECONDS, SUPERVISOR
from effv2_tune.search.storage.backup import write_backup
from effv2_tune.search.storage.base import (
    OURS,
    BudgetSpentError,
    LeaseLostError,
    TrialNumberTakenError,
)
from effv2_tune.search.storage.consistency import contradictions
from effv2_tune.search.storage.damage import DamagedError
from effv2_tune.search.storage.database_errors import reason_of
from effv2_tune.search.storage.facts import BUCKET, Facts, bucket_times, data_facts, versions
from effv2_tune.search.storage.leases import LEASES, METADATA, Leases, Owner
from effv2_tune.search.storage.optuna_study import create_study, end_trial, name_objectives
from effv2_tune.search.storage.optuna_trials import check_optuna_trials
from effv2_tune.search.storage.outages import (
    ENDING_SECONDS,
    RETRY_SECONDS,
    Retries,
    is_permanent,
    is_temporary,
    retried,
    retried_storage,
)
from effv2_tune.search.storage.records import (
    DUPLICATE,
    RECORD,
    RecordReader,
    add_checksum,
    is_in_budget,
    is_sampled,
)
from effv2_tune.search.storage.urls import without_password
from effv2_tune.search.workload import BucketTime

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from optuna.trial import FrozenTrial, TrialState

    from effv2_tune.search.events import StudyEnded
    from effv2_tune.study.bucket import BucketKey, DataFacts
    from effv2_tune.study.plan import Direction
    from effv2_tune.study.space import Space
    from effv2_tune.study.trial import Environment, Trial
    from effv2_tune.workers.messages import Ready

#: How long SQLite waits for a lock before the operation counts as failed, and is retried.
_BUSY_SECONDS = 5.0
#: How long opening a database is tried; an SQLite file may be locked for longer.
_OPEN_SECONDS = 10.0
_LOCKED_SECONDS = 60.0
#: Options of libpq that end a connection to a server that is gone without a word.
_DEAD_PEER_OPTIONS = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}


#: The fact that holds the time of the reference kernel; one of another kernel has another name.
REFERENCE_KERNEL = "reference_kernel_2"


class DatabaseStorage:
    """A study in SQLite or in any database that Optuna's RDB storage takes.

    Args:
        url: The database.
        name: The study; created if there is none of that name.
        directions: Which way is better, for quality and for seconds.
        limit: The largest number of trials, duplicates, retries and replicates excluded; None for
            no limit.
        expiry_seconds: Seconds without renewal after which a lease of another machine expires.
        backup: File for backups of an SQLite database.
        retry_seconds: How long the database may be unavailable before an operation fails.

    Attributes:
        study_name: As given.
        optuna: Optuna's view of the database.
        retries: Repeats each operation while the database is unavailable.
    """

    def __init__(
        self,
        url: str,
        name: str,
        directions: tuple[Direction, Direction] = ("maximize", "minimize"),
        *,
        limit: int | None = None,
        expiry_seconds: float = 60.0,
        backup: Path | None = None,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        self.study_name = name
        place = without_password(url).removeprefix("sqlite:///")
        self.retries = Retries(place, seconds=retry_seconds)
        self._rdb = _open(url, limit)
        self.optuna: BaseStorage = retried_storage(get_storage(self._rdb), self.retries)
        create_study(self.optuna, name, directions)
        self._study_id = self.optuna.get_study_id_from_name(name)
        self._leases = Leases(self._rdb.engine, self._study_id, expiry_seconds=expiry_seconds)
        self._rdb.leases = self._leases
        # Nobody could renew a lease in the meantime.
        self.retries.on_failure = self._leases.restart_watch
        self._reader = RecordReader(
            self._rdb.engine, self._study_id, versions=self._leases.versions
        )
        self._facts = Facts(self._rdb.engine, self._study_id, name)
        self.retries(self._facts.add_checksums)
        self._ids: dict[int, int] = {}
        self._duplicates: set[int] = set()
        self._backup = backup
        self._session = f"{time.time_ns():x}"
        self.tick_seconds = min(5.0, expiry_seconds / 4)

    def name_objectives(self, names: Sequence[str]) -> None:
        """Name quality and seconds for Optuna's own tools, such as optuna-dashboard."""
        name_objectives(self.optuna, self._study_id, names)

    @retried
    def trials(self) -> Sequence[Trial]:
        """Every trial by number, with the newest step times; see :class:`TrialStore`."""
        trials = self._reader.trials()
        facts = self._facts.read()
        return with_newest_times(trials, bucket_times(facts), data_facts(facts))

    @retried
    def recorded_trials(self) -> Sequence[Trial]:
        """Every trial by number, as it was recorded."""
        return self._reader.trials()

    @retried
    def begin(self, template: FrozenTrial, number: int) -> None:
        """Begin a trial, with its lease; see :class:`TrialStore`."""
        self._rdb.next_number = number
        try:
            # Locks first: where this fails inside of Optuna, it retries by itself for a while.
            self._rdb.scoped_session().execute(records.locked_study(self._study_id))
            self.optuna.create_new_trial(self._study_id, template)
        finally:
            self._rdb.next_number = None
            self._rdb.scoped_session.remove()

    @retried
    def save(self, trial: Trial) -> None:
        """Keep the progress of a running trial."""
        with self._leased(trial.number) as (trial_id, session):
            self._leases.confirm(session, trial_id)
            self.optuna.set_trial_user_attr(trial_id, RECORD, add_checksum(trial))
            is_extra = not is_in_budget(trial)
            if is_extra != (trial.number in self._duplicates):
                self.optuna.set_trial_user_attr(trial_id, DUPLICATE, is_extra)
                self._duplicates ^= {trial.number}

    def finish(self, trial: Trial) -> None:
        """Record the outcome of a trial: our record first, Optuna's state and the lease second.

        After a crash between the two, the next owner of the trial finds its record complete.
        """
        self.save(trial)
        attempts = itertools.count()

        def end() -> None:
            if next(attempts) and self._has_ended_as(trial):
                return  # the answer to an earlier attempt was lost
            with self._leased(trial.number) as (trial_id, _):
                # Ends the lease in the same transaction: see _LeasedStorage.
                end_trial(self.optuna, trial_id, trial)

        self.retries(end)

    def pause(self, trial: Trial) -> None:
        """Keep the record of a paused trial and give back its lease; see :class:`TrialStore`."""
        attempts = itertools.count()

        def pause() -> None:
            if next(attempts) and self._is_recorded_as(trial):
                return  # the answer to an earlier attempt was lost
            with self._leased(trial.number) as (trial_id, session):
                self._leases.pause(session, trial_id)
                self.optuna.set_trial_user_attr(trial_id, RECORD, add_checksum(trial))

        self.retries(pause)
        self._leases.forget(self._trial_id(trial.number))

    @retried
    def take_paused(self, trial: Trial) -> None:
        """Take over a paused trial and replace its record; see :class:`TrialStore`."""
        with self._leased(trial.number) as (trial_id, session):
            self._leases.take_paused(session, trial_id)
            self.optuna.set_trial_user_attr(trial_id, RECORD, add_checksum(trial))
        self._leases.own(trial_id)

    def claim(self, among: Collection[int] | None = None) -> int | None:
        """Take over a running trial that has no owner; None where there is none."""
        number = self._claim(among)
        if number is not None and self.trial_attribute(number, DUPLICATE):
            self._duplicates.add(number)
        return number

    @retried
    def _claim(self, among: Collection[int] | None) -> int | None:
        running = self._unfinished(among)
        lease_states = self._leases.lease_states(running.values())
        for number, trial_id in sorted(running.items()):
            if lease_states.get(trial_id) == "free" and self._leases.claim(trial_id):
                return number
        return None

    @retried
    def has_unowned(self, among: Collection[int] | None = None) -> bool:
        """Whether there is such a trial, or one whose owner may turn out to be dead."""
        running = self._unfinished(among)
        return not {"free", "unknown"}.isdisjoint(
            self._leases.lease_states(running.values()).values()
        )

    @retried
    def held_elsewhere(self, among: Collection[int] | None = None) -> list[int]:
        """Numbers of the running trials whose other owners are alive."""
        running = self._unfinished(among)
        lease_states = self._leases.lease_states(running.values())
        return sorted(n for n, trial_id in running.items() if lease_states.get(trial_id) == "held")

    def _unfinished(self, among: Collection[int] | None) -> dict[int, int]:
        """Trial ids of the running trials by number, of those in ``among`` if it is given."""
        running = self._reader.unfinished()
        return {n: i for n, i in running.items() if among is None or n in among}

    @retried
    def renew(self, numbers: Sequence[int]) -> list[int]:
        """Renew leases; returns the trials that another supervisor has taken over."""
        by_id = {self._trial_id(number): number for number in numbers}
        return [by_id[trial_id] for trial_id in self._leases.renew(by_id)]

    @retried
    def release_all(self) -> None:
        """Give back every lease of this supervisor, so that others can claim its trials."""
        self._leases.release_all()

    def bind(
        self, ready: Ready, target_devices: int | None = None, *, is_timed: bool = True
    ) -> None:
        """Check that a worker has the device, backend and images; see :class:`StudyFacts`."""
        if is_timed:
            self._bind_device(ready.environment, target_devices)
        self._bind_images(ready.data)
        if is_timed:
            self._bind_placement(ready.environment, target_devices)

    def _bind_device(self, here: Environment, target_devices: int | None) -> None:
        """Check that a worker has the device of the trials before."""
        study = f"Study {self.study_name}"
        devices = target_devices or here.device_count
        kind = self.keep_once("device_kind", here.device_kind)
        if here.device_kind != kind:
            raise TuneError(
                f"{study} was measured on {kind}, and this machine's device is {here.device_kind}: "
                "training times on different devices are not comparable.",
                hint="Start a new study on this machine: --out another folder. On a cluster, "
                "'target: {devices: 1, device: NAME}' measures step times on one kind of device, "
                "and lets others train.",
            )
        if here.hardware == "cpu" and here.device_count == devices:
            # A CPU's steps take as long as it has threads for them.
            threads = self.keep_once("threads", here.threads)
            if here.threads != threads:
                raise TuneError(
                    f"{study} was measured with {threads} CPU threads for each worker, and here a "
                    f"worker has {here.threads}: their training times are not comparable.",
                    hint="Use as many workers and processors as before, or start a new study: "
                    "--out another folder.",
                )

    def _bind_images(self, here: DataFacts) -> None:
        """Check that a worker has the images of the trials before."""
        data = self.keep_once("data", here.model_dump(mode="json"))
        if here.digest != data["digest"]:
            raise TuneError(
                f"The images differ from those of study {self.study_name}: their digest is "
                f"{here.digest[:12]} and was {data['digest'][:12]}.",
                hint="Restore the images, or start a new study: --out another folder.",
            )

    def _bind_placement(self, here: Environment, target_devices: int | None) -> None:
        """Check that a worker has as many devices as those of the trials before, and their backend.

        A study of an earlier version lacks these two. They come last, so that it does not get them
        from a machine that is refused.
        """
        study, kind = f"Study {self.study_name}", here.device_kind
        devices = target_devices or here.device_count
        count = self.keep_once("device_count", devices)
        backend = self.keep_once("backend", here.backend)
        if devices != count:
            raise TuneError(
                f"{study} was measured on {count} x {kind} for each worker, and here a worker has "
                f"{devices} x {kind}: their training times are not comparable.",
                hint=f"Give each worker {count} of them, or start a new study: --out another "
                "folder.",
            )
        if here.backend != backend:
            raise TuneError(
                f"{study} was measured with {backend}, and here workers train with {here.backend}: "
                "their training times are not comparable.",
                hint=f"Write 'backend: {backend}' in the study file, or start a new study: --out "
                "another folder.",
            )

    @retried
    def data_facts(self) -> DataFacts | None:
        """Facts of the images; None before a worker was ready."""
        return data_facts(self._facts.read())

    @retried
    def bucket_time(self, bucket: BucketKey) -> BucketTime | None:
        """The step time of a bucket, if it has been measured."""
        known = versions(self._facts.read(), f"{BUCKET}{bucket.digest}")
        return BucketTime.from_plain(known[-1]) if known else None

    @retried
    def bucket_times(self) -> Mapping[str, BucketTime]:
        """The step times of all buckets that have been measured; see :class:`StudyFacts`."""
        return {digest: known[-1] for digest, known in bucket_times(self._facts.read()).items()}

    def keep_bucket_time(self, bucket: BucketKey, time: BucketTime) -> BucketTime:
        """Keep the step time of a bucket unless it has one; returns the one that counts."""
        self.keep_once(f"{BUCKET}{bucket.digest}", time.model_dump())
        kept = self.bucket_time(bucket)
        if kept is None:
            raise AssertionError("it has just been kept")
        return kept

    @retried
    def restate_bucket_time(
        self, bucket: BucketKey, time: BucketTime, *, replaces: BucketTime
    ) -> BucketTime:
        """Add a version of the step time of a bucket; see :class:`StudyFacts`."""
        key = f"{BUCKET}{bucket.digest}"
        newest = self._facts.restate(key, time.model_dump(), replaces=replaces.model_dump())
        return BucketTime.from_plain(newest)

    def reference_seconds(self) -> float | None:
        """Time of the reference kernel on the quiet machine, once measured."""
        kept = self.attributes().get(OURS + REFERENCE_KERNEL)
        return None if kept is None else float(kept)

    def keep_reference_seconds(self, seconds: float) -> None:
        """Keep that of the first quiet measurement."""
        self.keep_once(REFERENCE_KERNEL, seconds)

    def seconds_before(self) -> float:
        """How long the study has run, this run excluded."""
        return self._of_other_sessions("seconds")

    def device_seconds_elsewhere(self) -> float:
        """Device-seconds of the study, those of this run excluded."""
        return self._of_other_sessions("device_seconds")

    def keep_seconds(self, seconds: float, device_seconds: float) -> None:
        """Keep the duration and the device-seconds of this run."""
        self.keep(f"{SECONDS}{self._session}", round(seconds, 3))
        self.keep(f"device_seconds:{self._session}", round(device_seconds, 3))

    def confirm_seconds_before(self) -> float:
        """How long replicates have been trained, this run excluded."""
        return self._of_other_sessions(CONFIRM_SECONDS.removesuffix(":"))

    def keep_confirm_seconds(self, seconds: float) -> None:
        """Keep how long this run has trained replicates."""
        self.keep(f"{CONFIRM_SECONDS}{self._session}", round(seconds, 3))

    @contextlib.contextmanager
    def supervised(self) -> Iterator[None]:
        """Record that this process runs the study, until it leaves."""
        key = f"{SUPERVISOR}{self._session}"
        self.keep(key, asdict(Owner.of_this_process()))
        try:
            yield
        finally:
            # Without the database, whoever reads it notices when the process has ended.
            self.stop_waiting()
            with contextlib.suppress(sa.exc.SQLAlchemyError, StorageInternalError, TuneError):
                self.keep(key, None)

    def _of_other_sessions(self, quantity: str) -> float:
        prefix = f"{OURS}{quantity}:"
        return sum(
            float(value)
            for key, value in self.attributes().items()
            if key.startswith(prefix) and key != prefix + self._session
        )

    def keep_end(self, end: StudyEnded | None) -> None:
        """Keep why the study ended; None while it runs."""
        self.keep("ended_by", None if end is None else end.model_dump())

    @retried
    def keep(self, key: str, value: Any) -> None:
        """Keep a fact of the study; it replaces an earlier one of the same key."""
        self._facts.keep(key, value)

    @retried
    def keep_once(self, key: str, value: Any) -> Any:
        """Keep a fact of the study unless it has one of that key; returns the one that counts."""
        return self._facts.keep_once(key, value)

    @retried
    def facts(self) -> dict[str, Any]:
        """The facts of the study, by their keys."""
        return self._facts.read()

    @retried
    def attributes(self) -> dict[str, Any]:
        """The facts of the study, by their keys in Optuna."""
        return {OURS + key: value for key, value in self._facts.read().items()}

    def check_consistency(self, space: Space, directions: tuple[Direction, Direction]) -> list[str]:
        """Compare the facts and Optuna's trials with the records of the trials.

        Args:
            space: The search space.
            directions: Of the objectives.

        Returns:
            A note about each damaged fact that has an intact version.

        Raises:
            DamagedError: They contradict each other, so that later trials would be wrong.
        """
        trials, optuna_trials = self._settled_trials()
        # After the trials: the time of a bucket is kept before the first trial that has it.
        facts, notes = self.retries(self._facts.read_with_notes)
        for sentence in contradictions(
            trials,
            times=bucket_times(facts),
            data=data_facts(facts),
            device_kind=facts.get("device_kind"),
        ):
            raise DamagedError(sentence)
        check_optuna_trials(optuna_trials, trials, space)
        stored = [one.name.lower() for one in self.optuna.get_study_directions(self._study_id)]
        if stored != list(directions):
            raise DamagedError(f"Its objectives are {stored}, and were {list(directions)}.")
        return notes

    def _settled_trials(self) -> tuple[Sequence[Trial], list[FrozenTrial]]:
        """The records, and Optuna's trials, between which no other supervisor has changed any."""
        trials = self.recorded_trials()
        while True:
            optuna_trials = self.optuna.get_all_trials(self._study_id, deepcopy=False)
            before, trials = trials, self.recorded_trials()
            if [(t.state, t.config) for t in before] == [(t.state, t.config) for t in trials]:
                return trials, optuna_trials

    def back_up(self) -> None:
        """Write a backup of an SQLite database; see :func:`write_backup`."""
        if self._backup is not None and self._rdb.engine.dialect.name == "sqlite":
            write_backup(Path(str(self._rdb.engine.url.database)), self._backup)

    def add(self, template: FrozenTrial) -> None:
        """Add a trial of another study; it gets the next number."""
        number = self.optuna.get_n_trials(self._study_id)
        # No other process adds any: it is taken by an earlier attempt whose answer was lost.
        with contextlib.suppress(TrialNumberTakenError):
            self.begin(template, number)

    def delete(self) -> None:
        """Delete the study with its trials and leases."""
        with contextlib.suppress(KeyError):  # likewise
            self.optuna.delete_study(self._study_id)

    def trial_attribute(self, number: int, key: str) -> Any:
        """An attribute of a trial, or None."""
        return self.optuna.get_trial_user_attrs(self._trial_id(number)).get(key)

    @retried
    def is_idle(self) -> bool:
        """Whether no other supervisor runs the study, as far as its leases show."""
        running = self._reader.unfinished()
        return set(self._leases.lease_states(running.values()).values()) <= {"free", "paused"}

    def close(self) -> None:
        """Close the connections to the database."""
        self._rdb.scoped_session.remove()
        self._rdb.engine.dispose()

    def stop_waiting(self) -> None:
        """Wait for an unavailable database for a few seconds only, as the run ends."""
        self.retries.seconds = min(self.retries.seconds, ENDING_SECONDS)

    def _has_ended_as(self, trial: Trial) -> bool:
        """Whether Optuna has ended a trial with exactly this record."""
        stored = self.optuna.get_trial(self._trial_id(trial.number))
        return stored.state.is_finished() and self._is_recorded_as(trial)

    def _is_recorded_as(self, trial: Trial) -> bool:
        """Whether the stored record of a trial is exactly this one."""
        return bool(self.trial_attribute(trial.number, RECORD) == add_checksum(trial))

    def _trial_id(self, number: int) -> int:
        if number not in self._ids:
            self._ids[number] = self.optuna.get_trial_id_from_study_id_trial_number(
                self._study_id, number
            )
        return self._ids[number]

    @contextlib.contextmanager
    def _leased(self, number: int) -> Iterator[tuple[int, Any]]:
        """A transaction for one trial; Optuna's next write joins it and commits both."""
        trial_id = self._trial_id(number)
        try:
            yield trial_id, self._rdb.scoped_session()
        except RuntimeError as error:
            # Optuna raises it where another supervisor has ended the trial.
            raise LeaseLostError(trial_id) from error
        finally:
            self._rdb.scoped_session.remove()


class _LeasedStorage(RDBStorage):
    """Optuna's storage, which begins and ends trials and their leases in one transaction.

    It has one session per thread: statements that are executed in it before those of Optuna are
    committed, or rolled back, together with them.
    """

    leases: Leases | None = None
    limit: int | None = None
    next_number: int | None = None

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """End a trial, if it is running, only as the owner of its lease."""
        if state.is_finished() and self.leases is not None:
            self.leases.end(self.scoped_session(), trial_id)
        is_set = super().set_trial_state_values(trial_id, state, values)
        if state.is_finished() and self.leases is not None:
            self.leases.forget(trial_id)
        return is_set

    def delete_study(self, study_id: int) -> None:
        """Delete a study and its leases: SQLite gives the ids of its trials to later trials."""
        self.scoped_session().execute(LEASES.delete().where(LEASES.c.study_id == study_id))
        super().delete_study(study_id)

    def _get_prepared_new_trial(
        self, study_id: int, template_trial: FrozenTrial | None, session: Any
    ) -> Any:
        """Begin a trial with its lease, unless it is sampled and all trials have been begun."""
        # Where transactions do not begin with the write lock (PostgreSQL), others wait here;
        # otherwise two supervisors that count at once would both begin the last trial.
        session.execute(records.locked_study(study_id))
        if self.next_number is not None and self.leases is not None:
            begun = session.execute(records.trial_of(study_id, self.next_number)).one_or_none()
            if begun is not None and self.leases.holds(session, begun.trial_id):
                return begun  # by an earlier attempt whose answer was lost
        is_new = template_trial is None or is_sampled(template_trial.user_attrs)
        spent = self.limit is not None and _count_begun(session, study_id) >= self.limit
        if spent and is_new:
            raise BudgetSpentError
        trial = super()._get_prepared_new_trial(study_id, template_trial, session)
        if self.next_number is not None and trial.number != self.next_number:
            raise TrialNumberTakenError
        is_ended = template_trial is not None and template_trial.state.is_finished()
        if self.leases is not None and not is_ended:
            self.leases.insert(session, int(trial.trial_id))
        return trial


def _count_begun(session: Any, study_id: int) -> int:
    """Trials of a study, duplicates, retries and replicates excluded."""
    statement = sa.text(
        "SELECT count(*) FROM trials t WHERE t.study_id = :study AND NOT EXISTS (SELECT 1 FROM "
        "trial_user_attributes a WHERE a.trial_id = t.trial_id AND a.key = :duplicate "
        "AND a.value_json = 'true')"
    )
    result = session.execute(statement, {"study": study_id, "duplicate": DUPLICATE})
    return int(result.scalar_one())


def _open(url: str, limit: int | None) -> _LeasedStorage:
    """Connect, and create the missing tables."""
    address = sa.make_url(url)
    started, pause = time.monotonic(), 0.05
    while True:
        try:
            rdb = _connect(address)
        except ImportError as error:
            raise TuneError(
                f"The database {without_password(url)} needs a driver that is not installed.",
                hint=f"For PostgreSQL: {install_command('postgres')}, and a URL that starts "
                "with postgresql+psycopg://",
            ) from error
        except (sa.exc.SQLAlchemyError, StorageInternalError) as error:
            # Two supervisors that start at once create the same tables: one of them retries.
            is_locked = address.get_backend_name() == "sqlite" and is_temporary(error)
            seconds = _LOCKED_SECONDS if is_locked else _OPEN_SECONDS
            if is_permanent(error) or time.monotonic() - started > seconds:
                raise TuneError(
                    f"The database {without_password(url)} cannot be opened: "
                    f"{reason_of(error) or str(error).splitlines()[0]}",
                    hint="Check the address, and that the folder can be written to.",
                    exit_code=EXIT_FAILED,
                ) from error
            time.sleep(pause)
            pause = min(pause + 0.05, 1.0)
        else:
            rdb.limit = limit
            return rdb


def _connect(address: sa.URL) -> _LeasedStorage:
    """One attempt."""
    options: dict[str, Any] = {}
    if address.get_backend_name() == "sqlite":
        options["connect_args"] = {"timeout": _BUSY_SECONDS}
        _create_tables(address, options)
    else:
        # A connection that broke while idle is replaced before it is used.
        options["pool_pre_ping"] = True
        if address.get_driver_name() in ("psycopg", "psycopg2"):
            options["connect_args"] = {
                name: value
                for name, value in _DEAD_PEER_OPTIONS.items()
                if name not in address.query
            }
    # Quoted, as Optuna formats the text: it replaces {...}.
    rdb = _LeasedStorage(address.render_as_string(hide_password=False), engine_kwargs=options)
    if rdb.engine.dialect.name == "sqlite":
        _begin_immediately(rdb.engine)
    METADATA.create_all(rdb.engine)
    return rdb


def _create_tables(address: sa.URL, options: dict[str, Any]) -> None:
    """Create all tables of a new SQLite database in one transaction, with their indexes.

    Optuna creates each for itself, and never adds the index of a table that is there. If the disk
    fails in between, there is no unique index of names, and the study is created twice.
    """
    engine = sa.create_engine(address, **options)
    try:
        if not sa.inspect(engine).has_table("studies"):
            _begin_immediately(engine)
            with engine.begin() as connection:
                BaseModel.metadata.create_all(connection)
                METADATA.create_all(connection)
    finally:
        engine.dispose()


def _begin_immediately(engine: sa.Engine) -> None:
    """Take the write lock at the start of every transaction.

    A deferred transaction that reads first and writes later fails without waiting if another one
    has written in between.
    https://docs.sqlalchemy.org/en/20/dialects/sqlite.html#pysqlite-serializable
    """
    engine.dispose()

    @sa.event.listens_for(engine, "connect")
    def _disable_implicit_begin(connection: Any, _: Any) -> None:
        connection.isolation_level = None

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
