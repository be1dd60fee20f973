"""Signals, closed terminals and ends of sessions: running trials are saved, and nothing is lost."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import shlex
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from effv2_tune.errors import EXIT_DONE, EXIT_INTERRUPTED
from effv2_tune.search import read_study

if TYPE_CHECKING:
    from collections.abc import Callable

    Tune = Callable[..., Any]
    Start = Callable[..., subprocess.Popen[str]]

SCRIPTED_CLI = (sys.executable, str(Path(__file__).resolve().with_name("scripted_cli.py")))
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
INTERRUPTED = "Interrupted. Rerun the same command to resume.\n"
#: Trial 1 trains long enough to be interrupted, and writes no checkpoint unless it is asked to.
LONG = json.dumps({"1": {"keeps": False, "epoch_seconds": 0.5}})
#: No worker answers.
COMPILING = json.dumps({"compile_seconds": 600})


def log(kind: str = "", folder: str = "runs/small") -> list[dict[str, Any]]:
    """The events of a study so far, of one kind or of all."""
    path = Path(folder) / "events.jsonl"
    whole = path.read_text().rpartition("\n")[0] if path.is_file() else ""
    events = [json.loads(line) for line in whole.splitlines()]
    return [event for event in events if not kind or event["event"] == kind]


def wait_for(process: subprocess.Popen[Any], kind: str, **facts: Any) -> None:
    """Wait until a study logs an event."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if any(facts.items() <= event.items() for event in log(kind)):
            return
        time.sleep(0.02)
    pytest.fail(f"there was no {kind}")


def wait_for_epoch(process: subprocess.Popen[Any], trial: int, epoch: int) -> None:
    """Wait until a trial has trained an epoch."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if epoch in epochs_of(trial):
            return
        time.sleep(0.02)
    pytest.fail(f"trial {trial} did not train epoch {epoch}")


def epochs_of(trial: int) -> list[int]:
    """Every epoch that a trial has trained, in all runs, repeated ones included."""
    return [e["epoch"]["epoch"] for e in log("EpochTrained") if e["trial"] == trial]


def workers_of(process: subprocess.Popen[Any]) -> list[int]:
    """The child processes of a supervisor."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    return [int(number) for number in children.split()]


def is_running(number: int) -> bool:
    with contextlib.suppress(OSError):
        state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
        return state not in ("Z", "X")
    return False


@pytest.mark.slow
def test_a_signal_saves_the_running_trial_and_shows_the_front_so_far(
    start: Start, tune: Tune
) -> None:
    process = start("run", "study.yaml", "--json", SCRIPT=LONG)
    wait_for_epoch(process, trial=1, epoch=2)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)

    assert process.returncode == EXIT_INTERRUPTED
    # On a busy machine, a second of the 20 is over when it is said.
    left = re.search(
        r"SIGTERM was received: running trials have (\d+) s to write a checkpoint\n", err
    )
    assert left is not None
    assert 10 <= int(left[1]) <= 20
    assert err.endswith(INTERRUPTED)
    assert "Traceback" not in err
    status = json.loads(out)
    assert (status["state"], status["states"]) == ("interrupted", {"complete": 1, "interrupted": 1})
    assert [row["trial"] for row in status["front"]] == [0]
    assert Path("runs/small/report.html").is_file()
    (saved,) = log("TrialInterrupted")
    assert saved["step"] == max(epochs_of(1))

    assert tune("run", "study.yaml").code == EXIT_DONE
    (resumed,) = [e for e in log("TrialStarted") if e["trial"] == 1 and e["attempt"] == 2]
    assert resumed["resumed_after"] == saved["step"]
    assert epochs_of(1) == [1, 2, 3, 4]


@pytest.mark.slow
def test_a_second_signal_does_not_wait_for_a_worker_and_leaves_none_behind(
    start: Start, tune: Tune
) -> None:
    process = start("run", "study.yaml", SCRIPT=COMPILING)
    wait_for(process, "TrialStarted")
    workers = workers_of(process)
    process.send_signal(signal.SIGINT)
    wait_for(process, "StudyInterrupted")
    time.sleep(1.1)  # signals within a second are one request
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)

    assert process.returncode == EXIT_INTERRUPTED
    assert err.endswith(INTERRUPTED)
    assert "Traceback" not in err
    assert out == ""
    assert not log("TrialInterrupted")
    assert workers
    assert not any(map(is_running, workers))
    assert tune("run", "study.yaml").code == EXIT_DONE


