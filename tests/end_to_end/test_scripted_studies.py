"""Whole studies in real folders, with real worker processes that train nothing."""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.search.storage.earlier_version import remove_checksums

from effv2_tune.errors import EXIT_FAILED, TuneError
from effv2_tune.files.checkpoint import Checkpoint, CheckpointFolder
from effv2_tune.search import read_study
from effv2_tune.search.clock import SystemClock
from effv2_tune.search.events import (
    CheckpointsSetAside,
    EpochTrained,
    StudyEnded,
    TrialEnded,
    TrialInterrupted,
    TrialStarted,
    WorkerDied,
    WorkerReady,
    WorkerReplaced,
    WorkerWaits,
)
from effv2_tune.search.supervisor import open_study
from effv2_tune.workers.exits import OomCounter
from effv2_tune.workers.pool import checkpoint_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from effv2_tune.search.events import Event
    from effv2_tune.study.plan import StudyPlan

    MakePlan = Callable[..., StudyPlan]
    RunScripted = Callable[..., list[Event]]

SCRIPTED_WORKER = (sys.executable, str(Path(__file__).with_name("scripted_worker.py")))
NO_HALVING = {"halving": {"enabled": False}}


def folders(out: Path) -> list[int]:
    """Numbers of the trials that have a folder of checkpoints."""
    found = (out / "checkpoints").iterdir()
    return sorted(int(path.name.removeprefix("trial-")) for path in found)


