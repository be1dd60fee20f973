"""Several supervisors work on one study in PostgreSQL, as those of several machines do."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import optuna
import pytest
from optuna.storages import RDBStorage
from tests.end_to_end.postgresql_server import programs, running_server
from tests.end_to_end.server_restarts import Restarts, run_with_restarts

from effv2_tune.errors import EXIT_FAILED, EXIT_INTERRUPTED, TuneError
from effv2_tune.search import read_study
from effv2_tune.search.events import TrialStarted
from effv2_tune.search.supervisor import open_study

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator

    from tests.end_to_end.postgresql_server import Server

    from effv2_tune.search.events import Event
    from effv2_tune.study.plan import StudyPlan

    Start = Callable[..., subprocess.Popen[str]]

pytestmark = pytest.mark.slow

NAME = "small"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server that runs for these tests."""
    try:
        programs()
    except FileNotFoundError as error:
        pytest.skip(str(error))
    with running_server() as started:
        yield started


@pytest.fixture
def database(server: Server) -> str:
    """The URL of its database."""
    return server.url


def test_a_password_is_in_no_output_and_no_process_list(
    database: str, start: Start, folder: Path
) -> None:
    url = database.replace("someone@", "someone:S3cretPW@") + "?password=S3cretPW"
    env = {"EFFV2_TUNE_RUN_STORAGE": url, "SCRIPT": '{"sleep": 0.05}'}
    text = (folder / "study.yaml").read_text().replace("name: small", "name: secret")
    (folder / "study.yaml").write_text(text)

    running = start("run", "study.yaml", **env)
    commands = []
    while running.poll() is None:
        for process in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                commands.append(process.read_bytes())
        time.sleep(0.05)
    out, err = running.communicate()

    assert running.returncode == 0, err
    assert any(b"scripted_worker" in command for command in commands)
    assert not any(b"S3cret" in command for command in commands)
    assert "password=***" in err
    assert "S3cret" not in out + err
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert [file for file in files if b"S3cret" in file.read_bytes()] == []


def test_two_supervisors_share_the_trials_and_outlive_a_third(database: str, start: Start) -> None:
    """The third is killed with SIGKILL in the middle of its first trial."""
    begin = ("run", "study.yaml", "--storage", database, "--trials", "9", "--out")
    killed = start(*begin, "killed", SCRIPT='{"epoch_seconds": 60}')
    assert killed.stderr is not None
    assert any("compiled" in line for line in killed.stderr)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    pair = [start(*begin, out, SCRIPT='{"epoch_seconds": 0.2}') for out in ("one", "other")]
    said = [process.communicate(timeout=120) for process in pair]

    assert [process.returncode for process in pair] == [0, 0], said
    record = read_study(database, name=NAME)
    assert [trial.number for trial in record.trials] == list(range(9))
    assert {trial.state for trial in record.trials} == {"complete"}
    assert record.trials[0].attempts == 2
    events = [Path(out, "events.jsonl").read_text() for out in ("one", "other")]
    ended = [text.count('"event": "TrialEnded"') for text in events]
    assert sum(ended) == 9
    assert min(ended) > 0
    storage = RDBStorage(database)
    told = [trial.values for trial in optuna.load_study(study_name=NAME, storage=storage).trials]
    storage.remove_session()
    storage.engine.dispose()
    assert told == [
        [trial.measurement.quality, trial.measurement.train_seconds]
        for trial in record.trials
        if trial.measurement is not None
    ]


def test_a_server_that_crashes_and_is_away_ends_no_supervisor_and_loses_no_trial(
    server: Server, folder: Path
) -> None:
    restarts = Restarts(count=3, absent_seconds=10.0, seed=1)

    figures = run_with_restarts(server, folder, trials=30, epoch_seconds=0.5, restarts=restarts)

    assert (figures.deaths, figures.lost, figures.doubled) == (0, 0, 0), figures.errors
    assert figures.restarts == 4
    assert figures.notices > 0
    assert not any("Traceback" in text for text in figures.errors)
    assert any("is available again, after" in text for text in figures.errors)


def test_an_interruption_does_not_wait_for_the_server(
    server: Server, start: Start, folder: Path
) -> None:
    text = (folder / "study.yaml").read_text().replace("name: small", "name: cut")
    (folder / "study.yaml").write_text(text)
    running = start(
        "run", "study.yaml", "--storage", server.url, "--out", "cut", SCRIPT='{"epoch_seconds": 1}'
    )
    assert running.stderr is not None
    assert any("compiled" in line for line in running.stderr)
    server.stop()
    try:
        assert any("is unavailable" in line for line in running.stderr)
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=60)
    finally:
        server.start()

    assert running.returncode == EXIT_INTERRUPTED
    assert "Traceback" not in err


def test_a_server_that_stays_away_is_an_error_message(
    server: Server, tmp_path: Path, make_plan: Callable[..., StudyPlan], scripted: tuple[str, ...]
) -> None:
    announced: list[Event] = []

    def run_until_the_server_stops(plan: StudyPlan) -> None:
        with open_study(plan, tmp_path, base=tmp_path, storage_url=server.url) as study:
            study.storage.retries.seconds = 2.0
            for event in study.run(
                hardware="cpu",
                backend="tensorflow",
                worker_command=scripted,
                announce=announced.append,
            ):
                if isinstance(event, TrialStarted):
                    server.stop()

    try:
        with pytest.raises(TuneError, match=r"has been unavailable for \d+ seconds") as caught:
            run_until_the_server_stops(make_plan(name="away", trials=3))
    finally:
        server.start()

    assert caught.value.exit_code == EXIT_FAILED
    assert [type(event).__name__ for event in announced] == ["DatabaseUnavailable"]
    logged = (tmp_path / "events.jsonl").read_text()
    assert logged.count("DatabaseUnavailable") == 1


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        (("/postgres", "/nothing"), 'database "nothing" does not exist'),
        (("someone@", "nobody@"), 'role "nobody" does not exist'),
    ],
)
def test_what_no_retry_changes_is_an_error_at_once(
    server: Server, start: Start, changed: tuple[str, str], reason: str
) -> None:
    running = start("run", "study.yaml", "--storage", server.url.replace(*changed))
    _, err = running.communicate(timeout=60)

    assert running.returncode == EXIT_FAILED
    assert reason in err
    assert "Traceback" not in err
