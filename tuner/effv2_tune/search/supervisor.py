"""One study in one folder: opened, held against what is there, run, written down."""

from __future__ import annotations

import contextlib
import itertools
import json
import shutil
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import ValidationError

from effv2_tune.errors import TuneError
from effv2_tune.host import usable_bytes
from effv2_tune.interruption import termination_interrupts
from effv2_tune.search.clock import SystemClock
from effv2_tune.search.engines.keras_tuner import KERAS_TUNER_ENGINES, KerasTunerEngine
from effv2_tune.search.engines.optuna import OptunaEngine
from effv2_tune.search.events import PlanChanged, TrialEnded, WorkerReady
from effv2_tune.search.loop import run_study
from effv2_tune.search.retention import expired_checkpoints
from effv2_tune.search.space_migration import change_space
from effv2_tune.search.storage.base import OURS
from effv2_tune.search.storage.database import DatabaseStorage
from effv2_tune.search.storage.recorded_times import recorded_study
from effv2_tune.search.storage.records import find_studies
from effv2_tune.search.storage.snapshot import DATABASE, database_url
from effv2_tune.search.workload import PlannedWorkload
from effv2_tune.study.batches import check_batches
from effv2_tune.study.continuation import changes_since, refuse_another_study
from effv2_tune.study.plan import StudyPlan
from effv2_tune.workers import MEMORY_SHARE
from effv2_tune.workers.launch import WORKER_COMMAND, WorkerSpec
from effv2_tune.workers.local import local_pool

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from effv2_tune.search.engines.base import Engine
    from effv2_tune.search.events import Event
    from effv2_tune.study.space import Config
    from effv2_tune.workers.supervised_pool import SupervisedPool

EVENTS = "events.jsonl"
BACKUP = "study.db.backup"
_FIRST = "first"
_CLOCK = "clock"
#: How far a worker may grow beyond its part of `MEMORY_SHARE`, as a factor.
_LEEWAY = 1.2


class OpenStudy:
    """A study that can be run; made by :func:`open_study`, a context manager.

    Args:
        plan: What is searched.
        out: Folder of the study.
        base: Folder that the plan's relative paths start from.
        storage: Where it lives.
        changes: What was edited since the last run.

    Attributes:
        plan: As given.
        out: As given.
        storage: As given.
    """

    def __init__(
        self,
        plan: StudyPlan,
        out: Path,
        *,
        base: Path,
        storage: DatabaseStorage,
        changes: PlanChanged | None = None,
    ) -> None:
        self.plan = plan
        self.out = out
        self.storage = storage
        self._base = base
        self._changes = changes

    def __enter__(self) -> Self:
        """It is open already."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of the database."""
        self.storage.close()

    def run(
        self,
        *,
        hardware: Literal["cpu", "gpu", "tpu"],
        backend: Literal["tensorflow", "jax"],
        worker_command: Sequence[str] = WORKER_COMMAND,
    ) -> Iterator[Event]:
        """Yield what happens until the budget is spent; each event is also written down.

        Stopping the iteration, Ctrl-C and SIGTERM lose nothing: the next run continues.

        Args:
            hardware: The kind of device that each worker must find.
            backend: The Keras backend of the workers.
            worker_command: What a worker runs; ``--fd N`` is added.

        Raises:
            TuneError: A worker refuses to work, or finds another device or other images than
                before.
            KeyboardInterrupt: On Ctrl-C and SIGTERM, after everything in hand was given back.
        """
        spec = WorkerSpec.of(
            self.plan,
            base=self._base,
            hardware=hardware,
            backend=backend,
            workers=self.plan.workers,
            # As the study began: stored at another size, the images would be other images.
            storage_size=self.storage.keep_once("storage_size", self.plan.largest_resolution),
            command=worker_command,
        )
        pool = local_pool(spec, count=self.plan.workers, out=self.out)
        with termination_interrupts(), pool, self._engine() as engine:
            # The run before may have been killed between a tell and what follows it.
            self._tidy(pool)
            story = run_study(
                self.plan,
                engine=engine,
                pool=pool,
                storage=self.storage,
                clock=SystemClock(),
                workload=PlannedWorkload(self.plan),
                memory_limit=int(_LEEWAY * MEMORY_SHARE * usable_bytes() / self.plan.workers),
                set_aside=pool.set_aside,
            )
            told = story if self._changes is None else itertools.chain([self._changes], story)
            with contextlib.closing(story):
                for event in _written_down(told, self.out / EVENTS):
                    if isinstance(event, WorkerReady):
                        check_batches(self.plan, event.data, event.environment.device_count)
                    if isinstance(event, TrialEnded):
                        self._tidy(pool)
                    yield event
            self.storage.back_up()

    def _engine(self) -> AbstractContextManager[Engine]:
        """What finds configs, by the plan's name for it."""
        search = self.plan.search
        if search.engine in KERAS_TUNER_ENGINES:
            return KerasTunerEngine(
                self.storage,
                self.plan.search_space,
                oracle=KERAS_TUNER_ENGINES[search.engine],
                seed=search.seed,
                enqueue=self._enqueued(),
            )
        engine = OptunaEngine(
            self.storage,
            self.plan.search_space,
            sampler=search.engine,
            seed=search.seed,
            enqueue=self._enqueued(),
        )
        return contextlib.nullcontext(engine)

    def _tidy(self, pool: SupervisedPool) -> None:
        """Remove the checkpoints of ended trials whose weights are not kept."""
        # What lies in the folder of a trial that no worker had is none of its own.
        trained = [trial for trial in self.storage.trials() if trial.attempts]
        for number in expired_checkpoints(trained, self.plan):
            shutil.rmtree(pool.checkpoint(number), ignore_errors=True)

    def _enqueued(self) -> list[Config]:
        """What is tried first: as the plan says, and as the study began."""
        space = self.plan.search_space
        kept = self.storage.attributes().get(f"{OURS}{_FIRST}", [])
        return [config for config in (*self.plan.enqueue, *kept) if space.contains(config)]


