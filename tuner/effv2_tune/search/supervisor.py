"""Opens a study in its folder, runs it and logs its events."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import uuid
from typing import TYPE_CHECKING, Any, Literal, Self

import sqlalchemy as sa
from pydantic import ValidationError

from effv2_tune.errors import TuneError
from effv2_tune.files.checkpoint import CheckpointFolder
from effv2_tune.files.remote import RemoteFolder
from effv2_tune.host import usable_bytes
from effv2_tune.interruption import StopRequest, StudyInterrupt, signals_stop
from effv2_tune.search.clock import SystemClock
from effv2_tune.search.engines.action_costs import StudyCosts
from effv2_tune.search.engines.earlier_studies import EarlierStudy
from effv2_tune.search.engines.freeze_thaw import FreezeThawEngine
from effv2_tune.search.engines.keras_tuner import KERAS_TUNER_ENGINES, KerasTunerEngine
from effv2_tune.search.engines.optuna import OptunaEngine
from effv2_tune.search.events import (
    BackupFailed,
    PlanChanged,
    RatesTested,
    RatesTestStarted,
    StudyInterrupted,
    TrialEnded,
    VersionDamaged,
    WorkerReady,
)
from effv2_tune.search.learning_rates import (
    RatesTest,
    find_version,
    key_of_test,
    next_key,
    tests_of,
    version_of,
    with_bounds,
)
from effv2_tune.search.loop import run_study
from effv2_tune.search.mirror.contents import CHECKPOINTS, EVENTS, StudyContents
from effv2_tune.search.mirror.copying import Mirror, StudyIdentity
from effv2_tune.search.mirror.restoration import refuse_other_copy, restore_any
from effv2_tune.search.pausing.disk_space import missing_bytes
from effv2_tune.search.retention import expired_checkpoints
from effv2_tune.search.space_migration import change_space
from effv2_tune.search.storage.backup import (
    BACKUP,
    DATABASE,
    SQLITE_ERRORS,
    has_study,
    refuse_lost_database,
)
from effv2_tune.search.storage.base import OURS
from effv2_tune.search.storage.damage import check_integrity
from effv2_tune.search.storage.database import DatabaseStorage
from effv2_tune.search.storage.database_errors import database_errors
from effv2_tune.search.storage.recorded_times import recorded_study
from effv2_tune.search.storage.records import connected, find_studies
from effv2_tune.search.storage.snapshot import database_url
from effv2_tune.search.storage.urls import without_password
from effv2_tune.search.workload import PlannedWorkload
from effv2_tune.study.batches import check_batches
from effv2_tune.study.continuation import changes_since, refuse_another_study
from effv2_tune.study.plan import StudyPlan
from effv2_tune.workers import MEMORY_SHARE
from effv2_tune.workers.launch import WORKER_COMMAND, WorkerSpec
from effv2_tune.workers.local import local_pool

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path
    from threading import Thread

    from effv2_tune.search.engines.base import Engine
    from effv2_tune.search.events import Event, StudyRestored
    from effv2_tune.study.plan import ConfirmSpec
    from effv2_tune.study.recipe import Recipe
    from effv2_tune.study.space import Config
    from effv2_tune.study.trial import Trial
    from effv2_tune.workers.exits import OomCounter
    from effv2_tune.workers.messages import Ready
    from effv2_tune.workers.silence import SilenceLimits
    from effv2_tune.workers.supervised_pool import SupervisedPool

_FIRST = "first"
_EARLIER = "earlier"
_CLOCK = "clock"
_IDENTITY = "id"
#: Ended trials between two backups.
_BACKUP_EVERY = 5
#: Memory limit of a worker, as a multiple of its part of `MEMORY_SHARE`.
_LEEWAY = 1.2


class OpenStudy:
    """A study that can be run; a context manager, created by :func:`open_study`.

    Args:
        plan: The study file.
        out: Folder of the study.
        base: Folder that the plan's relative paths start from.
        storage: Of the study.
        place: The database, for messages.
        changes: Edits of the plan since the last run.
        notes: Remarks on damaged facts that have an intact version.
        mirror: Where the study is copied to.
        restored: How it was restored, if its folder had none.
        lacks_range_test: Whether the learning rates of its search space have to be tested before a
            trial.

    Attributes:
        plan: As given.
        out: As given.
        storage: As given.
        lacks_range_test: As given.
    """

    def __init__(
        self,
        plan: StudyPlan,
        out: Path,
        *,
        base: Path,
        storage: DatabaseStorage,
        place: str,
        changes: PlanChanged | None = None,
        notes: Sequence[str] = (),
        mirror: Mirror | None = None,
        restored: StudyRestored | None = None,
        lacks_range_test: bool = False,
    ) -> None:
        self.plan = plan
        self.out = out
        self.storage = storage
        self.lacks_range_test = lacks_range_test
        self._base = base
        self._place = place
        self._before: list[Event] = [] if restored is None else [restored]
        self._before += [VersionDamaged(note=note) for note in notes]
        self._before += [] if changes is None else [changes]
        self._mirror = mirror

    def test_rates(
        self, families: Mapping[str, str], test: Callable[[str], RatesTest]
    ) -> Iterator[Event]:
        """Test the learning rates of families of buckets, and keep the bounds that follow.

        A family that was tested by an earlier run, which was interrupted, is not tested again. The
        bounds are in the plan of the study when it is opened the next time.

        Args:
            families: The short name of the bucket to test, by the digest of its family.
            test: Tests a family, given by its digest.

        Raises:
            TuneError: No family learns anything, or the bounds contradict the plan.
        """
        with database_errors(self._place):
            happening = itertools.chain(self._before, self._test_rates(families, test))
            yield from _logged(happening, self.out / EVENTS)

    def _test_rates(
        self, families: Mapping[str, str], test: Callable[[str], RatesTest]
    ) -> Iterator[Event]:
        known = tests_of(self.storage.facts())
        for number, (family, label) in enumerate(families.items(), 1):
            if family not in known:
                yield RatesTestStarted(label=label, number=number, tests=len(families))
                known[family] = test(family)
                # Where there is no proposal, the reason may be fixed before the next run.
                if known[family].maximal is not None:
                    value = known[family].model_dump(mode="json")
                    kept = self.storage.keep_once(key_of_test(family), value)
                    known[family] = RatesTest.from_plain(kept)
        facts = self.storage.facts()
        tested = [known[family] for family in families]
        rates = version_of(self.plan, tested, first=facts.get(_FIRST, ()))
        self.storage.keep_once(next_key(facts), rates.model_dump(mode="json"))
        yield RatesTested(sentence=rates.sentence)

    def __enter__(self) -> Self:
        """It is open already."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the database."""
        self.storage.close()

    def keep_command(self, folder: str, command: str) -> None:
        """Store the command that runs the study, and the folder that it is called in.

        Raises:
            TuneError: The database fails.
        """
        with database_errors(self._place):
            self.storage.keep("command", [folder, command])

    def run(
        self,
        *,
        hardware: Literal["cpu", "gpu", "tpu"],
        backend: Literal["tensorflow", "jax"],
        devices: int = 1,
        devices_per_chip: int = 1,
        worker_command: Sequence[str] = WORKER_COMMAND,
        before_workers: Callable[[], Iterable[Event]] = tuple,
        stop: StopRequest | None = None,
        oom_counter: OomCounter | None = None,
        announce: Callable[[Event], None] = lambda _: None,
        silence: SilenceLimits | None = None,
        retry_failed: bool = False,
        confirm: ConfirmSpec | None = None,
        expected: Callable[[Ready], Iterable[Recipe]] | None = None,
    ) -> Iterator[Event]:
        """Yield events until the budget is spent, and log them.

        Stopping the iteration and signals lose nothing: the next run resumes. The first signal, or
        the end of the session, lets the workers write checkpoints of their trials.

        Args:
            hardware: The kind of device that each worker must find.
            backend: The Keras backend of the workers.
            devices: Devices of this machine.
            devices_per_chip: Of a chip of a TPU.
            worker_command: The program that a worker runs; ``--fd N`` is added.
            before_workers: As of :func:`~effv2_tune.search.loop.run_study`.
            stop: Ends the run early; signals alone do if left out.
            oom_counter: The kernel's count of OOM kills; of this machine if left out.
            announce: Receives the events that happen while the iteration waits for the database.
            silence: How long a worker may send nothing before it counts as hung.
            retry_failed: Whether the failed trials of earlier runs are tried again.
            confirm: Confirms the picks of the trials so far, in place of searching.
            expected: As of ``before_workers``; ignored where trials are trained on the target.

        Raises:
            TuneError: A worker refuses to work, or has another device or other images than before;
                the database fails, or a disk, file or network that a worker needs.
            StudyInterrupt: After a first signal, once all leases were given back.
            KeyboardInterrupt: On a second signal.
        """
        stop = StopRequest() if stop is None else stop
        is_interrupted = False
        spec = self._worker_spec(hardware, backend, devices, devices_per_chip, worker_command)
        pool = self._pool(spec, oom_counter, silence)
        self._watch_outages(announce, stop)
        mirror: AbstractContextManager[Mirror | None] = self._mirror or contextlib.nullcontext()
        with (
            database_errors(self._place),
            signals_stop(stop, is_deferred=True),
            # The workers end before the mirror gets its last version.
            mirror,
            self.storage.supervised(),
            pool,
            self._engine() as engine,
        ):
            # The last run may have been killed between the end of a trial and this step.
            self._delete_expired(pool)
            stream = self._stream(
                engine,
                pool,
                before_workers=before_workers,
                stop=stop,
                retry_failed=retry_failed,
                confirm=confirm,
                expected=expected if spec.has_target_apart else None,
            )
            with contextlib.closing(stream):
                for event in self._copied(stream):
                    self._follow(event, pool)
                    is_interrupted |= isinstance(event, StudyInterrupted)
                    yield event
        if is_interrupted and stop.signal is not None:
            raise StudyInterrupt

    def _follow(self, event: Event, pool: SupervisedPool) -> None:
        """Check the batches of a worker's images, and delete what a trial's end leaves behind."""
        if isinstance(event, WorkerReady):
            check_batches(self.plan, event.data, event.environment.device_count)
        if isinstance(event, TrialEnded):
            self._delete_expired(pool)

    def _stream(self, engine: Engine, pool: SupervisedPool, **options: Any) -> Generator[Event]:
        """The events of a run; ``options`` are those of :func:`run_study`."""
        if isinstance(engine, FreezeThawEngine):
            options["policy"] = engine
        return run_study(
            self.plan,
            engine=engine,
            pool=pool,
            storage=self.storage,
            clock=SystemClock(),
            workload=PlannedWorkload(self.plan),
            memory_limit=self._memory_limit(),
            set_aside=pool.set_aside,
            resume_epoch=lambda trial: _resume_epoch(trial, pool.checkpoint(trial.number)),
            fetch=self._fetch(pool),
            missing_bytes=lambda: missing_bytes(self.out / CHECKPOINTS, workers=pool.count),
            **options,
        )

    def _worker_spec(
        self,
        hardware: Literal["cpu", "gpu", "tpu"],
        backend: Literal["tensorflow", "jax"],
        devices: int,
        devices_per_chip: int,
        command: Sequence[str],
    ) -> WorkerSpec:
        with database_errors(self._place):
            # Of the first run: images that are stored at another size are different images.
            size = self.storage.keep_once("storage_size", self.plan.largest_resolution)
        return WorkerSpec.of(
            self.plan,
            base=self._base,
            hardware=hardware,
            backend=backend,
            workers=self.plan.worker_count,
            devices=devices,
            devices_per_chip=devices_per_chip,
            storage_size=size,
            command=command,
        )

    def _pool(
        self, spec: WorkerSpec, oom_counter: OomCounter | None, limits: SilenceLimits | None
    ) -> SupervisedPool:
        """The workers, on this machine or on the study's cluster."""
        cluster, count = self.plan.cluster, self.plan.worker_count
        if cluster is None:
            return local_pool(
                spec, count=count, out=self.out, oom_counter=oom_counter, limits=limits
            )
        from effv2_tune.workers.ray import ray_pool

        most = None if self.plan.workers == "auto" else count
        return ray_pool(spec, cluster, count=most, out=self.out, name=self.plan.name, limits=limits)

    def _memory_limit(self) -> int | None:
        """Resident bytes above which a worker is replaced; None where its memory is another's."""
        if self.plan.cluster is not None:
            return None
        return int(_LEEWAY * MEMORY_SHARE * usable_bytes() / self.plan.worker_count)

    def _copied(self, stream: Iterator[Event]) -> Iterator[Event]:
        """Log the events, and copy the study to its backup and its mirror as they happen."""
        events = self._with_backups(stream)
        if self._mirror is not None:
            events = self._mirror.following(events)
        return _logged(itertools.chain(self._before, events), self.out / EVENTS)

    def _watch_outages(self, announce: Callable[[Event], None], stop: StopRequest) -> None:
        """Log the events of the database at once, hand them on, and end a wait at a signal."""

        def log_and_announce(event: Event) -> None:
            with (self.out / EVENTS).open("ab") as log:
                log.write(_line(event))
            announce(event)

        self.storage.retries.announce = log_and_announce
        self.storage.retries.is_stopping = lambda: stop.signal is not None

    def _with_backups(self, stream: Iterator[Event]) -> Iterator[Event]:
        """Back up the database after every few ended trials, and at the end."""
        ended = 0
        for event in stream:
            yield event
            ended += isinstance(event, TrialEnded)
            if isinstance(event, TrialEnded) and ended % _BACKUP_EVERY == 0:
                yield from self._back_up()
        yield from self._back_up()

    def _back_up(self) -> Iterator[Event]:
        """Back up the database; a failure is reported, and the study continues."""
        try:
            self.storage.back_up()
        except (OSError, *SQLITE_ERRORS) as error:
            yield BackupFailed(reason=getattr(error, "strerror", None) or str(error))

    def _fetch(self, pool: SupervisedPool) -> Callable[[int], Thread] | None:
        """Fetches checkpoints from the mirror, where several machines share a database."""
        mirror = self._mirror
        if mirror is None or mirror.is_whole:  # restored with its database
            return None
        return lambda trial: mirror.fetch(trial, pool.checkpoint(trial))

    def _engine(self) -> AbstractContextManager[Engine]:
        """The engine that the plan names."""
        space, name, seed = self.plan.search_space, self.plan.engine, self.plan.search.seed
        enqueue = self._enqueued()
        if name in KERAS_TUNER_ENGINES:
            oracle = KERAS_TUNER_ENGINES[name]
            return KerasTunerEngine(self.storage, space, oracle=oracle, seed=seed, enqueue=enqueue)
        if name == "freeze_thaw":
            return contextlib.nullcontext(self._freeze_thaw(enqueue))
        engine = OptunaEngine(self.storage, space, sampler=name, seed=seed, enqueue=enqueue)
        return contextlib.nullcontext(engine)

    def _freeze_thaw(self, enqueue: Sequence[Config]) -> FreezeThawEngine:
        return FreezeThawEngine(
            self.storage,
            self.plan,
            costs=StudyCosts(self.plan, self.storage).given,
            epochs=lambda trial: (trial.recipe or self.plan.recipe_for(trial.config)).epochs,
            enqueue=enqueue,
            earlier=[EarlierStudy.from_plain(one) for one in self._kept(_EARLIER)],
        )

    def _kept(self, key: str) -> list[Any]:
        """A list from the creation of the study."""
        return list(self.storage.attributes().get(f"{OURS}{key}", []))

    def _enqueued(self) -> list[Config]:
        """Configs of the first trials: from the plan, and from the creation of the study."""
        space = self.plan.search_space
        configs = (*self.plan.enqueue, *self._kept(_FIRST))
        return [config for config in configs if space.contains(config)]

    def _delete_expired(self, pool: SupervisedPool) -> None:
        """Delete the checkpoints of ended trials whose weights are not kept."""
        # The folder of a trial that was never trained belongs to another study.
        trained = [trial for trial in self.storage.trials() if trial.attempts]
        for number in expired_checkpoints(trained, self.plan):
            shutil.rmtree(pool.checkpoint(number), ignore_errors=True)


