"""Studies whose trials are paused at every rung."""

from __future__ import annotations

import contextlib
import random
import shutil
import sqlite3
from typing import TYPE_CHECKING

import pytest
from tests.end_to_end.conftest import SCRIPTED_WORKER
from tests.search.pausing.pausing_policy import PauseAlways

from effv2_tune.errors import UnavailableError
from effv2_tune.files.checkpoint import CheckpointFolder
from effv2_tune.search import read_study
from effv2_tune.search.events import (
    StudyEnded,
    TrialEnded,
    TrialPaused,
    TrialPromoted,
    TrialStarted,
)
from effv2_tune.search.loop import run_study
from effv2_tune.search.supervisor import open_study
from effv2_tune.workers.messages import Paused, Unavailable
from effv2_tune.workers.pool import checkpoint_folder
from effv2_tune.workers.supervised_pool import SupervisedPool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from effv2_tune.search.events import Event
    from effv2_tune.study.plan import StudyPlan
    from effv2_tune.study.trial import Trial
    from effv2_tune.workers.messages import FromWorker
    from effv2_tune.workers.pool import WorkerExited

    MakePlan = Callable[..., StudyPlan]
    RunScripted = Callable[..., list[Event]]


@pytest.fixture(autouse=True)
def pausing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_study.__kwdefaults__ is not None
    monkeypatch.setitem(run_study.__kwdefaults__, "policy", PauseAlways())


def paused(out: Path) -> list[int]:
    return [trial.number for trial in read_study(out).trials if trial.state == "paused"]


def test_a_paused_trial_keeps_its_checkpoint_and_continues_from_it(
    tmp_path: Path, make_plan: MakePlan, run_scripted: RunScripted
) -> None:
    plan = make_plan(trials=16)
    out = tmp_path / "study"
    kept: list[bool] = []

    def look(event: Event) -> None:
        if isinstance(event, TrialPaused | TrialEnded):
            for trial in read_study(out).trials:
                folder = CheckpointFolder(checkpoint_folder(out, trial.number))
                if trial.pause is not None and trial.state == "paused":
                    kept.append(folder.newest_step() == trial.pause.step == trial.pause.epoch)

    events = run_scripted(plan, out, on_event=look)

    assert len(kept) > 16
    assert all(kept)
    promoted = {e.trial: e.pause for e in events if isinstance(e, TrialPromoted)}
    starts = {e.trial: e for e in events if isinstance(e, TrialStarted)}
    for number, pause in promoted.items():
        assert starts[number].resumed_after == pause.epoch
        assert starts[number].starts_over == ""


def test_at_the_end_of_the_study_paused_trials_are_pruned_and_their_checkpoints_deleted(
    tmp_path: Path, make_plan: MakePlan, run_scripted: RunScripted
) -> None:
    events = run_scripted(make_plan(trials=8), tmp_path)

    record = read_study(tmp_path)
    stopped = [trial for trial in record.trials if "as the study ended" in trial.reason]
    assert stopped
    assert {trial.state for trial in record.trials} == {"complete", "pruned"}
    assert isinstance(events[-1], StudyEnded)
    assert not any(checkpoint_folder(tmp_path, trial.number).exists() for trial in stopped)
    assert record.contradictions == ()
    again = run_scripted(make_plan(trials=8), tmp_path)
    assert [type(event).__name__ for event in again] == ["StudyStarted", "StudyEnded"]


def test_interrupted_anywhere_the_study_ends_as_undisturbed(
    tmp_path: Path, make_plan: MakePlan, run_scripted: RunScripted
) -> None:
    plan, chance = make_plan(trials=10), random.Random(0)  # noqa: S311 - not for cryptography
    run_scripted(plan, tmp_path / "whole")
    left, restarts = 0, 0

    def interrupt(_: Event) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise KeyboardInterrupt

    while not restarts or read_study(tmp_path / "cut").ended_by is None:
        left = chance.randint(1, 40)
        restarts += 1
        try:
            run_scripted(plan, tmp_path / "cut", on_event=interrupt)
        except KeyboardInterrupt:
            continue

    def facts(out: Path) -> list[object]:
        trials = read_study(out).trials
        return [(t.state, t.config, t.measurement, t.rungs, t.reason) for t in trials]

    assert restarts > 3
    assert facts(tmp_path / "cut") == facts(tmp_path / "whole")


def test_another_machine_continues_a_paused_trial_from_the_mirror(
    tmp_path: Path, make_plan: MakePlan, run_scripted: RunScripted
) -> None:
    plan = make_plan(trials=6)
    run_scripted(plan, tmp_path / "whole")
    first, second = tmp_path / "first", tmp_path / "second"

    # The mirror gets its last version when a study is left.
    for event in run_mirrored(plan, first, tmp_path / "mirror"):
        if isinstance(event, TrialPaused) and len(paused(first)) == 3:
            break
    shutil.rmtree(first)

    events = list(run_mirrored(plan, second, tmp_path / "mirror"))

    continued = [e for e in events if isinstance(e, TrialStarted) and e.attempt > 1]
    assert continued
    assert all(start.resumed_after and not start.starts_over for start in continued)
    assert [t.measurement for t in read_study(second).trials] == [
        t.measurement for t in read_study(tmp_path / "whole").trials
    ]


