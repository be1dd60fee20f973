"""The picks of a study are confirmed with replicates, by scripted workers."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.end_to_end.conftest import SCRIPTED_WORKER, SPACE

import effv2_tune
from effv2_tune.errors import EXIT_DONE, EXIT_FAILED, EXIT_WRONG_INPUT
from effv2_tune.search import read_study
from effv2_tune.search.events import (
    BucketCompiled,
    ConfirmStarted,
    ReplicateChosen,
    StudyEnded,
    TrialStarted,
)
from effv2_tune.search.supervisor import open_study
from effv2_tune.study.plan import ConfirmSpec, StudyPlan

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from tests.conftest import Outcome

    from effv2_tune.search.events import Event
    from effv2_tune.study.trial import Trial

    MakePlan = Callable[..., StudyPlan]
    RunScripted = Callable[..., list[Event]]
    Tune = Callable[..., Outcome]

#: Two close configs, and one that is no rival of them.
ENQUEUED = [
    {"weight_decay": 0.0905, "resolution": 64},
    {"weight_decay": 0.09, "resolution": 32},
    {"weight_decay": 0.001, "resolution": 32},
]
NOISY = {"seed_noise": 0.002}
SIX = ConfirmSpec(trials=6, difference=0.0)


STUDY: dict[str, Any] = {
    "name": "tiny",
    "recipe": {"epochs": 6, "schedule": "constant"},
    "search_space": SPACE,
    "search": {"engine": "random", "halving": {"keep": 0.99}},
    "trials": 3,
    "enqueue": ENQUEUED,
}


@pytest.fixture
def plan() -> StudyPlan:
    return StudyPlan.from_plain(STUDY)


@pytest.fixture(scope="module")
def searched_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the study after its search."""
    out = tmp_path_factory.mktemp("searched")
    with open_study(StudyPlan.from_plain(STUDY), out, base=out) as study:
        list(study.run(hardware="cpu", backend="tensorflow", worker_command=SCRIPTED_WORKER))
    return out


@pytest.fixture
def searched(tmp_path: Path, searched_once: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(searched_once, tmp_path / "study"))


def replicates(out: Path) -> list[Trial]:
    return [trial for trial in read_study(out).trials if trial.replicate_of is not None]


def decisions(out: Path) -> list[tuple[int, int | None, int, Any]]:
    """What was trained again, with which seed and result."""
    return [
        (t.number, t.replicate_of, -1 if t.recipe is None else t.recipe.seed, t.measurement)
        for t in replicates(out)
    ]


def last(events: list[Event]) -> StudyEnded:
    assert isinstance(events[-1], StudyEnded)
    return events[-1]


def test_a_replicate_trains_the_same_recipe_with_another_seed_and_compiles_nothing(
    searched: Path, plan: StudyPlan, run_scripted: RunScripted
) -> None:
    events = run_scripted(plan, searched, script=NOISY, confirm=SIX)

    trials = read_study(searched).trials
    found = replicates(searched)
    assert len(found) == 6
    assert len({trial.recipe.seed for trial in found if trial.recipe is not None}) > 1
    for trial in found:
        original = trials[trial.replicate_of or 0]
        assert trial.recipe is not None
        assert original.recipe is not None
        assert trial.recipe.model_copy(update={"seed": original.recipe.seed}) == original.recipe
        assert (trial.bucket, trial.rungs, trial.state) == (original.bucket, (), "complete")
    assert not [event for event in events if isinstance(event, BucketCompiled) and event.fresh]


def test_what_is_trained_again_are_the_rivals_and_the_reason_is_an_event(
    searched: Path, plan: StudyPlan, run_scripted: RunScripted
) -> None:
    events = run_scripted(plan, searched, script=NOISY, confirm=SIX)

    chosen = [event for event in events if isinstance(event, ReplicateChosen)]
    assert {event.replicate_of for event in chosen} == {0, 1}
    first, later = chosen[:2], chosen[2:]
    assert {event.replicate_of for event in first} == {0, 1}
    assert {event.rival for event in first} == {None}
    assert {event.rival for event in later} <= {0, 1}
    assert "may be more accurate than" in later[0].reason
    assert later[0].probability is not None
    assert later[0].reason.endswith(f"({later[0].probability:.0%})")
    assert [event.trial for event in chosen] == [trial.number for trial in replicates(searched)]
    assert isinstance(events[0], ConfirmStarted)
    assert events[0].candidates == 3


def test_the_budget_is_a_total_and_the_same_command_again_starts_no_worker(
    searched: Path, plan: StudyPlan, run_scripted: RunScripted
) -> None:
    first = run_scripted(plan, searched, script=NOISY, confirm=SIX)
    again = run_scripted(plan, searched, script=NOISY, confirm=SIX)

    assert last(first).kind == "trials"
    assert last(first).reason.startswith("All 6 replicates are done. Not clear at 90%: ")
    assert [type(event).__name__ for event in again] == ["ConfirmStarted", "StudyEnded"]
    assert last(again) == last(first)
    run_scripted(plan, searched, script=NOISY, confirm=ConfirmSpec(trials=8, difference=0.0))
    assert len(replicates(searched)) == 8


