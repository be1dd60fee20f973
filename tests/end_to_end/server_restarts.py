"""Runs a study on a PostgreSQL server that crashes again and again, and counts what is lost."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.end_to_end.postgresql_server import restart_server

from effv2_tune.search import read_study

if TYPE_CHECKING:
    from tests.end_to_end.postgresql_server import Server

SCRIPTED_CLI = (sys.executable, str(Path(__file__).resolve().with_name("scripted_cli.py")))
STUDY = """\
name: {name}
recipe: {{epochs: 4, schedule: constant}}
search_space:
  weight_decay: {{type: float, low: 1e-6, high: 1e-1, scale: log}}
  resolution: {{type: choice, values: [32, 64]}}
search: {{halving: {{enabled: false}}}}
trials: {trials}
workers: 2
"""


@dataclass(frozen=True)
class Restarts:
    """What the server does while the study runs.

    Attributes:
        count: Crashes, each followed by a start at once.
        absent_seconds: The server is stopped once for so long.
        pause_seconds: The longest time between two of them.
        seed: Of the moments.
    """

    count: int
    absent_seconds: float
    pause_seconds: float = 2.0
    seed: int = 0


@dataclass(frozen=True)
class Figures:
    """What came of it.

    Attributes:
        deaths: Supervisors that did not exit with 0, and workers that died.
        lost: Trials that are not complete in the database.
        doubled: Trials whose end was reported more than once.
        resumed: Trials that took more than one attempt.
        restarts: Crashes while the study ran.
        notices: Events that report the database as unavailable.
        seconds: Of the whole.
        errors: What the supervisors printed on stderr.
    """

    deaths: int
    lost: int
    doubled: int
    resumed: int
    restarts: int
    notices: int
    seconds: float
    errors: tuple[str, ...]


def run_with_restarts(
    server: Server, folder: Path, *, trials: int, epoch_seconds: float, restarts: Restarts
) -> Figures:
    """Run a study with two supervisors of two scripted workers each.

    Args:
        server: Crashes while they run.
        folder: For the study; its name is that of the study.
        trials: Of the study; long enough for all restarts.
        epoch_seconds: Of each of the four epochs of a trial.
        restarts: What the server does.
    """
    started = time.monotonic()
    name = folder.name
    (folder / "study.yaml").write_text(STUDY.format(name=name, trials=trials))
    outs = [folder / "one", folder / "other"]
    supervisors = [_start(server, folder, out, epoch_seconds) for out in outs]
    crashes = _crash(server, supervisors, outs, restarts)
    exits = [supervisor.wait(timeout=900) for supervisor in supervisors]
    record = read_study(server.url, name=name)
    logs = [(out / "events.jsonl").read_text(encoding="utf-8") for out in outs]
    events = [json.loads(line) for log in logs for line in log.splitlines()]
    ended = Counter(e["trial"]["number"] for e in events if e["event"] == "TrialEnded")
    kinds = Counter(event["event"] for event in events)
    complete = {trial.number for trial in record.trials if trial.state == "complete"}
    return Figures(
        deaths=sum(code != 0 for code in exits) + kinds["WorkerDied"],
        lost=len(set(range(trials)) - (complete & set(ended))),
        doubled=sum(count > 1 for count in ended.values()) + max(len(record.trials) - trials, 0),
        resumed=sum(trial.attempts > 1 for trial in record.trials),
        restarts=crashes,
        notices=kinds["DatabaseUnavailable"],
        seconds=time.monotonic() - started,
        errors=tuple(_errors(out).read_text(encoding="utf-8") for out in outs),
    )


def _start(
    server: Server, folder: Path, out: Path, epoch_seconds: float
) -> subprocess.Popen[bytes]:
    with _errors(out).open("w", encoding="utf-8") as errors:
        return subprocess.Popen(
            [*SCRIPTED_CLI, "run", "study.yaml", "--storage", server.url, "--out", str(out)],
            cwd=folder,
            env=os.environ | {"SCRIPT": json.dumps({"epoch_seconds": epoch_seconds})},
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )


def _errors(out: Path) -> Path:
    return out.with_suffix(".stderr")


def _crash(
    server: Server, supervisors: list[subprocess.Popen[bytes]], outs: list[Path], restarts: Restarts
) -> int:
    """Crash the server as often as asked, while the study runs; returns how often."""
    moments = random.Random(restarts.seed)  # noqa: S311 - moments, not secrets
    while not all(_has_begun(out) for out in outs):
        if any(supervisor.poll() is not None for supervisor in supervisors):
            return 0
        time.sleep(0.05)
    absences = [0.0] * restarts.count
    absences.insert(restarts.count // 2, restarts.absent_seconds)
    for done, absent in enumerate(absences):
        time.sleep(moments.uniform(0.0, restarts.pause_seconds))
        if all(supervisor.poll() is not None for supervisor in supervisors):
            return done
        restart_server(server, absent_seconds=absent)
    return len(absences)


def _has_begun(out: Path) -> bool:
    events = out / "events.jsonl"
    return events.is_file() and "TrialStarted" in events.read_text(encoding="utf-8")
