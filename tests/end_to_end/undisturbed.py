"""Compares a study that was disturbed with the same one that was not."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from effv2_tune.errors import EXIT_DONE, EXIT_FAILED
from effv2_tune.files.checkpoint import CheckpointFolder
from effv2_tune.search import read_study
from effv2_tune.search.storage.backup import BACKUP, DATABASE

if TYPE_CHECKING:
    from pathlib import Path

    from effv2_tune.study.trial import Trial


class Problem(NamedTuple):
    """What is wrong with a study that was disturbed."""

    kind: Literal["differs", "lost", "doubled", "traceback", "exit"]
    text: str


@dataclass(frozen=True)
class Result:
    """What a study came to: everything but the wall clock and the number of attempts.

    Attributes:
        trials: State, config, quality and seconds, curve, rungs, scores of each.
        front: Numbers of the trials on the Pareto front.
        end: Why it ended.
        bucket_times: Step times by bucket.
        arrays: The checkpoints that were kept: trial, step and array to its bytes.
    """

    trials: tuple[Any, ...]
    front: tuple[int, ...]
    end: str
    bucket_times: dict[str, float]
    arrays: dict[tuple[str, int, str], bytes]


def result_of(out: Path) -> Result:
    """Read the result of a study from its folder."""
    record = read_study(out)
    return Result(
        trials=tuple(_facts(trial) for trial in record.trials),
        front=tuple(sorted(record.front())),
        end="" if record.ended_by is None else record.ended_by.kind,
        bucket_times={key: time.step_seconds for key, time in record.bucket_times.items()},
        arrays=_arrays(out / "checkpoints"),
    )


def _facts(trial: Trial) -> tuple[Any, ...]:
    curve = tuple((epoch.epoch, epoch.validation, epoch.learning_rate) for epoch in trial.curve)
    return (
        trial.number,
        trial.state,
        trial.config,
        trial.measurement,
        curve,
        trial.rungs,
        trial.scores,
        trial.bucket,
        trial.replicate_of,
    )


def _arrays(checkpoints: Path) -> dict[tuple[str, int, str], bytes]:
    """Of the newest checkpoint of each trial."""
    found = {}
    for folder in sorted(checkpoints.glob("trial-*")):
        step = CheckpointFolder(folder).newest_step()
        latest = CheckpointFolder(folder).latest() if step else None
        for name, array in {} if latest is None else latest.arrays.items():
            found[folder.name, step, name] = array.tobytes()
    return found


def differences(out: Path, expected: Result) -> list[Problem]:
    """What differs from the undisturbed study, what was lost, and what was recorded twice."""
    found = result_of(out)
    problems = [
        Problem("differs", f"trial {before[0]} is {now[1]}, and differs in {_named(before, now)}")
        for before, now in zip(expected.trials, found.trials, strict=False)
        if before != now
    ]
    missing = len(expected.trials) - len(found.trials)
    if missing:
        problems.append(Problem("lost" if missing > 0 else "doubled", f"{-missing:+} trials"))
    problems += [
        Problem("lost", f"trial {facts[0]} is {facts[1]}")
        for facts in found.trials
        if facts[1] == "running"
    ]
    for name in ("front", "end", "bucket_times"):
        before, now = getattr(expected, name), getattr(found, name)
        if before != now:
            problems.append(Problem("differs", f"{name}: {now} instead of {before}"))
    keys = sorted({*found.arrays, *expected.arrays})
    if other := [key for key in keys if found.arrays.get(key) != expected.arrays.get(key)]:
        problems.append(Problem("differs", f"checkpoints: {other}"))
    return problems + recorded_twice(out) + unsound_files(out)


def wrong_end(code: int, err: str) -> list[Problem]:
    """What is wrong about the end of a command that met a failure of its surroundings."""
    problems = []
    if "Traceback" in err:
        problems.append(Problem("traceback", err))
    if code not in (EXIT_DONE, EXIT_FAILED):
        problems.append(Problem("exit", f"exit code {code}: {err}"))
    if code == EXIT_FAILED and "Error: " not in err:
        problems.append(Problem("exit", f"exit code 1 without a message: {err}"))
    return problems


def recorded_twice(out: Path) -> list[Problem]:
    """Trials whose end is in the log of events more than once."""
    ends = Counter(
        event["trial"]["number"] for event in events_of(out) if event.get("event") == "TrialEnded"
    )
    return [
        Problem("doubled", f"trial {number} ended {count} times")
        for number, count in ends.items()
        if count > 1
    ]


def events_of(out: Path) -> list[dict[str, Any]]:
    """The log of events; a line that a full disk or a kill has cut short is left out."""
    events = []
    for line in (out / "events.jsonl").read_bytes().splitlines():
        with contextlib.suppress(ValueError):
            events.append(json.loads(line))
    return events


def unsound_files(out: Path) -> list[Problem]:
    """What SQLite finds wrong in the database and its backup, and temporary files that stayed."""
    problems = [Problem("differs", f"{path.name} stayed") for path in out.rglob("*.writing*")]
    for name in (DATABASE, BACKUP):
        if not (out / name).is_file():
            problems.append(Problem("lost", f"no {name}"))
            continue
        with contextlib.closing(sqlite3.connect(out / name)) as database:
            answer = database.execute("PRAGMA integrity_check").fetchone()[0]
        if answer != "ok":
            problems.append(Problem("lost", f"{name}: {answer}"))
    return problems


def _named(before: tuple[Any, ...], now: tuple[Any, ...]) -> str:
    names = ("number", "state", "config", "measurement", "curve", "rungs", "scores", "bucket")
    names += ("replicate_of",)
    return ", ".join(n for n, a, b in zip(names, before, now, strict=True) if a != b)
