"""A database that is unavailable for a while, or whose answers are lost."""

from __future__ import annotations

import contextlib
import random
import sqlite3
import time
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from tests.search.simulated_study import make_plan, run_loop

from effv2_tune.errors import EXIT_FAILED, TuneError
from effv2_tune.search.clock import SimulatedClock
from effv2_tune.search.engines.optuna import OptunaEngine
from effv2_tune.search.storage.database import DatabaseStorage
from effv2_tune.search.storage.in_memory import MemoryStorage
from effv2_tune.search.storage.outages import Retries, is_permanent
from effv2_tune.search.storage.snapshot import database_url
from effv2_tune.study.trial import Measurement, Trial

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from effv2_tune.search.events import Event


def busy() -> sqlite3.OperationalError:
    """The one failure of SQLite that passes by itself, as that of a server does."""
    error = sqlite3.OperationalError("database is locked")
    error.sqlite_errorcode = sqlite3.SQLITE_BUSY
    return error


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test waits."""
    monkeypatch.setattr(time, "sleep", lambda _: None)


@contextlib.contextmanager
def faults(storage: DatabaseStorage, fails: Callable[[str], bool]) -> Iterator[None]:
    """Let a query, or a commit before or after it is made, fail where ``fails`` says so."""
    engine = storage._rdb.engine
    dialect = engine.dialect
    commit = dialect.do_commit

    def faulty_commit(connection: Any) -> None:
        if fails("before"):
            raise busy()
        commit(connection)
        if fails("after"):
            raise busy()

    def faulty_query(*arguments: Any) -> None:
        statement = arguments[2]
        if not statement.startswith("BEGIN") and fails("query"):
            raise sa.exc.OperationalError(statement, None, busy())

    dialect.do_commit = faulty_commit  # type: ignore[method-assign]
    sa.event.listen(engine, "before_cursor_execute", faulty_query)
    yield
    dialect.do_commit = commit  # type: ignore[method-assign]
    sa.event.remove(engine, "before_cursor_execute", faulty_query)


def at_random(seed: int, **shares: float) -> Callable[[str], bool]:
    """The share of each kind of fault."""
    draw = random.Random(seed)  # noqa: S311 - faults, not secrets
    return lambda kind: draw.random() < shares.get(kind, 0.0)


def outcome(trials: Sequence[Trial]) -> list[Any]:
    return [(t.number, t.state, t.config, t.measurement, t.rungs, len(t.curve)) for t in trials]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_a_study_whose_database_fails_at_random_moments_is_the_undisturbed_one(
    tmp_path: Path, seed: int
) -> None:
    plan = make_plan()
    undisturbed = MemoryStorage("simulated", plan.directions)
    list(run_loop(plan, undisturbed, SimulatedClock()))
    with contextlib.closing(DatabaseStorage(database_url(tmp_path), "simulated")) as storage:
        announced: list[Event] = []
        storage.retries.announce = announced.append
        with faults(storage, at_random(seed, before=0.02, after=0.02, query=0.02)):
            happened = list(run_loop(plan, storage, SimulatedClock()))  # type: ignore[arg-type]
        trials = storage.trials()

    assert outcome(trials) == outcome(undisturbed.trials())
    names = [type(event).__name__ for event in happened]
    assert names.count("TrialEnded") == len(trials)
    assert "LeaseLost" not in names
    kinds_announced = [type(event).__name__ for event in announced]
    assert len(kinds_announced) > 10
    assert set(kinds_announced[::2]) == {"DatabaseUnavailable"}
    assert set(kinds_announced[1::2]) == {"DatabaseAvailable"}


@pytest.mark.parametrize("state", ["complete", "infeasible"])
@pytest.mark.parametrize("seed", range(2))
def test_each_operation_sees_its_own_success_whose_answer_was_lost(
    tmp_path: Path, state: str, seed: int
) -> None:
    plan, url = make_plan(trials=1), database_url(tmp_path)
    one, other = (DatabaseStorage(url, "simulated", limit=1) for _ in range(2))
    measurement = Measurement(quality=0.5, train_seconds=1.0) if state == "complete" else None
    with contextlib.closing(one), contextlib.closing(other):
        with faults(one, at_random(seed, after=0.5)):
            asked = OptunaEngine(one, plan.search_space).ask()
            trial = Trial(number=asked.number, state="running", config=asked.config)
            one.save(trial)
            assert one.renew([0]) == []
            assert one.keep_once("device_kind", "A") == "A"
            one.release_all()
        with faults(other, at_random(seed, after=0.5)):
            assert other.claim() == 0
            assert other.renew([0]) == []
            ended = trial.model_copy(update={"state": state, "measurement": measurement})
            other.finish(ended)
        assert one.claim() is None
        assert list(one.trials()) == [ended]


def test_an_operation_inside_another_one_is_repeated_with_it_alone() -> None:
    retry = Retries("here", seconds=60.0)
    calls: list[str] = []

    def inner() -> None:
        calls.append("inner")
        if calls.count("inner") < 3:
            raise sa.exc.OperationalError("", None, busy())

    def outer() -> None:
        calls.append("outer")
        retry(inner)

    retry(outer)

    assert calls == ["outer", "inner"] * 3


@pytest.mark.parametrize("seconds", [0.0, -1.0])
def test_after_the_limit_the_failure_is_a_message(seconds: float) -> None:
    def fail() -> None:
        raise sa.exc.OperationalError("", None, busy())

    with pytest.raises(TuneError, match="here has been unavailable for 0 seconds") as caught:
        Retries("here", seconds=seconds)(fail)

    assert caught.value.exit_code == EXIT_FAILED


def test_a_full_disk_is_not_waited_for() -> None:
    full = sqlite3.OperationalError("database or disk is full")
    full.sqlite_errorcode = sqlite3.SQLITE_FULL
    calls = []

    def fail() -> None:
        calls.append(1)
        raise sa.exc.OperationalError("", None, full)

    with pytest.raises(sa.exc.OperationalError):
        Retries("here")(fail)
    assert calls == [1]


@pytest.mark.parametrize(
    ("message", "permanent"),
    [
        ('FATAL:  password authentication failed for user "u"', True),
        ('FATAL:  database "d" does not exist', True),
        ("failed to resolve host 'nowhere': Name or service not known", True),
        ("connection refused", False),
        ("FATAL:  the database system is starting up", False),
    ],
)
def test_a_wrong_address_is_told_from_an_absent_server(
    message: str,
    permanent: bool,  # noqa: FBT001
) -> None:
    error = sa.exc.OperationalError("", None, Exception(message))

    assert is_permanent(error) == permanent


def test_a_wait_for_the_database_costs_no_other_supervisor_its_leases(tmp_path: Path) -> None:
    url = database_url(tmp_path)
    owner = DatabaseStorage(url, "simulated")
    other = DatabaseStorage(url, "simulated", expiry_seconds=60.0)
    plan, seconds = make_plan(), [0.0]
    other._leases._now = lambda: seconds[0]
    with contextlib.closing(owner), contextlib.closing(other):
        OptunaEngine(owner, plan.search_space).ask()
        other.claim()
        seconds[0] += 1000.0
        first = iter([True])
        with faults(other, lambda _: next(first, False)):
            assert other.claim() is None
        seconds[0] += 60.0
        assert other.claim() == 0
