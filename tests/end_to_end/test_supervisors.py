"""Supervisors as processes: several on one study, ended and resumed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from effv2_tune.errors import TuneError
from effv2_tune.search import read_study
from effv2_tune.search.engines.optuna import OptunaEngine
from effv2_tune.search.events import DatabaseAvailable, DatabaseUnavailable, TrialStarted
from effv2_tune.search.storage import database as database_module
from effv2_tune.search.supervisor import open_study
from effv2_tune.study.trial import Measurement, Trial

if TYPE_CHECKING:
    from collections.abc import Callable

    from effv2_tune.search.events import Event
    from effv2_tune.search.storage.database import DatabaseStorage
    from effv2_tune.study.plan import StudyPlan
    from effv2_tune.study.space import Space

    MakePlan = Callable[..., StudyPlan]
    RunScripted = Callable[..., list[Event]]


def begin(storage: DatabaseStorage, space: Space) -> Trial:
    asked = OptunaEngine(storage, space, sampler="random").ask()
    trial = Trial(number=asked.number, state="running", config=asked.config)
    storage.save(trial)
    return trial


def told(trial: Trial, quality: float) -> Trial:
    measurement = Measurement(quality=quality, train_seconds=10.0)
    return trial.model_copy(update={"state": "complete", "measurement": measurement})


def test_a_file_that_is_no_database_is_a_sentence(tmp_path: Path, make_plan: MakePlan) -> None:
    (tmp_path / "study.db").write_bytes(b"not a database, but long enough to be looked at" * 50)

    with pytest.raises(TuneError, match="not a readable database"):
        open_study(make_plan(), tmp_path, base=tmp_path)


def test_the_backup_is_a_study_that_can_be_read(
    tmp_path: Path, make_plan: MakePlan, run_scripted: RunScripted
) -> None:
    run_scripted(make_plan(trials=6), tmp_path)
    copy = tmp_path / "copy"
    copy.mkdir()

    (tmp_path / "study.db.backup").rename(copy / "study.db")

    assert len(read_study(copy).trials) == 6


def test_a_study_is_read_while_its_database_is_locked_for_writing(
    tmp_path: Path, make_plan: MakePlan, run_scripted: RunScripted
) -> None:
    run_scripted(make_plan(trials=2), tmp_path)

    with contextlib.closing(sqlite3.connect(tmp_path / "study.db")) as writer:
        writer.execute("BEGIN IMMEDIATE")
        assert len(read_study(tmp_path).trials) == 2


def test_reading_a_study_loads_no_sampler(
    tmp_path: Path,
    make_plan: MakePlan,
    run_scripted: RunScripted,
    run_python: Callable[..., str],
) -> None:
    run_scripted(make_plan(trials=1), tmp_path)

    code = (
        "import sys; from effv2_tune.search import read_study; "
        f"read_study({str(tmp_path)!r}); print('optuna' in sys.modules)"
    )
    assert run_python(code).strip() == "False"


SUPERVISOR = """
    import json, sys
    from pathlib import Path
    from effv2_tune.search.supervisor import open_study
    from effv2_tune.study.plan import StudyPlan
    plan = StudyPlan.model_validate_json(sys.argv[1])
    out = Path(sys.argv[2])
    with open_study(plan, out, base=out) as study:
        for event in study.run(hardware="cpu", backend="tensorflow",
                               worker_command=json.loads(sys.argv[3])):
            print(type(event).__name__, flush=True)