def test_clear_picks_need_no_replicate(
    tmp_path: Path, make_plan: MakePlan, run_scripted: RunScripted
) -> None:
    plan = make_plan(trials=1, search={"engine": "random"})
    run_scripted(plan, tmp_path)

    events = run_scripted(plan, tmp_path, confirm=ConfirmSpec())

    assert last(events).kind == "clear"
    assert last(events).reason == "Every pick is clear at 90%."
    assert read_study(tmp_path).ended_by == last(events)


def test_without_a_limit_replicates_take_as_long_as_the_search_at_most(
    searched: Path, plan: StudyPlan, run_scripted: RunScripted
) -> None:
    events = run_scripted(plan, searched, script=NOISY, confirm=ConfirmSpec(difference=0.0))

    def seconds(trials: list[Trial]) -> list[float]:
        return [t.measurement.train_seconds for t in trials if t.measurement is not None]

    searching = seconds([t for t in read_study(searched).trials if t.replicate_of is None])
    training = seconds(replicates(searched))
    assert sum(training) >= sum(searching) > sum(training[:-1])
    assert "as many seconds of training as the search" in last(events).reason


@pytest.mark.parametrize("stop", [4, 17])
def test_interrupted_and_continued_it_decides_the_same(
    searched: Path,
    plan: StudyPlan,
    run_scripted: RunScripted,
    monkeypatch: pytest.MonkeyPatch,
    stop: int,
) -> None:
    undisturbed = searched.parent / "undisturbed"
    shutil.copytree(searched, undisturbed)
    run_scripted(plan, undisturbed, script=NOISY, confirm=SIX)
    monkeypatch.setenv("SCRIPT", json.dumps(NOISY))
    with open_study(plan, searched, base=searched) as study:
        story = study.run(
            hardware="cpu", backend="tensorflow", worker_command=SCRIPTED_WORKER, confirm=SIX
        )
        for _ in range(stop):
            next(story)
        story.close()  # type: ignore[attr-defined]

    run_scripted(plan, searched, script=NOISY, confirm=SIX)

    assert decisions(searched) == decisions(undisturbed)


