"""A step time that was measured on a busy machine is measured again, and restated."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import optuna
import pytest

from effv2_tune.search import read_study
from effv2_tune.search.events import BucketTimeRestated
from effv2_tune.search.storage.snapshot import database_url

if TYPE_CHECKING:
    from collections.abc import Callable

    from effv2_tune.search.events import Event
    from effv2_tune.study.plan import StudyPlan

    MakePlan = Callable[..., StudyPlan]
    RunScripted = Callable[..., list[Event]]

ROOT = Path(__file__).resolve().parents[2]
#: Measured while the machine was busy, steps took twice as long as they should; trials show it, and
#: measured again they are right.
BUSY = {"pace": 2.0, "own_pace": 1.0, "again": {"32": 1.0, "64": 1.0}, "train_seconds": 60.0}
CONFIGS = [
    {"weight_decay": weight_decay, "resolution": resolution}
    for weight_decay, resolution in ((0.01, 32), (0.02, 64), (0.03, 32), (0.04, 64))
]


def restatements(events: list[Event]) -> list[BucketTimeRestated]:
    return [event for event in events if isinstance(event, BucketTimeRestated)]


def seconds_of(folder: Path) -> list[float]:
    return [
        trial.measurement.train_seconds
        for trial in read_study(folder).trials
        if trial.measurement is not None
    ]


def values_in_optuna(folder: Path) -> list[float]:
    study = optuna.load_study(study_name="tiny", storage=database_url(folder))
    return [trial.values[1] for trial in study.trials]


def test_trials_that_were_faster_have_the_bucket_measured_again_and_restated(
    tmp_path: Path, make_plan: MakePlan, run_scripted: RunScripted
) -> None:
    plan = make_plan(trials=4, enqueue=CONFIGS)

    events = run_scripted(plan, tmp_path, script=BUSY)

    quiet = tmp_path / "quiet"
    run_scripted(plan, quiet, script={"pace": 1.0})
    record = read_study(tmp_path)
    assert seconds_of(tmp_path) == pytest.approx(seconds_of(quiet))
    assert [len(versions) for versions in record.time_versions.values()] == [2, 2]
    assert record.contradictions == ()
    # Before the second trial of each bucket, and the first one is restated.
    assert [(one.trials, one.old_seconds, one.new_seconds) for one in restatements(events)] == [
        ((0,), 0.064, 0.032),
        ((1,), 0.128, 0.064),
    ]
    # Optuna's values of trials that have ended can not be changed: they stay as first reported.
    ratios = [
        then / now
        for then, now in zip(values_in_optuna(tmp_path), seconds_of(tmp_path), strict=True)
    ]
    assert ratios == pytest.approx([2, 2, 1, 1])
    # A study with restated times can be resumed.
    run_scripted(make_plan(trials=5, enqueue=CONFIGS), tmp_path, script={"own_pace": 1.0})
    assert len(read_study(tmp_path).trials) == 5


def test_the_last_trial_can_still_have_its_bucket_restated(
    tmp_path: Path, make_plan: MakePlan, run_scripted: RunScripted
) -> None:
    script = BUSY | {"again_seconds": 0.1}
    events = run_scripted(make_plan(trials=1, enqueue=CONFIGS[:1]), tmp_path, script=script)

    (restated,) = restatements(events)
    assert (restated.trials, restated.front_changed) == ((0,), False)
    assert events.index(restated) == len(events) - 2


def test_a_restated_time_can_change_the_front(
    tmp_path: Path, make_plan: MakePlan, run_scripted: RunScripted
) -> None:
    configs = [*CONFIGS[:2], {"weight_decay": 0.001, "resolution": 64}]
    # At 64 px, it turns out, steps take no longer than half of those at 32 px.
    script = BUSY | {"pace": 1.0, "2": {"slower": 0.2}, "again": {"64": 0.25}}
    events = run_scripted(make_plan(trials=3, enqueue=configs), tmp_path, script=script)

    (restated,) = restatements(events)
    assert (restated.trials, restated.front_changed) == ((1,), True)
    assert read_study(tmp_path).front() == [1]


def test_on_a_cpu_the_trials_own_steps_correct_the_time_without_another_measurement(
    tmp_path: Path, make_plan: MakePlan, run_scripted: RunScripted
) -> None:
    script = {"own_pace": 1.06, "processors": 1.6, "train_seconds": 60.0}

    events = run_scripted(make_plan(trials=4, enqueue=CONFIGS), tmp_path, script=script)

    by_trial = [(one.by_trial, one.trials) for one in restatements(events)]
    assert by_trial == [(0, (0,)), (1, (1,)), (2, (0, 2)), (3, (1, 3))]
    newest = [versions[-1] for versions in read_study(tmp_path).time_versions.values()]
    for bucket, pixels in enumerate((32, 64)):
        assert 1.04 < newest[bucket].step_seconds / (0.001 * pixels) < 1.06
        assert (newest[bucket].measurements, newest[bucket].trials) == (1, (bucket, bucket + 2))
    seconds = [6 * 7 * newest[number % 2].step_seconds for number in range(4)]
    assert seconds_of(tmp_path) == pytest.approx(seconds)


def test_a_recorded_clock_is_never_measured_again(
    tmp_path: Path, make_plan: MakePlan, run_scripted: RunScripted
) -> None:
    run_scripted(make_plan(trials=2), tmp_path / "first", script={"pace": 2.0})
    plan = make_plan(trials=2, clock={"recorded": "../first"})

    events = run_scripted(plan, tmp_path / "again", script=BUSY)

    assert restatements(events) == []
    assert seconds_of(tmp_path / "again") == seconds_of(tmp_path / "first")


KILLED = """
import os, signal, sys
import sqlalchemy as sa
from effv2_tune.search.storage.facts import Facts
from tests.end_to_end.scripted_cli import main, OpenStudy, WORKER