def open_study(
    plan: StudyPlan,
    out: Path,
    *,
    base: Path,
    storage_url: str | None = None,
    first: Sequence[Config] = (),
    earlier: Sequence[EarlierStudy] = (),
    expiry_seconds: float = 60.0,
    mirror: str | None = None,
    resume_from: str | None = None,
) -> OpenStudy:
    """Open a study in a folder, or create it there.

    Args:
        plan: The study file.
        out: Folder of the study; created if there is none.
        base: Folder that the plan's relative paths start from.
        storage_url: Database for several machines; SQLite in ``out`` if left out.
        first: Configs of the first trials, after those that the plan enqueues; stored when the
            study is created, and ignored afterwards.
        earlier: Studies from whose curves freeze-thaw learns; likewise.
        expiry_seconds: Seconds without renewal after which a lease of another machine expires.
        mirror: Address of a folder that the study is copied to, and restored from.
        resume_from: Address of another one, that it is only restored from.

    Raises:
        TuneError: The folder holds another study, or this one with an incompatible plan; the
            database cannot be opened, or is lost and has a backup; the study of a recorded clock
            has no step times.
    """
    out.mkdir(parents=True, exist_ok=True)
    url = database_url(out) if storage_url is None else storage_url
    place = str(out / DATABASE) if storage_url is None else without_password(storage_url)
    restored = None
    if storage_url is None:
        refuse_lost_database(out)
        if not has_study(out):
            restored = restore_any((mirror, resume_from), out, name=plan.name)
    with database_errors(place), contextlib.ExitStack() as undo:
        if storage_url is None and (out / DATABASE).exists():
            _refuse_another_name(url, plan, out)
        plan = _with_tested_rates(url, plan)
        changes = _changes(url, plan, out)
        storage = DatabaseStorage(
            url,
            plan.name,
            plan.directions,
            limit=plan.trials,
            expiry_seconds=expiry_seconds,
            backup=out / BACKUP if storage_url is None else None,
        )
        undo.callback(storage.close)
        notes = storage.check_consistency(plan.search_space, plan.directions)
        storage.name_objectives((plan.quality, "train_seconds"))
        # Without defaults, so that the plan can be parsed to the same recipe.
        storage.keep("plan", plan.model_dump_json(exclude_unset=True))
        storage.keep_once(_FIRST, list(first))
        storage.keep_once(_EARLIER, [one.model_dump(mode="json") for one in earlier])
        _copy_recorded_times(storage, plan, base)
        storage.keep("base", str(base.resolve()))
        storage.keep("generation", int(storage.attributes().get(f"{OURS}generation", 0)) + 1)
        is_untested = plan.search.range_test and find_version(plan, storage.facts()) is None
        copies = _open_mirror(storage, plan, out, mirror, resume_from, is_whole=storage_url is None)
        undo.pop_all()
    return OpenStudy(
        plan,
        out,
        base=base,
        storage=storage,
        place=place,
        changes=changes,
        notes=notes,
        mirror=copies,
        restored=restored,
        lacks_range_test=is_untested,
    )


