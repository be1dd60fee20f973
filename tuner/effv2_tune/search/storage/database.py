"""Where a study lives: an Optuna study in a database, with our record of each trial in it."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from typing import TYPE_CHECKING, Any, Protocol

import optuna
import sqlalchemy as sa
from optuna.storages import BaseStorage, RDBStorage, get_storage
from optuna.study import StudyDirection
from optuna.trial import TrialState

from effv2_tune.errors import EXIT_FAILED, TuneError
from effv2_tune.files.atomic import replacing
from effv2_tune.host import install_command
from effv2_tune.pareto import standard_reference
from effv2_tune.search.storage import records
from effv2_tune.search.storage.leases import METADATA, LeaseLostError, Leases
from effv2_tune.search.storage.records import (
    DUPLICATE,
    RECORD,
    RecordReader,
    add_checksum,
    is_duplicate,
    read_attributes,
)
from effv2_tune.search.workload import BucketTime
from effv2_tune.study.trial import Measurement

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from optuna.trial import FrozenTrial

    from effv2_tune.pareto.front import QualityDirection
    from effv2_tune.search.events import StudyEnded
    from effv2_tune.study.bucket import BucketKey
    from effv2_tune.study.plan import Direction
    from effv2_tune.study.trial import Trial
    from effv2_tune.workers.messages import Ready

#: Prefix of the study attributes that are ours.
OURS = "effv2_tune:"
_BUSY_SECONDS = 60.0
FITS = "fits"

OPTUNA_STATES = {
    "complete": TrialState.COMPLETE,
    # Told FAIL, the sampler would never learn of them.
    "pruned": TrialState.PRUNED,
    "infeasible": TrialState.PRUNED,
    "diverged": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}


class BudgetSpentError(Exception):
    """All trials of the study have been begun, here or by other supervisors."""


class TrialNumberTakenError(Exception):
    """Another supervisor has begun a trial of that number meanwhile."""


class Storage(Protocol):
    """What the loop needs of a study's storage."""

    #: Seconds between two signs of life.
    tick_seconds: float
    #: Of the hypervolume; fixed before the first trial.
    reference: Measurement

    def trials(self) -> Sequence[Trial]:
        """Every trial by number, those of other supervisors included."""

    def save(self, trial: Trial) -> None:
        """Keep the progress of a running trial.

        Raises:
            LeaseLostError: Another supervisor has taken it over.
        """

    def finish(self, trial: Trial) -> None:
        """Tell what became of a trial, once and for all.

        Raises:
            LeaseLostError: Another supervisor has taken it over.
        """

    def claim(self) -> int | None:
        """Take over a trial that was begun and that nobody works on."""

    def has_left_behind(self) -> bool:
        """Whether there is such a trial, or may turn out to be if one waits."""

    def renew(self, numbers: Sequence[int]) -> list[int]:
        """Show that this supervisor lives; returns the trials that another one has taken over."""

    def release_all(self) -> None:
        """Let anyone take over at once what this supervisor has begun and not ended."""

    def bind(self, ready: Ready) -> None:
        """Hold a worker's device, backend and images against those of the trials before.

        Raises:
            TuneError: They are others.
        """

    def bucket_time(self, bucket: BucketKey) -> BucketTime | None:
        """What a bucket costs, if it has been measured."""

    def keep_bucket_time(self, bucket: BucketKey, cost: BucketTime) -> BucketTime:
        """Keep what a bucket costs, and return what counts: the first that was kept."""

    def seconds_before(self) -> float:
        """How long the study has run, apart from this time."""

    def device_seconds_elsewhere(self) -> float:
        """Seconds for which devices were held, apart from those that this run holds."""

    def keep_seconds(self, seconds: float, device_seconds: float) -> None:
        """Keep how long it has run this time, and for how long it has held devices."""

    def keep_end(self, end: StudyEnded | None) -> None:
        """Keep why the study ended; none while it runs."""


