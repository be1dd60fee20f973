"""`clock: {recorded: FOLDER}`: an earlier study's step times, so that a run can be repeated."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from effv2_tune.errors import TuneError
from effv2_tune.search import read_study
from effv2_tune.search.single_worker import TrainerClient
from effv2_tune.search.supervisor import open_study
from effv2_tune.study.plan import StudyPlan

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from effv2_tune.search.events import Event

    MakePlan = Callable[..., StudyPlan]
    RunScripted = Callable[..., list[Event]]


def told(folder: Path) -> list[Any]:
    """What a run came to, but for the wall clock."""
    return [
        (trial.state, trial.config, trial.measurement, trial.rungs, trial.times.step_bucket)
        for trial in read_study(folder).trials
    ]


def test_the_same_seed_and_a_recorded_clock_give_the_same_trials_and_the_same_front(
    tmp_path: Path, make_plan: MakePlan, run_scripted: RunScripted
) -> None:
    first, again, anew = tmp_path / "first", tmp_path / "again", tmp_path / "anew"
    run_scripted(make_plan(), first)

    # The machine has become slower by half; paths are relative to the study file's folder.
    recorded = make_plan(clock={"recorded": "../first"})
    run_scripted(recorded, again, script={"pace": 1.5})
    run_scripted(make_plan(), anew, script={"pace": 1.5})

    assert told(again) == told(first)
    assert read_study(again).front() == read_study(first).front()
    assert read_study(again).bucket_times == read_study(first).bucket_times
    assert told(anew) != told(first)


def test_once_begun_it_needs_the_other_study_no_more(
    tmp_path: Path, make_plan: MakePlan, run_scripted: RunScripted
) -> None:
    first, again = tmp_path / "first", tmp_path / "again"
    run_scripted(make_plan(), first)
    clock = {"recorded": str(first)}
    run_scripted(make_plan(trials=3, clock=clock), again)

    (first / "study.db").rename(first / "gone")
    run_scripted(make_plan(clock=clock), again, script={"pace": 2.0})
    (first / "gone").rename(first / "study.db")

    assert told(again) == told(first)


def test_a_bucket_without_a_recorded_time_is_refused_with_a_sentence(
    tmp_path: Path, make_plan: MakePlan, run_scripted: RunScripted
) -> None:
    first, again = tmp_path / "first", tmp_path / "again"
    small = {"weight_decay": 0.001, "resolution": 32}
    large = {"weight_decay": 0.001, "resolution": 64}
    run_scripted(make_plan(trials=1, enqueue=[small]), first)

    clock = {"recorded": "../first"}
    run_scripted(make_plan(trials=2, enqueue=[large, small], clock=clock), again)

    refused, trained = read_study(again).trials
    assert (refused.state, refused.curve, trained.state) == ("infeasible", (), "complete")
    assert refused.reason == (
        "no step time of b0@64 batch 128 (adabelief, constant) on 1 x scripted with tensorflow is "
        "recorded in ../first; 'clock: measured' would measure it"
    )


def test_another_device_than_the_recorded_one_is_refused_before_a_trial(
    tmp_path: Path, make_plan: MakePlan, run_scripted: RunScripted
) -> None:
    run_scripted(make_plan(trials=1), tmp_path / "first")
    plan = make_plan(trials=1, clock={"recorded": "../first"})

    with pytest.raises(TuneError, match=r"measured on scripted.*device is other"):
        run_scripted(plan, tmp_path / "again", script={"device": "other"})

    assert read_study(tmp_path / "again").trials == ()


@pytest.mark.parametrize(
    ("make", "sentence"),
    [(False, r"There is no study in .*first"), (True, "has stored no step time yet")],
)
def test_a_study_without_times_cannot_be_replayed(
    tmp_path: Path, make_plan: MakePlan, *, make: bool, sentence: str
) -> None:
    if make:
        open_study(make_plan(), tmp_path / "first", base=tmp_path).storage.close()
    plan = make_plan(clock={"recorded": "first"})

    with pytest.raises(TuneError, match=sentence):
        open_study(plan, tmp_path / "again", base=tmp_path)
    with pytest.raises(TuneError, match=sentence):
        TrainerClient(plan, base=tmp_path, folder=tmp_path / "client")


def test_the_clock_of_a_begun_study_stays(
    tmp_path: Path, make_plan: MakePlan, run_scripted: RunScripted
) -> None:
    run_scripted(make_plan(trials=1), tmp_path)

    with pytest.raises(TuneError, match=r'clock: "measured" -> \{"recorded": "x"\}'):
        open_study(make_plan(clock={"recorded": "x"}), tmp_path, base=tmp_path)


REAL = {
    "name": "real",
    "data": {"name": "digits", "train": 320, "validation": 128, "test": 100},
    "recipe": {"variant": "tiny", "batch_size": 64, "epochs": 4, "step_size_epochs": 1},
    "search_space": {
        "resolution": {"type": "choice", "values": [32, 40]},
        "maximal_learning_rate": {"type": "float", "low": 3e-3, "high": 3e-2, "scale": "log"},
    },
    "search": {"halving": {"rungs": [0.5]}},
    "trials": 6,
}


@pytest.mark.slow
def test_a_real_run_is_repeated_to_the_last_digit(tmp_path: Path) -> None:
    for name, changes in (("first", {}), ("again", {"clock": {"recorded": "first"}})):
        plan = StudyPlan.model_validate_json(json.dumps(REAL | changes))
        with open_study(plan, tmp_path / name, base=tmp_path) as study:
            list(study.run(hardware="cpu", backend="tensorflow"))

    first, again = (read_study(tmp_path / name) for name in ("first", "again"))
    assert told(tmp_path / "again") == told(tmp_path / "first")
    assert [t.scores for t in again.trials] == [t.scores for t in first.trials]
    assert again.front() == first.front()
    assert sum(trial.times.measure > 0 for trial in first.trials) == len(first.bucket_times) == 2
    assert sum(trial.times.measure > 0 for trial in again.trials) == 0
