"""Full and read-only disks end a study with a message, and lose nothing."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.conftest import STUDY

from effv2_tune.errors import EXIT_FAILED
from effv2_tune.search import read_study

if TYPE_CHECKING:
    from collections.abc import Iterator

SCRIPTED_CLI = (sys.executable, str(Path(__file__).resolve().with_name("scripted_cli.py")))
#: Runs a command without root's capability to override permissions (CAP_DAC_OVERRIDE).
WITHOUT_OVERRIDE = (
    sys.executable,
    "-c",
    "import ctypes, os, sys; ctypes.CDLL(None).prctl(24, 1); os.execv(sys.argv[1], sys.argv[1:])",
)
#: Runs a command whose files cannot grow beyond a number of bytes.
WITH_SMALL_FILES = (
    sys.executable,
    "-c",
    (
        "import os, resource, sys; size = int(sys.argv[1]); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)); "
        "os.execv(sys.argv[2], sys.argv[2:])"
    ),
)
REAL_STUDY = """\
name: small
data: {name: digits, train: 128, validation: 64, test: 64}
recipe: {variant: tiny, resolution: 32, epochs: 1, batch_size: 64}
search_space:
  weight_decay: {type: float, low: 1e-6, high: 1e-2, scale: log}
search: {engine: random, halving: {enabled: false}}
trials: 3
keep: all
hardware: cpu
backend: tensorflow
"""
COMMAND = ("run", "study.yaml", "--trials", "12")


def mount(*options: str) -> None:
    subprocess.run(["/bin/mount", *options], check=True)


@contextlib.contextmanager
def small_disk(folder: Path, kilobytes: int) -> Iterator[None]:
    """Mount a memory file system of that size."""
    folder.mkdir(parents=True)
    mount("-t", "tmpfs", "-o", f"size={kilobytes}k", "none", str(folder))
    try:
        yield
    finally:
        subprocess.run(["/bin/umount", "-l", str(folder)], check=True)


def run(
    folder: Path,
    *arguments: str,
    before: tuple[str, ...] = (),
    program: tuple[str, ...] = SCRIPTED_CLI,
) -> tuple[int, str]:
    """Run a command in a process; its exit code and its stderr."""
    done = subprocess.run(
        [*before, *program, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    return done.returncode, done.stderr


def check_failure(outcome: tuple[int, str], *expected: str) -> None:
    code, err = outcome
    assert code == EXIT_FAILED, err
    assert "Traceback" not in err
    assert "Error: " in err
    assert any(words in err for words in expected), err


def check_resumed(folder: Path) -> None:
    """Run the same command: it completes the study."""
    code, err = run(folder, *COMMAND)
    assert code == 0, err
    trials = read_study(folder / "runs/small").trials
    assert [trial.state for trial in trials] == ["complete"] * 12


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")
@pytest.mark.parametrize("kilobytes", [pytest.param(64, marks=pytest.mark.slow), 150, 200, 320])
def test_a_full_disk_is_a_message_and_the_command_resumes(folder: Path, kilobytes: int) -> None:
    out = folder / "runs/small"
    with small_disk(out, kilobytes):
        outcome = run(folder, *COMMAND)
        check_failure(outcome, "disk is full", "No space left on device")

        mount("-o", "remount,size=64m", str(out))
        check_resumed(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")
def test_a_disk_that_is_too_small_for_checkpoints_fails_no_trial(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database and the log have space; the workers have none."""
    monkeypatch.setenv("SCRIPT", json.dumps({"checkpoint_bytes": 20_000, "epoch_seconds": 0.01}))
    (folder / "study.yaml").write_text(STUDY + "keep: all\nworkers: 2\n")
    checkpoints = folder / "runs/small/checkpoints"
    with small_disk(checkpoints, 400):
        code, err = run(folder, *COMMAND)
        assert code == EXIT_FAILED, err
        assert "Traceback" not in err
        assert re.search(r"Error: Trial \d+ was interrupted: No space left on device \(\S+", err)
        assert "/checkpoints/trial-000" in err
        assert err.rstrip().endswith("Fix this, then rerun the same command to resume.")
        states = [trial.state for trial in read_study(folder / "runs/small").trials]
        assert set(states) == {"complete", "running"}
        assert states.count("running") <= 2

        mount("-o", "remount,size=64m", str(checkpoints))
        check_resumed(folder)