class DatabaseStorage:
    """A study in SQLite or in any database that Optuna's RDB storage takes.

    Args:
        url: The database.
        name: The study; made if there is none of that name.
        directions: Which way is better, for quality and for seconds.
        limit: How many trials may be begun in all, duplicates apart; None for any number.
        expiry_seconds: How long the lease of another machine may go without renewal.
        backup: File that a copy of an SQLite database is kept in.
        backup_every: Told trials between two copies.

    Attributes:
        study_name: As given.
        optuna: Optuna's view of the database.
        created: Whether the study was made just now.
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
        backup_every: int = 5,
    ) -> None:
        self.study_name = name
        self._rdb = _open(url, limit)
        self.optuna: BaseStorage = get_storage(self._rdb)
        self.created = _create(self.optuna, name, directions)
        self._study_id = self.optuna.get_study_id_from_name(name)
        self._leases = Leases(self._rdb.engine, self._study_id, expiry_seconds=expiry_seconds)
        self._rdb.leases = self._leases
        self._reader = RecordReader(self._rdb.engine, self._study_id)
        self._ids: dict[int, int] = {}
        self._duplicates: set[int] = set()
        self._backup = backup
        self._backup_every = backup_every
        self._told = 0
        self._session = f"{time.time_ns():x}"
        self.tick_seconds = min(5.0, expiry_seconds / 4)
        self.reference = self._fixed_reference(directions[0])

    def trials(self) -> Sequence[Trial]:
        """Every trial by number, those of other supervisors included."""
        return self._reader.trials()

    def begin(self, drawn: FrozenTrial, number: int) -> None:
        """Begin a trial, with its lease.

        Args:
            drawn: What it will be.
            number: The number that it was drawn for.

        Raises:
            TrialNumberTakenError: Another supervisor has begun that one.
            BudgetSpentError: All trials of the study have been begun.
        """
        self._rdb.next_number = number
        try:
            self.optuna.create_new_trial(self._study_id, drawn)
        finally:
            self._rdb.next_number = None

    def save(self, trial: Trial) -> None:
        """Keep the progress of a running trial."""
        with self._leased(trial.number) as (trial_id, session):
            self._leases.confirm(session, trial_id)
            self.optuna.set_trial_user_attr(trial_id, RECORD, add_checksum(trial))
            if is_duplicate(trial) != (trial.number in self._duplicates):
                self.optuna.set_trial_user_attr(trial_id, DUPLICATE, is_duplicate(trial))
                self._duplicates ^= {trial.number}

    def finish(self, trial: Trial) -> None:
        """Tell what became of a trial: record first, Optuna's state (and the lease's end) second.

        Killed between the two, the record is found complete by whoever takes the trial over.
        """
        state = OPTUNA_STATES[trial.state]
        measured = trial.measurement if state == TrialState.COMPLETE else None
        values = None if measured is None else (measured.quality, measured.train_seconds)
        self.save(trial)
        with self._leased(trial.number) as (trial_id, _):
            if trial.state == "infeasible":
                self._constrain(trial_id)
            # Ends the lease in the same transaction: see _LeasedStorage.
            self.optuna.set_trial_state_values(trial_id, state, values)
        self._told += 1
        if self._backup is not None and self._told % self._backup_every == 0:
            self.back_up()

    def claim(self) -> int | None:
        """Take over a trial that was begun and that nobody works on."""
        running = self._reader.unfinished()
        lease_states = self._leases.lease_states(running.values())
        for number, trial_id in sorted(running.items()):
            if lease_states.get(trial_id) == "free" and self._leases.claim(trial_id):
                return number
        return None

    def has_left_behind(self) -> bool:
        """Whether there is such a trial, or may turn out to be if one waits."""
        running = self._reader.unfinished()
        return not {"free", "unknown"}.isdisjoint(
            self._leases.lease_states(running.values()).values()
        )

    def renew(self, numbers: Sequence[int]) -> list[int]:
        """Show that this supervisor lives; returns the trials that another one has taken over."""
        by_id = {self._trial_id(number): number for number in numbers}
        return [by_id[trial_id] for trial_id in self._leases.renew(by_id)]

    def release_all(self) -> None:
        """Let anyone take over at once what this supervisor has begun and not ended."""
        self._leases.release_all()

    def bind(self, ready: Ready) -> None:
        """Hold a worker's device, backend and images against those of the trials before."""
        where, study = ready.environment, f"Study {self.study_name}"
        kind = self.keep_once("device_kind", where.device_kind)
        _refuse_another(
            kind,
            where.device_kind,
            f"{study} was measured on {kind}, and this machine's device is {where.device_kind}: "
            "times of two kinds of device share no axis.",
            hint="Give this machine a study of its own: --out another folder.",
        )
        if where.hardware == "cpu":
            # A CPU's steps take as long as it has threads for them.
            threads = self.keep_once("threads", where.threads)
            _refuse_another(
                threads,
                where.threads,
                f"{study} was measured with {threads} CPU threads for each worker, and here a "
                f"worker has {where.threads}: their times share no axis.",
                hint="Go on with as many workers, on as many processors, as before; or give these "
                "a study of their own: --out another folder.",
            )
        data = self.keep_once("data", ready.data.model_dump(mode="json"))
        _refuse_another(
            data["digest"],
            ready.data.digest,
            f"The images are not those that study {self.study_name} began with: their digest is "
            f"{ready.data.digest[:12]}, and was {data['digest'][:12]}.",
            hint="Put the images back, or begin a new study: --out another folder.",
        )
        # A study of an earlier version has not kept these two. They come last, so that it does not
        # take them from a machine that is refused.
        count = self.keep_once("device_count", where.device_count)
        backend = self.keep_once("backend", where.backend)
        _refuse_another(
            count,
            where.device_count,
            f"{study} was measured on {count} x {kind} for each worker, and here a worker has "
            f"{where.device_count} x {kind}: their times share no axis.",
            hint=f"Give each worker {count} of them, as before; or give these a study of their "
            "own: --out another folder.",
        )
        _refuse_another(
            backend,
            where.backend,
            f"{study} was measured with {backend}, and here workers train with {where.backend}: "
            "their times share no axis.",
            hint=f"Write 'backend: {backend}' in the study file; or begin a new study: --out "
            "another folder.",
        )

    def bucket_time(self, bucket: BucketKey) -> BucketTime | None:
        """What a bucket costs, if it has been measured."""
        found = self.attributes().get(f"{OURS}bucket:{bucket.digest}")
        return None if found is None else BucketTime.model_validate(found)

    def keep_bucket_time(self, bucket: BucketKey, cost: BucketTime) -> BucketTime:
        """Keep what a bucket costs, and return what counts: the first that was kept."""
        kept = self.keep_once(f"bucket:{bucket.digest}", cost.model_dump())
        return BucketTime.model_validate(kept)

    def seconds_before(self) -> float:
        """How long the study has run, apart from this time."""
        return self._of_other_sessions("seconds")

    def device_seconds_elsewhere(self) -> float:
        """Seconds for which devices were held, apart from those that this run holds."""
        return self._of_other_sessions("device_seconds")

    def keep_seconds(self, seconds: float, device_seconds: float) -> None:
        """Keep how long it has run this time, and for how long it has held devices."""
        self.keep(f"seconds:{self._session}", round(seconds, 3))
        self.keep(f"device_seconds:{self._session}", round(device_seconds, 3))

    def _of_other_sessions(self, what: str) -> float:
        prefix = f"{OURS}{what}:"
        return sum(
            float(value)
            for key, value in self.attributes().items()
            if key.startswith(prefix) and key != prefix + self._session
        )

    def keep_end(self, end: StudyEnded | None) -> None:
        """Keep why the study ended; none while it runs."""
        self.keep("ended_by", None if end is None else end.model_dump())

    def keep(self, key: str, value: Any) -> None:
        """Keep a fact of the study, in place of what was kept under ``key``."""
        self.optuna.set_study_user_attr(self._study_id, OURS + key, value)

    def keep_once(self, key: str, value: Any) -> Any:
        """Keep a fact that never changes, and return what counts: the first that was kept."""
        table, key = records.STUDY_ATTRIBUTES, OURS + key
        mine = sa.and_(table.c.study_id == self._study_id, table.c.key == key)
        row = sa.select(
            sa.literal(self._study_id), sa.literal(key), sa.literal(json.dumps(value))
        ).where(~sa.exists().where(mine))
        # Another supervisor may keep its own at the same moment: then that one counts.
        with contextlib.suppress(sa.exc.IntegrityError), self._rdb.engine.begin() as connection:
            connection.execute(table.insert().from_select(["study_id", "key", "value_json"], row))
        return self.attributes()[key]

    def attributes(self) -> dict[str, Any]:
        """The facts of the study, by the keys that Optuna knows them under."""
        return read_attributes(self._rdb.engine, self._study_id)

    def back_up(self) -> None:
        """Copy an SQLite database by its own means, which see no half-written page."""
        if self._backup is None or self._rdb.engine.dialect.name != "sqlite":
            return
        with (
            replacing(self._backup) as unfinished,
            contextlib.closing(sqlite3.connect(str(self._rdb.engine.url.database))) as source,
            contextlib.closing(sqlite3.connect(unfinished.name)) as target,
        ):
            source.backup(target)

    def add(self, template: FrozenTrial) -> None:
        """Take over a trial of another study; it gets the next number."""
        self.optuna.create_new_trial(self._study_id, template)

    def trial_attribute(self, number: int, key: str) -> Any:
        """A fact of a trial, or None."""
        return self.optuna.get_trial_user_attrs(self._trial_id(number)).get(key)

    def is_idle(self) -> bool:
        """Whether no supervisor is known, or may turn out, to work on the study."""
        running = self._reader.unfinished()
        return set(self._leases.lease_states(running.values()).values()) <= {"free"}

    def close(self) -> None:
        """Let go of the database's connections."""
        self._rdb.scoped_session.remove()
        self._rdb.engine.dispose()

    def _fixed_reference(self, direction: QualityDirection) -> Measurement:
        kept = self.keep_once("reference", standard_reference(direction).model_dump())
        return Measurement.model_validate(kept)

    def _constrain(self, trial_id: int) -> None:
        """Say that a config does not fit, in the way that Optuna's samplers learn from."""
        study = optuna.load_study(study_name=self.study_name, storage=self.optuna)
        trial = optuna.trial.Trial(study, trial_id)
        if FITS not in trial.constraints:
            trial.set_constraint(FITS, 1.0)

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
            # What Optuna raises where another supervisor has told the trial already.
            raise LeaseLostError(trial_id) from error
        finally:
            self._rdb.scoped_session.remove()