def open_study(
    plan: StudyPlan,
    out: Path,
    *,
    base: Path,
    storage_url: str | None = None,
    first: Sequence[Config] = (),
    expiry_seconds: float = 60.0,
) -> OpenStudy:
    """Open a study in a folder, or make it there.

    Args:
        plan: What is searched.
        out: Folder of the study; made if there is none.
        base: Folder that the plan's relative paths start from.
        storage_url: Database for several machines; SQLite in ``out`` if left out.
        first: Configs to be tried after those that the plan enqueues; only a new study takes them,
            and it keeps them.
        expiry_seconds: How long a supervisor of another machine may be silent before its trials
            are taken over.

    Raises:
        TuneError: The folder holds another study, or this one with another plan; the database
            cannot be opened; the study whose step times are replayed has none.
    """
    out.mkdir(parents=True, exist_ok=True)
    url = database_url(out) if storage_url is None else storage_url
    if storage_url is None and (out / DATABASE).exists():
        _refuse_another_name(url, plan, out)
    changes = _changes(url, plan, out)
    storage = DatabaseStorage(
        url,
        plan.name,
        plan.directions,
        limit=plan.trials,
        expiry_seconds=expiry_seconds,
        backup=out / BACKUP if storage_url is None else None,
    )
    try:
        _keep_plan(storage, plan)
        storage.keep_once(_FIRST, list(first))
        _take_recorded_times(storage, plan, base)
        storage.keep("base", str(base.resolve()))
        storage.keep("generation", int(storage.attributes().get(f"{OURS}generation", 0)) + 1)
    except BaseException:
        storage.close()
        raise
    return OpenStudy(plan, out, base=base, storage=storage, changes=changes)


def _keep_plan(storage: DatabaseStorage, plan: StudyPlan) -> None:
    # Settings that were not written stay unwritten, so that the recipe reads the same again.
    storage.keep("plan", plan.model_dump_json(exclude_unset=True))


def _take_recorded_times(storage: DatabaseStorage, plan: StudyPlan, base: Path) -> None:
    """Take over the step times that are replayed, once; the other study is not needed again."""
    if plan.clock == "measured" or f"{OURS}{_CLOCK}" in storage.attributes():
        return
    record = recorded_study(plan.clock, base=base)
    # Another device is then refused as soon as it shows: the times are not its own.
    storage.keep_once("device_kind", record.device_kind)
    for digest, time in record.bucket_times.items():
        storage.keep_once(f"bucket:{digest}", time.model_dump())
    storage.keep(_CLOCK, plan.clock.recorded)


def _changes(url: str, plan: StudyPlan, out: Path) -> PlanChanged | None:
    """Hold the plan against the one that the study began with; move its trials if need be."""
    storage = DatabaseStorage(url, plan.name, plan.directions)
    try:
        text = storage.attributes().get(f"{OURS}plan")
    finally:
        storage.close()
    if text is None:
        return None
    try:
        before = StudyPlan.model_validate_json(text)
    except ValidationError as error:
        raise TuneError(
            f"The study in {out} was written by another version of effv2-tune.",
            hint="Continue it with that version, or begin a new one: --out another folder.",
        ) from error
    lines = tuple(changes_since(before, plan, location=str(out)))
    if not lines:
        return None
    if before.search_space == plan.search_space:
        return PlanChanged(lines=lines, inside=None, outside=0)
    inside, outside = change_space(url, plan)
    return PlanChanged(lines=lines, inside=inside, outside=outside)


def _refuse_another_name(url: str, plan: StudyPlan, out: Path) -> None:
    import sqlalchemy as sa

    engine = sa.create_engine(url)
    try:
        names = list(find_studies(engine))
    except sa.exc.OperationalError:
        return  # another supervisor has just begun to make the tables
    except sa.exc.DatabaseError as error:
        raise TuneError(
            f"{out / DATABASE} is no database that can be read: {error.orig}.",
            hint=f"Put the copy {BACKUP} in its place, or begin a new study: --out another folder.",
        ) from error
    finally:
        engine.dispose()
    refuse_another_study(names, plan, location=str(out))


def _written_down(story: Iterator[Event], path: Path) -> Iterator[Event]:
    """Append each event to a log, one JSON object per line, and pass it on."""
    clock = SystemClock()
    with path.open("a", encoding="utf-8") as log:
        for event in story:
            line: dict[str, Any] = {
                "time": clock.utc().isoformat(timespec="milliseconds"),
                "event": type(event).__name__,
                **event.model_dump(mode="json"),
            }
            log.write(json.dumps(line) + "\n")
            log.flush()
            yield event