def test_a_limit_on_the_size_of_files_interrupts_the_trial_whose_checkpoint_exceeds_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCRIPT", json.dumps({"checkpoint_bytes": 800_000}))

    outcome = run(folder, *COMMAND, before=(*WITH_SMALL_FILES, "700000"))

    check_failure(outcome, "Trial 0 was interrupted: File too large (")
    assert [trial.state for trial in read_study(folder / "runs/small").trials] == ["running"]
    check_resumed(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")
def test_a_read_only_disk_is_a_message_and_the_command_resumes(folder: Path) -> None:
    out = folder / "runs/small"
    with small_disk(out, 64_000):
        assert run(folder, "run", "study.yaml", "--trials", "2")[0] == 0
        mount("-o", "remount,ro", str(out))
        code, err = run(folder, *COMMAND)
        assert code != 0
        assert "Traceback" not in err
        assert "cannot be written" in err
        assert run(folder, "status", "small")[0] == 0

        mount("-o", "remount,rw", str(out))
        check_resumed(folder)


@pytest.mark.parametrize("kilobytes", [pytest.param(60, marks=pytest.mark.slow), 120, 140])
def test_a_limit_on_the_size_of_files_is_a_message_and_the_command_resumes(
    folder: Path, kilobytes: int
) -> None:
    before = (*WITH_SMALL_FILES, str(1024 * kilobytes))

    check_failure(run(folder, *COMMAND, before=before), "disk I/O error", "File too large")
    check_resumed(folder)


@pytest.mark.parametrize("name", ["study.db", "events.jsonl", "logs/worker-0.log", "report.html"])
def test_what_cannot_be_written_is_a_message_and_the_command_resumes(
    folder: Path, name: str
) -> None:
    assert run(folder, "run", "study.yaml", "--trials", "2")[0] == 0
    protected = folder / "runs/small"
    if name != "report.html":  # which is replaced in a folder that can be written
        protected /= name
    mode = protected.stat().st_mode
    protected.chmod(0o555 if protected.is_dir() else 0o444)

    code, err = run(folder, *COMMAND, before=WITHOUT_OVERRIDE)

    protected.chmod(mode)
    assert code != 0
    assert "Traceback" not in err
    assert str(protected.relative_to(folder)) in err
    check_resumed(folder)


def test_a_backup_that_cannot_be_written_ends_no_study(folder: Path) -> None:
    (folder / "runs/small/study.db.backup").mkdir(parents=True)

    code, err = run(folder, *COMMAND)

    assert code == 0, err
    assert err.count("the backup of the database was not written: Is a directory") == 3
    (folder / "runs/small/study.db.backup").rmdir()
    check_resumed(folder)
    assert (folder / "runs/small/study.db.backup").is_file()


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")
def test_a_real_worker_on_a_full_disk_fails_no_trial(folder: Path) -> None:
    (folder / "study.yaml").write_text(REAL_STUDY)
    checkpoints = folder / "runs/small/checkpoints"

    def run_real() -> tuple[int, str]:
        return run(folder, "run", "study.yaml", program=(sys.executable, "-m", "effv2_tune"))

    with small_disk(checkpoints, 120):
        outcome = run_real()
        check_failure(outcome, "was interrupted: No space left on device (")
        states = [trial.state for trial in read_study(folder / "runs/small").trials]
        assert states[-1] == "running"
        assert set(states[:-1]) <= {"complete"}

        mount("-o", "remount,size=64m", str(checkpoints))
        code, err = run_real()
    assert code == 0, err
    trials = read_study(folder / "runs/small").trials
    assert [trial.state for trial in trials] == ["complete"] * 3
