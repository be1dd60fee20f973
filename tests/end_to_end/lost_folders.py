"""Runs a study whose folder is deleted again and again, and restored from its mirror.

With ``trials`` and ``losses`` in the hundreds it is the long form of `test_mirror.py`.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from effv2_tune.files.checkpoint import read_checkpoint
from effv2_tune.files.remote import RemoteFolder
from effv2_tune.files.versions import Version, newest_versions
from effv2_tune.search import read_study
from effv2_tune.search.mirror.contents import is_mirrored

SCRIPTED_CLI = (sys.executable, str(Path(__file__).resolve().with_name("scripted_cli.py")))
STUDY = """\
name: lost
recipe: {epochs: 6, schedule: constant}
search_space:
  weight_decay: {type: float, low: 1e-6, high: 1e-1, scale: log}
  resolution: {type: choice, values: [32, 64]}
keep: all
"""


@dataclass(frozen=True)
class Loss:
    """One deletion of a study's folder.

    Attributes:
        ended: Trials that had ended in the last version of the mirror.
        restored: Trials that had ended in what was restored.
        epochs: By running trial, the epoch of its checkpoint in that version.
        resumed: By trial, the epoch that it was resumed after.
    """

    ended: int
    restored: int
    epochs: dict[int, int]
    resumed: dict[int, int]


def run_losing_folders(
    base: Path, *, trials: int, losses: int, workers: int = 1, epoch_seconds: float = 0.15
) -> list[Loss]:
    """Run a study of scripted trials in ``base/runs/lost``; its mirror is ``base/mirror``.

    Each time that the mirror has a few more ended trials, and a checkpoint of a running one, all
    processes are killed and the folder is deleted.
    """
    (base / "study.yaml").write_text(STUDY)
    out, mirror = base / "runs" / "lost", base / "mirror"
    command = [*SCRIPTED_CLI, "run", "study.yaml", "--mirror", str(mirror)]
    command += ["--trials", str(trials), "--workers", str(workers)]
    seen: list[Version] = []
    found: list[Loss] = []
    epochs: dict[int, int] = {}
    for number in range(losses + 1):
        process = start(command, base, epoch_seconds)
        if number < losses:
            least = (number + 1) * trials // (losses + 1)
            # At least one more than was restored: that has then been resumed.
            least = max(least, seen[-1].facts["ended"] + 1 if seen else 0)
            version = wait_for_version(mirror, process, least)
            kill(process)
            newest = newest_version(mirror)
        else:
            _, err = process.communicate()
            assert process.returncode == 0, err
            version = newest = newest_version(mirror)
        assert version is not None
        assert newest is not None
        if seen:
            found.append(compare(seen[-1], out, epochs))
        seen.append(newest)
        if number < losses:
            # A version may have the checkpoint of a trial that was pruned just then.
            pruned = {trial.number for trial in read_study(out).trials if trial.state == "pruned"}
            epochs = {n: epoch for n, epoch in running(newest).items() if n not in pruned}
            shutil.rmtree(out)
    return found


def start(command: list[str], base: Path, epoch_seconds: float) -> subprocess.Popen[str]:
    script = json.dumps({"epoch_seconds": epoch_seconds})
    return subprocess.Popen(
        command,
        cwd=base,
        env=os.environ | {"SCRIPT": script, "MIRROR_SECONDS": "0.1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def newest_version(mirror: Path) -> Version | None:
    """The newest version; None where a writer removes the versions that are read."""
    try:
        return next(newest_versions(RemoteFolder(str(mirror)), is_path=is_mirrored), None)
    except Exception:
        return None


def wait_for_version(mirror: Path, process: subprocess.Popen[str], least: int) -> Version:
    """Wait for a version with so many ended trials, and the checkpoint of one that runs."""
    while process.poll() is None:
        version = newest_version(mirror)
        if version is not None and version.facts["ended"] >= least and running(version):
            return version
        time.sleep(0.01)
    raise AssertionError(process.communicate())


def running(version: Version, *, last: int = 6) -> dict[int, int]:
    """By trial that has not ended, the epoch of its checkpoint: scripted steps are epochs."""
    epochs = {
        int(path.split("/")[1].removeprefix("trial-")): int(Path(path).stem.removeprefix("step-"))
        for path in version.files
        if path.startswith("checkpoints/")
    }
    return {trial: epoch for trial, epoch in epochs.items() if epoch < last}


def kill(process: subprocess.Popen[str]) -> None:
    """Kill a supervisor and its workers, as the end of their machine does."""
    workers = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGKILL)
    for worker in workers:
        worker.kill()
    psutil.wait_procs(workers)
    process.communicate()


def compare(version: Version, out: Path, epochs: dict[int, int]) -> Loss:
    """What a run has restored, by its log, of the version before it."""
    log = (out / "events.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in log if line.endswith("}")]
    starts = [n for n, event in enumerate(events) if event["event"] == "StudyRestored"]
    events = events[starts[-1] :]
    resumed: dict[int, int] = {}
    for event in events:
        if event["event"] == "TrialStarted":
            resumed.setdefault(event["trial"], event["resumed_after"])
    return Loss(version.facts["ended"], events[0]["ended"], epochs, resumed)


def outcome(folder: Path) -> list[Any]:
    """What a study came to, and the arrays of its checkpoints, without times of the clock."""
    trials = read_study(folder).trials
    arrays = []
    for trial in trials:
        checkpoints = folder / "checkpoints" / f"trial-{trial.number:05d}"
        paths = sorted(checkpoints.glob("step-*"))
        arrays.append(read_checkpoint(paths[-1]).arrays["state"].tolist() if paths else None)
    return [
        (
            trial.number,
            trial.state,
            trial.config,
            trial.measurement,
            trial.rungs,
            trial.curve,
            array,
        )
        for trial, array in zip(trials, arrays, strict=True)
    ]