"""


def start_supervisor(plan: StudyPlan, out: Path, **script: object) -> subprocess.Popen[str]:
    worker = str(Path(__file__).with_name("scripted_worker.py"))
    command = [sys.executable, "-c", textwrap.dedent(SUPERVISOR)]
    arguments = [plan.model_dump_json(exclude_unset=True), str(out)]
    return subprocess.Popen(
        [*command, *arguments, json.dumps([sys.executable, worker])],
        env=os.environ | {"SCRIPT": json.dumps(script)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(process: subprocess.Popen[str], word: str, times: int = 1) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        times -= line.strip() == word
        if times == 0:
            return
    pytest.fail(f"ended before {word}: {process.stderr.read() if process.stderr else ''}")


def test_two_supervisors_share_a_study_and_lose_and_double_nothing(
    tmp_path: Path, make_plan: MakePlan
) -> None:
    plan = make_plan(trials=16)
    both = [start_supervisor(plan, tmp_path, epoch_seconds=0.01) for _ in range(2)]

    endings = [process.communicate(timeout=60) for process in both]

    assert [process.returncode for process in both] == [0, 0], endings
    trials = read_study(tmp_path).trials
    assert [trial.number for trial in trials] == list(range(16))
    assert all(trial.state in ("complete", "pruned") for trial in trials)
    # Both began some.
    assert all(output.count("TrialStarted") > 0 for output, _ in endings)
    assert sum(output.count("TrialEnded") for output, _ in endings) == 16


@pytest.mark.slow
def test_a_supervisor_without_a_trial_left_waits_for_the_other_one_and_replaces_it(
    tmp_path: Path, make_plan: MakePlan
) -> None:
    plan = make_plan(trials=1, search={"halving": {"enabled": False}})
    owner = start_supervisor(plan, tmp_path, **{"0": {"epoch_seconds": 20.0}})
    wait_for(owner, "TrialStarted")
    other = start_supervisor(plan, tmp_path)
    wait_for(other, "WaitingForOthers")
    assert read_study(tmp_path).ended_by is None

    owner.kill()
    owner.communicate()
    output, errors = other.communicate(timeout=120)

    assert other.returncode == 0, errors
    assert "WaitingForOthers" not in output
    record = read_study(tmp_path)
    assert [(trial.state, trial.attempts) for trial in record.trials] == [("complete", 2)]
    assert record.ended_by is not None


def test_a_database_that_is_locked_for_long_is_reported(
    tmp_path: Path,
    make_plan: MakePlan,
    run_scripted: RunScripted,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As by a supervisor that is stopped (Ctrl-Z) in the middle of a transaction."""
    monkeypatch.setattr(database_module, "_BUSY_SECONDS", 0.1)
    announced: list[Event] = []
    with contextlib.closing(sqlite3.connect(tmp_path / "study.db")) as stopped:

        def announce(event: Event) -> None:
            announced.append(event)
            stopped.rollback()

        def lock_at(event: Event) -> None:
            if isinstance(event, TrialStarted) and event.trial == 1:
                stopped.execute("BEGIN IMMEDIATE")

        happened = run_scripted(make_plan(trials=3), tmp_path, announce=announce, on_event=lock_at)

    unavailable, available = announced
    assert isinstance(unavailable, DatabaseUnavailable)
    assert unavailable.reason == "database is locked"
    assert isinstance(available, DatabaseAvailable)
    assert [type(event).__name__ for event in happened].count("TrialEnded") == 3
    log = (tmp_path / "events.jsonl").read_text()
    assert log.count("DatabaseUnavailable") == log.count("DatabaseAvailable") == 1


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_supervisor_ended_at_any_moment_is_continued_by_the_next_one(
    tmp_path: Path, make_plan: MakePlan, run_scripted: RunScripted, how: signal.Signals
) -> None:
    plan = make_plan(trials=4, search={"halving": {"enabled": False}})
    process = start_supervisor(plan, tmp_path, epoch_seconds=0.05)
    wait_for(process, "EpochTrained", times=9)
    process.send_signal(how)
    process.communicate(timeout=30)
    before = read_study(tmp_path)
    assert before.ended_by is None
    assert [trial.state for trial in before.trials] == ["complete", "running"]

    run_scripted(plan, tmp_path)

    trials = read_study(tmp_path).trials
    assert [trial.state for trial in trials] == ["complete"] * 4
    assert [trial.attempts for trial in trials] == [1, 2, 1, 1]
    assert [epoch.epoch for epoch in trials[1].curve] == list(range(1, 7))
    assert trials[1].config == before.trials[1].config


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_deaths_that_a_supervisor_saw_count_after_its_own_end(
    tmp_path: Path, make_plan: MakePlan, run_scripted: RunScripted, how: signal.Signals
) -> None:
    """Ends of the supervisor itself do not count: whoever stops it means no trial."""
    plan = make_plan(trials=1)
    deed = {"die_at": 2, "times": 99, "epoch_seconds": 0.5, "by": "SIGSEGV"}
    process = start_supervisor(plan, tmp_path, **{"0": deed})
    wait_for(process, "WorkerDied")
    process.send_signal(how)
    process.communicate(timeout=30)
    (before,) = read_study(tmp_path).trials
    assert (before.state, before.crashes, before.death_step) == ("running", 1, 1)

    run_scripted(plan, tmp_path, script={"0": deed})

    (trial,) = read_study(tmp_path).trials
    assert (trial.state, trial.crashes) == ("infeasible", 2)


def test_a_trial_told_in_the_record_alone_is_told_to_optuna_by_the_next_run(
    tmp_path: Path, make_plan: MakePlan, run_scripted: RunScripted
) -> None:
    with open_study(make_plan(trials=2), tmp_path, base=tmp_path) as study:
        engine = OptunaEngine(study.storage, study.plan.search_space)
        asked = engine.ask()
        trial = Trial(number=0, state="running", config=asked.config)
        study.storage.save(told(trial, 0.25))
        study.storage.release_all()

    run_scripted(make_plan(trials=2), tmp_path)

    first = read_study(tmp_path).trials[0]
    assert (first.state, first.attempts) == ("complete", 0)
    assert first.measurement == Measurement(quality=0.25, train_seconds=10.0)


def test_an_ask_that_was_cut_short_is_finished_by_the_next_run(
    tmp_path: Path, make_plan: MakePlan, run_scripted: RunScripted
) -> None:
    plan = make_plan(trials=2)
    with open_study(plan, tmp_path, base=tmp_path) as study:
        study.storage.optuna.create_new_trial(1)
        study.storage.release_all()
    assert read_study(tmp_path).trials[0].config == {}

    run_scripted(plan, tmp_path)
    run_scripted(plan, tmp_path / "uncut")

    configs = [trial.config for trial in read_study(tmp_path).trials]
    assert configs == [trial.config for trial in read_study(tmp_path / "uncut").trials]


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE trial_user_attributes SET value_json = replace(value_json, '0.75', '0.95')",
        "UPDATE trial_user_attributes SET value_json = substr(value_json, 1, 60)",
        "UPDATE trial_user_attributes SET value_json = '{}'",
        "UPDATE trial_values SET value = 0.95 WHERE objective = 0",
        "UPDATE trials SET state = 'PRUNED'",
    ],
)
def test_a_damaged_record_is_reported_with_its_trial(
    tmp_path: Path, make_plan: MakePlan, damage: str
) -> None:
    with open_study(make_plan(), tmp_path, base=tmp_path) as study:
        study.storage.finish(told(begin(study.storage, study.plan.search_space), 0.75))
    with contextlib.closing(sqlite3.connect(tmp_path / "study.db")) as database:
        database.execute(damage)
        database.commit()

    with pytest.raises(TuneError, match=r"record of trial 0 is damaged.*") as caught:
        read_study(tmp_path)
    assert "study.db.backup" in str(caught.value.hint)