class _LeasedStorage(RDBStorage):
    """Optuna's storage, whose new and told trials carry their lease in the same transaction.

    Its sessions are one per thread: what is executed in one before Optuna's own statements is
    committed, or undone, together with them.
    """

    leases: Leases | None = None
    limit: int | None = None
    next_number: int | None = None

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """End a trial only in the hands of whoever holds its lease."""
        if state.is_finished() and self.leases is not None:
            self.leases.end(self.scoped_session(), trial_id)
        return super().set_trial_state_values(trial_id, state, values)

    def _get_prepared_new_trial(
        self, study_id: int, template_trial: FrozenTrial | None, session: Any
    ) -> Any:
        """Begin a trial and take its lease, unless all trials have been begun."""
        # Where transactions do not begin with the write lock (PostgreSQL), others wait here: else
        # two supervisors that count at once would both begin the last trial.
        session.execute(records.locked_study(study_id))
        if self.limit is not None and _count_begun(session, study_id) >= self.limit:
            raise BudgetSpentError
        trial = super()._get_prepared_new_trial(study_id, template_trial, session)
        if self.next_number is not None and trial.number != self.next_number:
            raise TrialNumberTakenError
        if self.leases is not None:
            self.leases.insert(session, int(trial.trial_id))
        return trial