def _open_mirror(
    storage: DatabaseStorage,
    plan: StudyPlan,
    out: Path,
    mirror: str | None,
    resume_from: str | None,
    *,
    is_whole: bool,
) -> Mirror | None:
    """Check that mirrors are of this study, and open the one that it is copied to."""
    if mirror is None and resume_from is None:
        return None
    identity = str(storage.keep_once(_IDENTITY, uuid.uuid4().hex))
    if resume_from is not None:
        refuse_other_copy(RemoteFolder(resume_from), out, name=plan.name, identity=identity)
    if mirror is None:
        return None
    text = plan.model_dump_json(exclude_unset=True)
    study = StudyIdentity(identity, plan.name, text, is_whole=is_whole)
    contents = StudyContents(out, is_whole=is_whole)
    opened = Mirror(RemoteFolder(mirror), out, study=study, contents=contents)
    opened.open()
    return opened


def _resume_epoch(trial: Trial, folder: Path) -> int | None:
    """The whole epochs in the newest checkpoint of a trial; None where there is none."""
    facts = CheckpointFolder(folder).newest_facts()
    if facts is None:
        return None
    # The last one, of the selected weights, has no epoch; on a later fold, the first is complete.
    epochs = 0 if trial.recipe is None else trial.recipe.epochs
    return epochs if facts.get("out_of_fold") else int(facts.get("epoch", epochs))


