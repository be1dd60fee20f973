"""Several supervisors work on one study in PostgreSQL, as those of several machines do."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import optuna
import pytest
from optuna.storages import RDBStorage

from effv2_tune.search import read_study

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Start = Callable[..., subprocess.Popen[str]]

pytestmark = pytest.mark.slow

NAME = "small"


def programs() -> Path:
    """The folder of PostgreSQL's own programs; Debian keeps them off the path."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not folders:
        pytest.skip("needs PostgreSQL's server, which is not installed")
    return folders[-1].parent


def as_its_user(*command: str) -> None:
    """Carry out a command of PostgreSQL's, which refuses to work as root."""
    whole = ["runuser", "-u", "postgres", "--", *command] if os.geteuid() == 0 else [*command]
    subprocess.run(whole, check=True, capture_output=True, cwd="/", timeout=120)


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """The URL of an empty database of a server that runs for these tests."""
    tools = programs()
    with contextlib.closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as base:
        folder = Path(base)
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres")
        data = str(folder / "data")
        as_its_user(str(tools / "initdb"), "-D", data, "-A", "trust", "-U", "someone")
        options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        control = (str(tools / "pg_ctl"), "-D", data, "-w")
        as_its_user(*control, "-l", str(folder / "log"), "-o", options, "start")
        try:
            yield f"postgresql+psycopg://someone@127.0.0.1:{port}/postgres"
        finally:
            as_its_user(*control, "-m", "immediate", "stop")


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