restate = Facts.restate

def killed(self, key, value, *, replaces):
    if {when!r} == "before":
        sa.event.listen(self._engine, "commit", lambda _: os.kill(os.getpid(), signal.SIGKILL))
    newest = restate(self, key, value, replaces=replaces)
    os.kill(os.getpid(), signal.SIGKILL)

Facts.restate = killed
OpenStudy.run.__kwdefaults__["worker_command"] = (sys.executable, str(WORKER))
main()
"""


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_study_killed_around_a_restatement_has_it_wholly_or_not_and_the_next_command_ends_it(
    tmp_path: Path,
    make_plan: MakePlan,
    run_scripted: RunScripted,
    when: Literal["before", "after"],
) -> None:
    study: dict[str, Any] = {
        "name": "tiny",
        "recipe": {"epochs": 6, "schedule": "constant"},
        "search_space": {
            "weight_decay": {"type": "float", "low": 1e-6, "high": 1e-1, "scale": "log"},
            "resolution": {"type": "choice", "values": [32, 64]},
        },
        "enqueue": CONFIGS,
        "trials": 4,
    }
    (tmp_path / "study.yaml").write_text(json.dumps(study))
    command = [sys.executable, "-c", KILLED.format(when=when), "run", "study.yaml"]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"SCRIPT": json.dumps(BUSY), "PYTHONPATH": path}
    done = subprocess.run(command, cwd=tmp_path, env=environment, check=False, capture_output=True)

    folder = tmp_path / "runs" / "tiny"
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    # It happened as a whole, or never.
    versions = next(iter(read_study(folder).time_versions.values()))
    assert [one.step_seconds for one in versions] == [0.064, 0.032][: 1 + (when == "after")]
    assert seconds_of(folder) == pytest.approx([6 * 7 * versions[-1].step_seconds])
    assert read_study(folder).contradictions == ()

    run_scripted(make_plan(trials=4, enqueue=CONFIGS), folder, script=BUSY)

    quiet = tmp_path / "quiet"
    run_scripted(make_plan(trials=4, enqueue=CONFIGS), quiet, script={"pace": 1.0})
    assert seconds_of(folder) == pytest.approx(seconds_of(quiet))