def _count_begun(session: Any, study_id: int) -> int:
    """Trials of a study, those apart that were answered from the record."""
    statement = sa.text(
        "SELECT count(*) FROM trials t WHERE t.study_id = :study AND NOT EXISTS (SELECT 1 FROM "
        "trial_user_attributes a WHERE a.trial_id = t.trial_id AND a.key = :duplicate "
        "AND a.value_json = 'true')"
    )
    found = session.execute(statement, {"study": study_id, "duplicate": DUPLICATE})
    return int(found.scalar_one())


def _open(url: str, limit: int | None) -> _LeasedStorage:
    """Connect, and make the tables that are missing."""
    is_sqlite = url.startswith("sqlite")
    arguments = {"connect_args": {"timeout": _BUSY_SECONDS}} if is_sqlite else {}
    attempts = 20
    for attempt in range(attempts):
        try:
            rdb = _LeasedStorage(url, engine_kwargs=dict(arguments))
            if is_sqlite:
                _begin_immediately(rdb.engine)
            METADATA.create_all(rdb.engine)
        except ImportError as error:
            raise TuneError(
                f"The database {_without_password(url)} needs a driver that is not installed.",
                hint=f"For PostgreSQL: {install_command('postgres')}, and a URL that starts "
                "with postgresql+psycopg://",
            ) from error
        except (sa.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
            # Two supervisors that start at once make the same tables: one of them tries again.
            if attempt == attempts - 1:
                raise TuneError(
                    f"The database {_without_password(url)} cannot be opened: "
                    f"{str(error).splitlines()[0]}",
                    hint="Check the address, and that the folder can be written to.",
                    exit_code=EXIT_FAILED,
                ) from error
            time.sleep(0.05 * (1 + attempt))
        else:
            rdb.limit = limit
            return rdb
    raise AssertionError


def _begin_immediately(engine: sa.Engine) -> None:
    """Let every transaction take the write lock at its start.

    A deferred transaction that reads first and writes later fails at once, without waiting, where
    another has written in between.
    https://docs.sqlalchemy.org/en/20/dialects/sqlite.html#pysqlite-serializable
    """
    engine.dispose()

    @sa.event.listens_for(engine, "connect")
    def _leave_transactions_to_us(connection: Any, _: Any) -> None:
        connection.isolation_level = None

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _create(storage: BaseStorage, name: str, directions: tuple[Direction, Direction]) -> bool:
    """Make the study unless there is one."""
    kinds = {"maximize": StudyDirection.MAXIMIZE, "minimize": StudyDirection.MINIMIZE}
    with silence_optuna():
        try:
            storage.create_new_study([kinds[d] for d in directions], name)
        except optuna.exceptions.DuplicatedStudyError:
            return False
    return True


@contextlib.contextmanager
def silence_optuna() -> Iterator[None]:
    """Optuna without its remarks on stderr."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def _refuse_another(kept: object, found: object, sentence: str, *, hint: str) -> None:
    """Refuse to go on where what is found is not what the study has kept.

    Raises:
        TuneError: It is another; with the sentence and the way out that are given.
    """
    if found != kept:
        raise TuneError(sentence, hint=hint)


def _without_password(url: str) -> str:
    try:
        return sa.make_url(url).render_as_string(hide_password=True)
    except sa.exc.ArgumentError:
        return url