def _copy_recorded_times(storage: DatabaseStorage, plan: StudyPlan, base: Path) -> None:
    """Copy the step times of a recorded clock, once; the other study is not needed again."""
    if plan.clock == "measured" or f"{OURS}{_CLOCK}" in storage.attributes():
        return
    record = recorded_study(plan.clock, base=base)
    # So that a worker with another device is refused.
    storage.keep_once("device_kind", record.device_kind)
    for digest, time in record.bucket_times.items():
        storage.keep_once(f"bucket:{digest}", time.model_dump())
    storage.keep(_CLOCK, plan.clock.recorded)


def _with_tested_rates(url: str, plan: StudyPlan) -> StudyPlan:
    """The plan with the bounds of the range tests of its learning rates, if it has had any."""
    if not plan.search.range_test:
        return plan
    with contextlib.closing(DatabaseStorage(url, plan.name, plan.directions)) as storage:
        rates = find_version(plan, storage.facts())
    return plan if rates is None else with_bounds(plan, rates)


def _changes(url: str, plan: StudyPlan, out: Path) -> PlanChanged | None:
    """Compare the plan with that of the last run; migrate the trials to an edited space."""
    with contextlib.closing(DatabaseStorage(url, plan.name, plan.directions)) as storage:
        text = storage.attributes().get(f"{OURS}plan")
    if text is None:
        return None
    try:
        before = StudyPlan.model_validate_json(text)
    except ValidationError as error:
        raise TuneError(
            f"The study in {out} was written by another version of effv2-tune.",
            hint="Resume it with that version, or start a new study: --out another folder.",
        ) from error
    lines = tuple(changes_since(before, plan, location=str(out)))
    if not lines:
        return None
    if before.search_space == plan.search_space:
        return PlanChanged(lines=lines, inside=None, outside=0)
    inside, outside = change_space(url, plan)
    return PlanChanged(lines=lines, inside=inside, outside=outside)


def _refuse_another_name(url: str, plan: StudyPlan, out: Path) -> None:
    """Check that a folder has no other study, and an intact database.

    Raises:
        TuneError: It has another study.
        DamagedError: SQLite finds a mistake.
    """
    with connected(url) as engine:
        check_integrity(engine)
        if sa.inspect(engine).has_table("studies"):  # else another supervisor is creating it
            refuse_another_study(list(find_studies(engine)), plan, location=str(out))


def _logged(events: Iterator[Event], path: Path) -> Iterator[Event]:
    """Append each event to a log, one JSON object per line, and yield it."""
    with path.open("a+b") as log:
        # A crash or a full disk may have torn the last line.
        if log.tell() and log.seek(-1, os.SEEK_END) and log.read() != b"\n":
            log.write(b"\n")
        for event in events:
            log.write(_line(event))
            log.flush()
            yield event


def _line(event: Event) -> bytes:
    line: dict[str, Any] = {
        "time": SystemClock().utc().isoformat(timespec="milliseconds"),
        "event": type(event).__name__,
        **event.model_dump(mode="json"),
    }
    return json.dumps(line).encode() + b"\n"