@pytest.mark.slow
def test_signals_in_quick_succession_are_one_request(start: Start) -> None:
    process = start("run", "study.yaml", SCRIPT=LONG)
    wait_for_epoch(process, trial=1, epoch=1)
    for sign in (signal.SIGHUP, signal.SIGTERM, signal.SIGHUP):
        process.send_signal(sign)
    _, err = process.communicate(timeout=60)

    assert process.returncode == EXIT_INTERRUPTED
    assert err.endswith(INTERRUPTED)
    assert [event["step"] for event in log("TrialInterrupted")] == [max(epochs_of(1))]


@pytest.mark.slow
def test_a_signal_inside_a_transaction_is_answered_after_it(start: Start) -> None:
    process = start("run", "study.yaml", SCRIPT='{"1": {"keeps": false, "epoch_seconds": 1}}')
    wait_for_epoch(process, trial=1, epoch=1)
    with contextlib.closing(sqlite3.connect("runs/small/study.db", timeout=60)) as other:
        # The supervisor waits for the lock, with a transaction of its own begun.
        other.execute("BEGIN IMMEDIATE")
        process.send_signal(signal.SIGTERM)
        time.sleep(2)
        other.rollback()
    _, err = process.communicate(timeout=60)

    assert process.returncode == EXIT_INTERRUPTED
    assert err.endswith(INTERRUPTED)
    assert "Traceback" not in err
    assert [event["step"] for event in log("TrialInterrupted")] == [max(epochs_of(1))]
    assert read_study(Path("runs/small")).trials[1].state == "running"


@pytest.mark.slow
def test_a_closed_terminal_saves_the_running_trial(folder: Path) -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        ["/usr/bin/setsid", "--ctty", "--wait", *SCRIPTED_CLI, "run", "study.yaml"],
        cwd=folder,
        env=os.environ | {"SCRIPT": LONG},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        wait_for_epoch(process, trial=1, epoch=1)
        os.close(ours)

    assert process.returncode == EXIT_INTERRUPTED
    assert [event["step"] for event in log("TrialInterrupted")] == [max(epochs_of(1))]
    assert Path("runs/small/report.html").is_file()