def run_mirrored(plan: StudyPlan, out: Path, mirror: Path) -> Iterator[Event]:
    with open_study(plan, out, base=out.parent, mirror=str(mirror)) as study:
        story = study.run(hardware="cpu", backend="tensorflow", worker_command=SCRIPTED_WORKER)
        with contextlib.closing(story):  # type: ignore[type-var]
            yield from story


def test_a_paused_trial_without_its_mark_is_paused_again(
    tmp_path: Path, make_plan: MakePlan, run_scripted: RunScripted
) -> None:
    run_scripted(make_plan(trials=6), tmp_path / "whole")
    out = tmp_path / "unmarked"

    def interrupt(_: Event) -> None:
        if len(paused(out)) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_scripted(make_plan(trials=6), out, on_event=interrupt)
    with contextlib.closing(sqlite3.connect(out / "study.db")) as database:
        database.execute("UPDATE leases SET token = ''")
        database.commit()

    run_scripted(make_plan(trials=6), out)

    assert [(t.measurement, t.rungs) for t in read_study(out).trials] == [
        (t.measurement, t.rungs) for t in read_study(tmp_path / "whole").trials
    ]


def test_a_paused_trial_that_has_lost_its_checkpoint_starts_over_to_the_same_curve(
    tmp_path: Path, make_plan: MakePlan, run_scripted: RunScripted
) -> None:
    run_scripted(make_plan(trials=6), tmp_path / "whole")
    out = tmp_path / "torn"

    def lose(event: Event) -> None:
        if isinstance(event, TrialPaused):
            CheckpointFolder(checkpoint_folder(out, event.trial)).clear()

    events = run_scripted(make_plan(trials=6), out, on_event=lose)

    assert any(e.starts_over for e in events if isinstance(e, TrialStarted))
    assert [(t.measurement, t.rungs) for t in read_study(out).trials] == [
        (t.measurement, t.rungs) for t in read_study(tmp_path / "whole").trials
    ]


def test_a_full_disk_stops_paused_trials_and_the_study_goes_on(
    tmp_path: Path,
    make_plan: MakePlan,
    run_scripted: RunScripted,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A disk that has room for the checkpoints of two trials, until two were stopped."""
    stopped: list[Trial] = []

    def missing(checkpoints: Path, *, workers: int) -> int:
        assert workers == 1
        return 0 if len(stopped) >= 2 else max(0, len(list(checkpoints.glob("trial-*"))) - 2)

    def note(event: Event) -> None:
        if isinstance(event, TrialEnded) and "the disk was nearly full" in event.trial.reason:
            stopped.append(event.trial)

    monkeypatch.setattr("effv2_tune.search.supervisor.missing_bytes", missing)

    run_scripted(make_plan(trials=12, keep="none"), tmp_path, on_event=note)

    assert [trial.state for trial in stopped] == ["pruned", "pruned"]
    assert any(trial.state == "complete" for trial in read_study(tmp_path).trials)


def test_a_worker_that_meets_a_full_disk_goes_on_once_a_paused_trial_is_stopped(
    tmp_path: Path,
    make_plan: MakePlan,
    run_scripted: RunScripted,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The worker of trial 3 cannot write, until a checkpoint is deleted."""
    full, failures = False, 0

    def missing(checkpoints: Path, *, workers: int) -> int:
        del workers
        return len(list(checkpoints.glob("trial-*"))) if full else 0

    def wait(pool: SupervisedPool, timeout: float) -> list[tuple[int, FromWorker | WorkerExited]]:
        nonlocal full, failures
        received = list(receive(pool, timeout))
        for place, (worker, message) in enumerate(received):
            if isinstance(message, Paused) and message.trial == 3 and not failures:
                full, failures = True, 1
                error = UnavailableError("The disk is full.")
                received[place] = (worker, Unavailable.of(3, error))
        return received

    def note(event: Event) -> None:
        nonlocal full
        full &= not isinstance(event, TrialEnded)

    receive = SupervisedPool.wait
    monkeypatch.setattr(SupervisedPool, "wait", wait)
    monkeypatch.setattr("effv2_tune.search.supervisor.missing_bytes", missing)

    run_scripted(make_plan(trials=6), tmp_path, on_event=note)

    trials = read_study(tmp_path).trials
    assert sum("the disk was nearly full" in trial.reason for trial in trials) == 1
    assert {trial.state for trial in trials} == {"complete", "pruned"}
