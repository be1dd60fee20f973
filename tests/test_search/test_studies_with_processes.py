"""Whole studies in real folders, with real worker processes that train nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from effv2_tune.errors import TuneError
from effv2_tune.search import read_study
from effv2_tune.search.events import StudyEnded, TrialEnded, TrialStarted, WorkerDied

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from effv2_tune.search.events import Event
    from effv2_tune.study.plan import StudyPlan

    MakePlan = Callable[..., StudyPlan]
    RunScripted = Callable[..., list[Event]]


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


def test_three_deaths_at_one_place_make_a_trial_infeasible(
    tmp_path: Path, make_plan: MakePlan, run_scripted: RunScripted
) -> None:
    script = {"1": {"die_at": 3, "times": 99}}
    plan = make_plan(trials=3, search={"halving": {"enabled": False}})

    run_scripted(plan, tmp_path, script=script)

    states = [trial.state for trial in read_study(tmp_path).trials]
    reason = read_study(tmp_path).trials[1].reason
    assert states == ["complete", "infeasible", "complete"]
    assert "killed 3 workers in a row after epoch 2" in reason


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


def test_workers_that_never_get_ready_end_the_study_with_their_log(
    tmp_path: Path, make_plan: MakePlan, run_scripted: RunScripted
) -> None:
    with pytest.raises(TuneError, match="3 workers in a row died") as caught:
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

    with pytest.raises(TuneError, match="images are not those"):
        run_scripted(make_plan(trials=2), tmp_path, script={"digest": "e" * 64})


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


def test_every_event_is_written_down(
    tmp_path: Path, make_plan: MakePlan, run_scripted: RunScripted
) -> None:
    events = run_scripted(make_plan(trials=2), tmp_path)

    lines = (tmp_path / "events.jsonl").read_text().splitlines()
    assert len(lines) == len(events)
    assert '"event": "StudyEnded"' in lines[-1]