def of_kind(kind: type[Any], events: Sequence[Event]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def test_a_study_ends_with_all_its_trials_told(
    tmp_path: Path, make_plan: MakePlan, run_scripted: RunScripted
) -> None:
    events = run_scripted(make_plan(), tmp_path)

    record = read_study(tmp_path)
    assert isinstance(events[-1], StudyEnded)
    assert record.ended_by == events[-1]
    assert events[-1].kind == "trials"
    assert [trial.number for trial in record.trials] == list(range(8))
    assert {trial.state for trial in record.trials} <= {"complete", "pruned"}
    assert record.front()
    assert len(record.bucket_times) == 2


def test_train_seconds_are_planned_steps_times_the_step_time_of_the_bucket(
    tmp_path: Path, make_plan: MakePlan, run_scripted: RunScripted
) -> None:
    run_scripted(make_plan(trials=3), tmp_path)

    trial = read_study(tmp_path).trials[0]
    assert trial.measurement is not None
    assert trial.recipe is not None
    steps = 6 * (1000 // 128)
    assert trial.measurement.train_seconds == pytest.approx(steps * 0.001 * trial.recipe.pixels)
    assert trial.times.step_bucket == pytest.approx(0.001 * trial.recipe.pixels)


def test_the_extraction_of_a_frozen_backbone_counts_once_in_every_trial(
    tmp_path: Path, make_plan: MakePlan, run_scripted: RunScripted
) -> None:
    run_scripted(make_plan(search=NO_HALVING), tmp_path, script={"extraction_seconds": 5})

    trials = read_study(tmp_path).trials
    assert len({trial.bucket for trial in trials}) < len(trials)
    for trial in trials:
        assert trial.measurement is not None
        assert trial.recipe is not None
        steps = 6 * (1000 // 128) * 0.001 * trial.recipe.pixels
        assert trial.measurement.train_seconds == pytest.approx(steps + 5)


def test_the_same_command_again_adds_nothing_and_starts_no_worker(
    tmp_path: Path, make_plan: MakePlan, run_scripted: RunScripted
) -> None:
    run_scripted(make_plan(), tmp_path)

    again = run_scripted(make_plan(), tmp_path)

    assert [type(event).__name__ for event in again] == ["StudyStarted", "StudyEnded"]


def test_trials_are_a_total(tmp_path: Path, make_plan: MakePlan, run_scripted: RunScripted) -> None:
    run_scripted(make_plan(trials=3), tmp_path)
    run_scripted(make_plan(trials=5), tmp_path)

    assert len(read_study(tmp_path).trials) == 5


def test_a_dead_worker_costs_no_trial(
    tmp_path: Path, make_plan: MakePlan, run_scripted: RunScripted
) -> None:
    script = {"1": {"die_at": 3, "times": 1}}
    plan = make_plan(trials=3, search={"halving": {"enabled": False}})

    events = run_scripted(plan, tmp_path, script=script)

    died = [event for event in events if isinstance(event, WorkerDied)]
    starts = [e for e in events if isinstance(e, TrialStarted) and e.trial == 1]
    trial = read_study(tmp_path).trials[1]
    assert [event.trial for event in died] == [1]
    assert "SIGKILL" in died[0].cause
    assert "dying now" in died[0].log_tail
    assert [start.resumed_after for start in starts] == [0, 2]
    assert (trial.state, trial.attempts) == ("complete", 2)
    assert [epoch.epoch for epoch in trial.curve] == [1, 2, 3, 4, 5, 6]


def test_a_trial_that_is_killed_in_its_first_epoch_starts_over_and_says_why(
    tmp_path: Path, make_plan: MakePlan, run_scripted: RunScripted
) -> None:
    events = run_scripted(make_plan(trials=1), tmp_path, script={"0": {"die_at": 1, "times": 1}})

    starts = [event for event in events if isinstance(event, TrialStarted)]
    assert [(start.attempt, start.resumed_after) for start in starts] == [(1, 0), (2, 0)]
    reasons = ["", "it was interrupted before its first checkpoint"]
    assert [start.starts_over for start in starts] == reasons


@pytest.mark.parametrize("kept_epochs", [0, None])
def test_a_checkpoint_within_the_first_epoch_is_one_to_resume_from(
    tmp_path: Path, make_plan: MakePlan, run_scripted: RunScripted, kept_epochs: int | None
) -> None:
    """The record may be newer than the checkpoint: a trial records each epoch, and saves later."""
    plan = make_plan(trials=1)
    out = tmp_path / "study"

    def interrupt(event: object) -> None:
        if isinstance(event, EpochTrained) and event.epoch.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_scripted(plan, out, on_event=interrupt, script={"0": {"keeps": False}})
    assert read_study(out).trials[0].curve
    if kept_epochs is not None:
        folder = CheckpointFolder(checkpoint_folder(out, 0))
        folder.save(1, Checkpoint({"state": np.zeros(1)}, {"epoch": kept_epochs}))

    events = run_scripted(plan, out)

    started = next(event for event in events if isinstance(event, TrialStarted))
    is_resumed = kept_epochs is not None
    assert started.resumed_after == 0
    assert started.starts_over == ("" if is_resumed else "there is no checkpoint of it")


@pytest.mark.parametrize("by", ["SIGSEGV", 1])
def test_two_crashes_at_one_point_make_a_trial_infeasible(
    tmp_path: Path, make_plan: MakePlan, run_scripted: RunScripted, by: str | int
) -> None:
    script = {"1": {"die_at": 3, "times": 99, "by": by}}
    plan = make_plan(trials=3, search={"halving": {"enabled": False}})

    run_scripted(plan, tmp_path, script=script)

    states = [trial.state for trial in read_study(tmp_path).trials]
    reason = read_study(tmp_path).trials[1].reason
    assert states == ["complete", "infeasible", "complete"]
    assert "crashed 2 workers at the same point, without a checkpoint after step 2" in reason


def test_crashes_before_a_checkpoint_count_wherever_they_come(
    tmp_path: Path, make_plan: MakePlan, run_scripted: RunScripted
) -> None:
    script = {"1": {"keeps": False, "die_at": [4, 2, 3, 1, 2, 3], "by": "SIGSEGV"}}

    run_scripted(make_plan(trials=3, search=NO_HALVING), tmp_path, script=script)

    trial = read_study(tmp_path).trials[1]
    assert (trial.state, trial.attempts, trial.crashes) == ("infeasible", 2, 2)
    assert "without a checkpoint after step 0" in trial.reason


def test_after_every_new_checkpoint_deaths_are_counted_anew(
    tmp_path: Path, make_plan: MakePlan, run_scripted: RunScripted
) -> None:
    script = {"1": {"die_at": [2, 3, 5, 6], "by": "SIGSEGV"}}

    run_scripted(make_plan(trials=3, search=NO_HALVING), tmp_path, script=script)

    trial = read_study(tmp_path).trials[1]
    assert (trial.state, trial.attempts) == ("complete", 5)
    assert (trial.deaths, trial.crashes, trial.death_step) == (1, 1, 5)


def test_kills_by_others_do_not_count_against_a_trial(
    tmp_path: Path, make_plan: MakePlan, run_scripted: RunScripted
) -> None:
    script = {"0": {"die_at": [3] * 7}, "1": {"die_at": [1] * 3, "by": "SIGUSR1"}}

    run_scripted(make_plan(trials=2, search=NO_HALVING), tmp_path, script=script)

    first, second = read_study(tmp_path).trials
    assert (first.state, first.deaths, first.crashes) == ("complete", 7, 0)
    assert (second.state, second.deaths, second.crashes) == ("complete", 3, 0)


def test_kills_without_end_are_an_error_and_the_trial_is_resumed_by_the_same_command(
    tmp_path: Path, make_plan: MakePlan, run_scripted: RunScripted
) -> None:
    plan = make_plan(trials=2, search=NO_HALVING)

    with pytest.raises(TuneError, match="10 workers in a row were killed") as caught:
        run_scripted(plan, tmp_path, script={"0": {"die_at": 3, "times": 99}})

    assert caught.value.exit_code == EXIT_FAILED
    assert [trial.state for trial in read_study(tmp_path).trials] == ["running"]
    run_scripted(plan, tmp_path)
    assert [trial.state for trial in read_study(tmp_path).trials] == ["complete"] * 2


def test_three_kills_for_lack_of_host_memory_make_a_trial_infeasible(
    tmp_path: Path, make_plan: MakePlan, run_scripted: RunScripted
) -> None:
    oom = tmp_path / "memory.events"
    oom.write_text("oom_kill 4\n")
    script = {"1": {"die_at": 3, "times": 99, "oom": str(oom)}}

    run_scripted(
        make_plan(trials=3, search=NO_HALVING),
        tmp_path,
        script=script,
        oom_counter=OomCounter(oom),
    )

    trials = read_study(tmp_path).trials
    assert [trial.state for trial in trials] == ["complete", "infeasible", "complete"]
    assert (trials[1].deaths, trials[1].memory_kills) == (3, 3)
    assert trials[1].reason.startswith("does not fit the host memory: the kernel killed 3 workers")


@pytest.mark.parametrize("outcome", ["infeasible", "diverged", "failed"])
def test_what_goes_wrong_in_a_trial_is_recorded_as_what_it_is(
    tmp_path: Path, make_plan: MakePlan, run_scripted: RunScripted, outcome: str
) -> None:
    run_scripted(make_plan(trials=2), tmp_path, script={"0": {"outcome": outcome}})

    trial = read_study(tmp_path).trials[0]
    assert trial.state == outcome
    assert trial.reason == "as the script says"


def test_trial_after_trial_failing_ends_the_study_with_the_reason(
    tmp_path: Path, make_plan: MakePlan, run_scripted: RunScripted
) -> None:
    script = {str(number): {"outcome": "failed"} for number in range(20)}

    events = run_scripted(make_plan(trials=20), tmp_path, script=script)

    assert isinstance(events[-1], StudyEnded)
    assert events[-1].kind == "failing"
    assert "as the script says" in events[-1].reason
    assert len(read_study(tmp_path).trials) == 5


def test_a_refusal_is_an_error_with_the_workers_own_words(
    tmp_path: Path, make_plan: MakePlan, run_scripted: RunScripted
) -> None:
    with pytest.raises(TuneError, match="No images here") as caught:
        run_scripted(make_plan(), tmp_path, script={"refuse": True})

    assert caught.value.hint == "Bring some."


def test_a_replacement_that_refuses_is_replaced_too(
    tmp_path: Path, make_plan: MakePlan, run_scripted: RunScripted
) -> None:
    script = {"refuse": [1, 2], "0": {"die_at": 3}}

    events = run_scripted(make_plan(trials=2, search=NO_HALVING), tmp_path, script=script)

    causes = [event.cause for event in of_kind(WorkerDied, events)]
    assert [cause == "it refused to work: No images here." for cause in causes] == [0, 1, 1]
    assert [trial.state for trial in read_study(tmp_path).trials] == ["complete"] * 2


def test_the_third_replacement_that_refuses_ends_the_study_in_its_own_words(
    tmp_path: Path, make_plan: MakePlan, run_scripted: RunScripted
) -> None:
    script = {"refuse": [1, 2, 3], "0": {"die_at": 3}}

    with pytest.raises(TuneError, match="No images here") as caught:
        run_scripted(make_plan(trials=2), tmp_path, script=script)

    assert caught.value.hint == "Bring some."
    assert (tmp_path / "starts").read_text() == "xxxx"


def test_workers_that_never_get_ready_end_the_study_with_their_log(
    tmp_path: Path, make_plan: MakePlan, run_scripted: RunScripted
) -> None:
    with pytest.raises(TuneError, match="3 workers in a row exited") as caught:
        run_scripted(make_plan(), tmp_path, script={"crash": True})

    assert "cannot even start" in str(caught.value.hint)


def test_another_device_is_refused(
    tmp_path: Path, make_plan: MakePlan, run_scripted: RunScripted
) -> None:
    run_scripted(make_plan(trials=1), tmp_path)

    with pytest.raises(TuneError, match=r"measured on scripted.*device is other"):
        run_scripted(make_plan(trials=2), tmp_path, script={"device": "other"})


def test_other_images_are_refused(
    tmp_path: Path, make_plan: MakePlan, run_scripted: RunScripted
) -> None:
    run_scripted(make_plan(trials=1), tmp_path)

    with pytest.raises(TuneError, match="images differ from those"):
        run_scripted(make_plan(trials=2), tmp_path, script={"digest": "e" * 64})


def test_times_of_another_number_of_devices_are_refused(
    tmp_path: Path, make_plan: MakePlan, run_scripted: RunScripted
) -> None:
    run_scripted(make_plan(trials=1), tmp_path)

    with pytest.raises(TuneError, match=r"on 1 x scripted for each.* has 2 x scripted") as caught:
        run_scripted(make_plan(trials=2), tmp_path, script={"devices": 2})

    assert "Give each worker 1 of them" in str(caught.value.hint)


def test_times_of_another_backend_are_refused(
    tmp_path: Path, make_plan: MakePlan, run_scripted: RunScripted
) -> None:
    run_scripted(make_plan(trials=1), tmp_path)

    with pytest.raises(
        TuneError, match="with tensorflow, and here workers train with jax"
    ) as caught:
        run_scripted(make_plan(trials=2), tmp_path, backend="jax")

    assert "Write 'backend: tensorflow'" in str(caught.value.hint)


def test_a_study_of_before_takes_backend_and_devices_of_the_next_run(
    tmp_path: Path, make_plan: MakePlan, run_scripted: RunScripted
) -> None:
    run_scripted(make_plan(trials=1), tmp_path)
    remove_checksums(tmp_path, without=("backend", "device_count"))

    with pytest.raises(TuneError, match="images differ from those"):
        run_scripted(
            make_plan(trials=2), tmp_path, script={"devices": 4, "digest": "e" * 64}, backend="jax"
        )
    run_scripted(make_plan(trials=2), tmp_path)

    with pytest.raises(TuneError, match="not comparable"):
        run_scripted(make_plan(trials=3), tmp_path, backend="jax")


def test_another_plan_in_the_folder_is_refused_by_name(
    tmp_path: Path, make_plan: MakePlan, run_scripted: RunScripted
) -> None:
    run_scripted(make_plan(trials=1), tmp_path)

    with pytest.raises(TuneError, match=r"another plan[\s\S]*quality"):
        run_scripted(make_plan(trials=1, quality="macro_f1"), tmp_path)
    with pytest.raises(TuneError, match="another study, tiny"):
        run_scripted(make_plan(trials=1, name="other"), tmp_path)


def test_several_workers_share_the_trials(
    tmp_path: Path, make_plan: MakePlan, run_scripted: RunScripted
) -> None:
    script = {"epoch_seconds": 0.02}

    events = run_scripted(make_plan(trials=10, workers=3), tmp_path, script=script)

    workers = {event.worker for event in events if isinstance(event, TrialStarted)}
    assert workers == {0, 1, 2}
    assert len(read_study(tmp_path).trials) == 10


def test_a_known_config_is_answered_from_the_record(
    tmp_path: Path, make_plan: MakePlan, run_scripted: RunScripted
) -> None:
    config = {"weight_decay": 0.001, "resolution": 32}
    plan = make_plan(trials=3, enqueue=[config, config, {"weight_decay": 0.01, "resolution": 64}])

    events = run_scripted(plan, tmp_path)

    first, second, third, _ = read_study(tmp_path).trials
    assert first.measurement is not None
    assert second.measurement == first.measurement
    assert second.notes == ("duplicate of trial 0",)
    assert third.config == {"weight_decay": 0.01, "resolution": 64}
    assert sum(isinstance(event, TrialEnded) for event in events) == 4


def test_a_twin_of_a_running_trial_waits_for_its_answer(
    tmp_path: Path, make_plan: MakePlan, run_scripted: RunScripted
) -> None:
    config = {"weight_decay": 0.001, "resolution": 32}
    plan = make_plan(trials=2, workers=2, enqueue=[config, config])

    events = run_scripted(plan, tmp_path, script={"epoch_seconds": 0.03})

    trained = [event.trial for event in events if isinstance(event, TrialStarted)]
    first, second, _ = read_study(tmp_path).trials
    assert trained == [0, 2]
    assert second.measurement == first.measurement


def test_the_end_of_the_hours_saves_the_running_trial(
    tmp_path: Path, make_plan: MakePlan, run_scripted: RunScripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker writes no checkpoint unless it is asked to."""
    passed = 0.0
    monkeypatch.setattr(SystemClock, "now", lambda _: time.monotonic() + passed)
    recipe = {"epochs": 500, "schedule": "constant"}

    def use_up_the_hours(event: Event) -> None:
        nonlocal passed
        if isinstance(event, EpochTrained):
            passed = 3 * 3600.0

    def interrupt(event: Event) -> None:
        if isinstance(event, TrialStarted):
            raise KeyboardInterrupt

    events = run_scripted(
        make_plan(recipe=recipe, hours=2, search=NO_HALVING),
        tmp_path,
        script={"0": {"keeps": False}, "epoch_seconds": 0.2},
        on_event=use_up_the_hours,
    )

    saved = events[-2]
    assert isinstance(saved, TrialInterrupted)
    assert saved.trial == 0
    assert saved.step is not None
    assert saved.step >= 1
    assert events[-1] == read_study(tmp_path).ended_by
    assert events[-1].kind == "hours"
    longer, started = make_plan(recipe=recipe, hours=9, search=NO_HALVING), []
    with pytest.raises(KeyboardInterrupt):
        run_scripted(longer, tmp_path, on_event=lambda e: (started.append(e), interrupt(e)))
    assert isinstance(started[-1], TrialStarted)
    assert started[-1].resumed_after == saved.step


def test_what_a_worker_waits_for_is_an_event_and_costs_nothing(
    tmp_path: Path, make_plan: MakePlan, run_scripted: RunScripted
) -> None:
    events = run_scripted(make_plan(trials=2), tmp_path, script={"1": {"waits": "for process 7"}})

    assert of_kind(WorkerWaits, events) == [WorkerWaits(worker=0, note="for process 7")]
    assert [trial.state for trial in read_study(tmp_path).trials] == ["complete"] * 2


def test_every_event_is_written_down(
    tmp_path: Path, make_plan: MakePlan, run_scripted: RunScripted
) -> None:
    events = run_scripted(make_plan(trials=2), tmp_path)

    lines = (tmp_path / "events.jsonl").read_text().splitlines()
    assert len(lines) == len(events)
    assert '"event": "StudyEnded"' in lines[-1]


@pytest.mark.parametrize("keep", ["front", "all", "none"])
def test_checkpoints_stay_as_the_plan_says(
    tmp_path: Path, make_plan: MakePlan, run_scripted: RunScripted, keep: str
) -> None:
    plan = make_plan(trials=6, keep=keep, search=NO_HALVING)

    run_scripted(plan, tmp_path, script={"2": {"outcome": "diverged"}})

    front = sorted(read_study(tmp_path).front())
    stay = {"front": front, "all": [0, 1, 3, 4, 5], "none": []}
    assert 0 < len(front) < 5
    assert folders(tmp_path) == stay[keep]
    for number in folders(tmp_path):
        assert CheckpointFolder(tmp_path / f"checkpoints/trial-{number:05d}").newest_step() == 6


def test_the_checkpoints_of_a_trial_that_goes_on_stay(
    tmp_path: Path,
    make_plan: MakePlan,
    run_scripted: RunScripted,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan = make_plan(trials=2, keep="none", search=NO_HALVING)
    monkeypatch.setenv("SCRIPT", "{}")
    with open_study(plan, tmp_path, base=tmp_path) as study:
        story = study.run(hardware="cpu", backend="tensorflow", worker_command=SCRIPTED_WORKER)
        trained = (event for event in story if isinstance(event, EpochTrained))
        assert next(event.epoch.epoch for event in trained if event.trial == 1) == 1
        story.close()
    assert folders(tmp_path) == [1]

    events = run_scripted(plan, tmp_path)

    (start,) = of_kind(TrialStarted, events)
    assert (start.trial, start.attempt, start.resumed_after > 0) == (1, 2, True)
    assert folders(tmp_path) == []


def test_checkpoints_that_a_killed_run_left_behind_are_removed_by_the_next(
    tmp_path: Path, make_plan: MakePlan, run_scripted: RunScripted
) -> None:
    plan = make_plan(trials=5, search=NO_HALVING)
    run_scripted(plan, tmp_path)
    front = sorted(read_study(tmp_path).front())
    beaten = next(number for number in range(5) if number not in front)
    (tmp_path / f"checkpoints/trial-{beaten:05d}").mkdir()

    run_scripted(plan, tmp_path)

    assert folders(tmp_path) == front


def test_a_new_trial_takes_nothing_over_and_nothing_is_lost(
    tmp_path: Path, make_plan: MakePlan, run_scripted: RunScripted
) -> None:
    plan = make_plan(trials=3, keep="all", search=NO_HALVING)
    run_scripted(plan, tmp_path)
    for _ in range(2):
        for database in tmp_path.glob("study.db*"):
            database.unlink()

        events = run_scripted(plan, tmp_path)

        moved = of_kind(CheckpointsSetAside, events)
        assert [event.trial for event in moved] == [0, 1, 2]
        assert [CheckpointFolder(Path(event.kept_as)).newest_step() for event in moved] == [6, 6, 6]
        assert [trial.state for trial in read_study(tmp_path).trials] == ["complete"] * 3
    assert sorted(path.name for path in (tmp_path / "checkpoints").glob("trial-00000*")) == [
        "trial-00000",
        "trial-00000.before-1",
        "trial-00000.before-2",
    ]


def test_a_trial_that_was_over_when_its_database_was_younger_is_trained_anew(
    tmp_path: Path, make_plan: MakePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan(trials=1, search=NO_HALVING)
    monkeypatch.setenv("SCRIPT", "{}")

    def run() -> Iterator[Event]:
        with open_study(plan, tmp_path, base=tmp_path, expiry_seconds=0.2) as study:
            for event in study.run(
                hardware="cpu", backend="tensorflow", worker_command=SCRIPTED_WORKER
            ):
                if isinstance(event, TrialStarted) and event.attempt == 1:
                    study.storage.back_up()
                    shutil.copy(tmp_path / "study.db.backup", tmp_path / "older")
                yield event

    list(run())
    (tmp_path / "older").rename(tmp_path / "study.db")

    events = list(run())

    (moved,) = of_kind(CheckpointsSetAside, events)
    assert CheckpointFolder(Path(moved.kept_as)).newest_step() == 6
    assert [event.attempt for event in of_kind(TrialStarted, events)] == [2, 3]
    assert [trial.state for trial in read_study(tmp_path).trials] == ["complete"]


def test_a_worker_that_has_grown_is_replaced_after_its_trial(
    tmp_path: Path, make_plan: MakePlan, run_scripted: RunScripted
) -> None:
    script = {"1": {"memory_bytes": 10**15}}

    events = run_scripted(make_plan(trials=4, search=NO_HALVING), tmp_path, script=script)

    kinds = [type(event).__name__ for event in events]
    (replaced,) = of_kind(WorkerReplaced, events)
    assert (replaced.worker, replaced.memory_bytes) == (0, 10**15)
    assert (
        kinds.index("WorkerReplaced")
        == kinds.index("TrialEnded", kinds.index("TrialEnded") + 1) + 1
    )
    assert len(of_kind(WorkerReady, events)) == 2
    assert not of_kind(WorkerDied, events)
    trials = read_study(tmp_path).trials
    assert [(trial.state, trial.attempts) for trial in trials] == [("complete", 1)] * 4


def test_a_worker_that_was_as_large_after_its_first_trial_stays(
    tmp_path: Path, make_plan: MakePlan, run_scripted: RunScripted
) -> None:
    script = {str(number): {"memory_bytes": 10**15 + number} for number in range(4)}

    events = run_scripted(make_plan(trials=4, search=NO_HALVING), tmp_path, script=script)

    assert not of_kind(WorkerReplaced, events)
    assert len(of_kind(WorkerReady, events)) == 1


def test_after_a_torn_line_the_log_continues_on_a_new_line(
    tmp_path: Path, make_plan: MakePlan, run_scripted: RunScripted
) -> None:
    run_scripted(make_plan(trials=1), tmp_path)
    log = tmp_path / "events.jsonl"
    log.write_bytes(log.read_bytes()[:-20])
    before = log.read_text().splitlines()

    events = run_scripted(make_plan(trials=2), tmp_path)

    after = log.read_text().splitlines()
    assert after[: len(before)] == before
    written = [json.loads(line)["event"] for line in after[len(before) :]]
    assert written == [type(event).__name__ for event in events]