def test_a_search_leaves_the_replicates_of_an_interrupted_confirmation_alone(
    searched: Path,
    plan: StudyPlan,
    run_scripted: RunScripted,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SCRIPT", "{}")
    with open_study(plan, searched, base=searched) as study:
        story = study.run(
            hardware="cpu", backend="tensorflow", worker_command=SCRIPTED_WORKER, confirm=SIX
        )
        assert any(isinstance(event, TrialStarted) for event in story)
        story.close()  # type: ignore[attr-defined]

    more = plan.model_copy(update={"trials": 4})
    run_scripted(more, searched)

    states = [(t.number, t.state, t.replicate_of is None) for t in read_study(searched).trials[3:]]
    assert states[0] == (3, "running", False)
    assert [number for number, _, is_searched in states if is_searched] == [4]


def test_two_workers_train_two_replicates_at_once(
    searched: Path, plan: StudyPlan, run_scripted: RunScripted
) -> None:
    both = plan.model_copy(update={"workers": 2})

    run_scripted(both, searched, script=NOISY | {"epoch_seconds": 0.01}, confirm=SIX)

    assert [trial.state for trial in replicates(searched)] == ["complete"] * 6


def test_five_replicates_in_a_row_that_fail_end_it(
    searched: Path, plan: StudyPlan, run_scripted: RunScripted
) -> None:
    script = {str(number): {"outcome": "failed"} for number in range(3, 20)}

    spec = ConfirmSpec(trials=20, difference=0.0)

    events = run_scripted(plan, searched, script=script, confirm=spec)

    assert last(events).kind == "failing"
    assert [trial.state for trial in replicates(searched)] == ["failed"] * 5
    assert read_study(searched).front()


def test_a_config_that_has_diverged_twice_is_not_trained_again(
    searched: Path, plan: StudyPlan, run_scripted: RunScripted
) -> None:
    script = {str(number): {"outcome": "diverged"} for number in range(3, 20)}

    spec = ConfirmSpec(trials=20, difference=0.0)

    events = run_scripted(plan, searched, script=script, confirm=spec)

    counts = Counter(trial.replicate_of for trial in replicates(searched))
    assert counts[0] == counts[1] == 2
    assert set(counts.values()) == {2}
    assert last(events).kind == "unclear"


def test_a_study_file_can_ask_for_it_after_the_search(
    tmp_path: Path, run_scripted: RunScripted
) -> None:
    confirm = {"confirm": {"trials": 2, "difference": 0.0}}
    plan = StudyPlan.from_plain(STUDY | {"search": STUDY["search"] | confirm})

    events = run_scripted(plan, tmp_path, script=NOISY)

    kinds = [type(e).__name__ for e in events]
    started = kinds.index("ConfirmStarted")
    assert kinds[started - 1] == "StudyEnded"
    assert kinds.count("WorkerReady") == 1
    assert len(replicates(tmp_path)) == 2
    assert read_study(tmp_path).ended_by == last(events)
    again = run_scripted(plan, tmp_path, script=NOISY)
    assert [type(event).__name__ for event in again] == [
        *("StudyStarted", "StudyEnded"),
        *("ConfirmStarted", "StudyEnded"),
    ]


def test_the_command_says_what_it_does_and_why(tune: Tune, study: Path) -> None:
    del study
    done = tune("confirm", "small", "--trials", "2", "--difference", "0", "--level", "0.99")

    assert done.code == EXIT_DONE, done.err
    lines = done.err.splitlines()
    assert lines[0] == "small: confirming the picks of 4 complete trials"
    assert lines[2].endswith(
        "again, as trial 4: one training does not show what another seed changes"
    )
    assert "again, as trial 5" in done.err
    assert "[2/2] trial 5: complete, accuracy" in done.err
    assert "All 2 replicates are done. Not clear at 99%: " in done.err
    assert done.out.splitlines()[0].startswith("trial ")
    shown = tune("status", "small").out
    assert "4 trials and 2 replicates over" in shown
    assert json.loads(tune("status", "small", "--json").out)["replicates"] == 2
    rows = json.loads(tune("trials", "small", "--format", "json").out)
    assert sum(row["replicate_of"] is not None for row in rows) == 2
    assert "4 trials and 2 replicates" in Path("runs/small/report.html").read_text()


def test_the_command_restores_a_lost_study_from_its_mirror(tune: Tune, study: Path) -> None:
    shutil.rmtree(study)
    assert tune("run", "study.yaml", "--mirror", "mirror").code == EXIT_DONE
    shutil.rmtree(study)
    budget = ("--trials", "1", "--difference", "0", "--level", "0.99")

    done = tune("confirm", str(study), *budget, "--mirror", "mirror")

    assert done.code == EXIT_DONE, done.err
    assert done.err.startswith("restored from mirror, which ")
    assert [trial.replicate_of is None for trial in read_study(study).trials] == [True] * 4 + [
        False
    ]
    # What the mirror had is not restored over what is here.
    again = tune("confirm", str(study), "--trials", "2", *budget[2:], "--mirror", "mirror")
    assert again.code == EXIT_DONE, again.err
    assert len(read_study(study).trials) == 6
    nothing = tune("confirm", "runs/other", "--mirror", "empty")
    assert nothing.code == EXIT_WRONG_INPUT


def test_replicates_after_replicates_failing_exit_with_1(
    tune: Tune, study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del study
    script = {str(number): {"outcome": "failed"} for number in range(4, 20)}
    monkeypatch.setenv("SCRIPT", json.dumps(script))

    assert tune("confirm", "small", "--difference", "0", "--trials", "16").code == EXIT_FAILED


def test_a_study_without_a_complete_trial_is_refused_with_a_way_out(
    tune: Tune, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCRIPT", json.dumps({str(n): {"outcome": "diverged"} for n in range(4)}))
    tune("run", "study.yaml")

    done = tune("confirm", "small")

    assert done.code == EXIT_WRONG_INPUT
    assert "Study small has no complete trial yet: there is nothing to confirm." in done.err
    assert "effv2-tune run" in done.err


def test_another_device_is_refused(
    tune: Tune, study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del study
    monkeypatch.setenv("SCRIPT", '{"device": "another"}')

    done = tune("confirm", "small", "--difference", "0")

    assert done.code == EXIT_WRONG_INPUT
    assert "this machine's device is another" in done.err


def test_a_session_that_ends_names_the_command_that_continues(
    study: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    options = ("--trials", "2", "--difference", "0.0", "--session-hours", "1e-9")
    process = start("confirm", str(study), *options)

    _, err = process.communicate()

    assert process.returncode == EXIT_DONE
    command = "effv2-tune confirm runs/small --trials 2 --difference 0 --session-hours 1e-09"
    assert err.endswith(f"To continue: {command}\n")


def test_programs_confirm_a_study_in_a_database(folder: Path) -> None:
    url = f"sqlite:///{folder}/shared.db"
    effv2_tune.Study.load(folder / "study.yaml", storage=url).run()

    study = effv2_tune.Study.open(url, name="small", trials=1, difference=0.0).confirm()

    assert study.results().status()["replicates"] == 1
    assert (folder / "runs" / "small" / "events.jsonl").is_file()