@pytest.mark.slow
def test_a_study_under_nohup_outlives_its_terminal(folder: Path) -> None:
    with subprocess.Popen(
        ["/usr/bin/nohup", *SCRIPTED_CLI, "run", "study.yaml"],
        cwd=folder,
        env=os.environ | {"SCRIPT": '{"epoch_seconds": 0.1}'},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        wait_for(process, "EpochTrained")
        process.send_signal(signal.SIGHUP)

    assert process.returncode == EXIT_DONE
    assert log()[-1]["event"] == "StudyEnded"


@pytest.mark.slow
def test_a_vanished_reader_of_the_progress_ends_no_study(start: Start) -> None:
    process = start("run", "study.yaml", SCRIPT='{"epoch_seconds": 0.1}')
    wait_for(process, "EpochTrained")
    assert process.stderr is not None
    process.stderr.close()
    process.wait(timeout=60)

    assert log()[-1]["event"] == "StudyEnded"
    assert read_study(Path("runs/small")).activity.state == "ended"


@pytest.mark.slow
def test_a_signal_during_start_up_leaves_no_traceback(folder: Path) -> None:
    for delay, sign in zip((0.4, 0.7, 1.0, 1.3, 1.7, 2.2), SIGNALS * 2, strict=True):
        with subprocess.Popen(
            [*SCRIPTED_CLI, "run", "study.yaml", "--out", f"runs/{delay}"],
            cwd=folder,
            env=os.environ | {"SCRIPT": '{"epoch_seconds": 0.2}'},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            time.sleep(delay)  # at any moment of the run
            process.send_signal(sign)
            _, err = process.communicate(timeout=60)

        # Before the first line of the command line runs, the signal itself ends the process.
        assert process.returncode in (EXIT_INTERRUPTED, -sign), (delay, err)
        assert "Traceback" not in err or process.returncode == -sign, (delay, err)


@pytest.mark.parametrize("sign", SIGNALS)
def test_a_signal_during_the_first_imports_leaves_no_traceback(tmp_path: Path, sign: int) -> None:
    """The command line imports this click first, which sends the signal to its own process."""
    (tmp_path / "click.py").write_text(
        f"import os, time\nos.kill(os.getpid(), {int(sign)})\ntime.sleep(60)\n"
    )
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])

    done = subprocess.run(
        [sys.executable, "-m", "effv2_tune", "variants"],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert (done.returncode, done.stderr) == (-sign, "")


@pytest.mark.slow
def test_a_session_ends_in_time_and_names_the_command_that_continues(
    start: Start, tune: Tune
) -> None:
    script = {"0": {"keeps": False, "epoch_seconds": 10}, "1": {"compile_seconds": 600}}
    command = "effv2-tune run study.yaml --workers 2 --session-hours 0.01"
    process = start(*shlex.split(command)[1:], SCRIPT=json.dumps(script))
    wait_for(process, "TrialStarted", trial=1)
    workers = workers_of(process)
    _, err = process.communicate(timeout=120)

    assert process.returncode == EXIT_DONE, err
    assert err.endswith(f"and the study is not done. To continue: {command}\n")
    assert "Traceback" not in err
    assert len(workers) == 2
    assert not any(map(is_running, workers))
    # The worker in a compilation was ended; the other one wrote its checkpoint.
    saved = {event["trial"]: event["step"] for event in log("TrialInterrupted")}
    assert saved == {0: max(epochs_of(0), default=0), 1: None}
    status = json.loads(tune("status", "small", "--json").out)
    assert (status["state"], status["command"]) == ("interrupted", command)

    assert tune("run", "study.yaml", "--workers", "2", "--session-hours", "1").code == EXIT_DONE
    assert epochs_of(0) == [1, 2, 3, 4]
    assert json.loads(tune("status", "small", "--json").out)["states"] == {"complete": 4}


def test_a_session_that_is_over_at_once_trains_nothing(start: Start) -> None:
    process = start("run", "study.yaml", EFFV2_TUNE_RUN_SESSION_HOURS="1e-9")
    _, err = process.communicate(timeout=60)

    assert process.returncode == EXIT_DONE
    assert err.endswith("To continue: effv2-tune run study.yaml --session-hours 1e-09\n")
    assert not log("TrialStarted")


# Who runs a study.


@pytest.mark.slow
def test_a_killed_study_is_interrupted_and_a_resumed_one_is_running(
    start: Start, tune: Tune
) -> None:
    arguments = ("run", "study.yaml", "--out", "elsewhere", "--trials", "3")
    process = start(*arguments, SCRIPT='{"epoch_seconds": 600}')
    while process.poll() is None and not log("TrialStarted", "elsewhere"):
        time.sleep(0.02)
    alive = json.loads(tune("status", "elsewhere", "--json").out)
    running = tune("status", "elsewhere").out
    process.kill()
    process.wait()
    dead = json.loads(tune("status", "elsewhere", "--json").out)
    interrupted = tune("status", "elsewhere").out
    table = tune("trials", "elsewhere").out
    watched = tune("status", "elsewhere", "--watch").code
    tune("report", "elsewhere")
    page = Path("elsewhere/report.html").read_text()

    assert (alive["state"], alive["states"]) == ("running", {"running": 1})
    assert [row["trial"] for row in alive["running"]] == [0]
    assert "running: trial 0, epoch 0 of 4\nrunning since " in running
    assert (dead["state"], dead["states"]) == ("interrupted", {"interrupted": 1})
    assert (dead["running"], [row["trial"] for row in dead["interrupted"]]) == ([], [0])
    assert dead["since"] >= alive["since"]
    command = "effv2-tune run study.yaml --out elsewhere --trials 3"
    assert dead["command"] == command
    assert "interrupted: trial 0, epoch 0 of 4\ninterrupted since " in interrupted
    assert f" UTC; to resume: {command}\n" in interrupted
    assert " interrupted " in table
    assert watched == EXIT_DONE
    assert re.search(rf"Interrupted since [-0-9: ]+ UTC; to resume: {command}<", page)

    assert tune(*arguments).code == EXIT_DONE
    ended = json.loads(tune("status", "elsewhere", "--json").out)
    assert (ended["state"], ended["ended_by"]) == ("ended", "All 3 trials of the study are done.")
