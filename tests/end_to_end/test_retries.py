"""Failed trials are tried again on request, with scripted workers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.end_to_end.conftest import SCRIPTED_WORKER

from effv2_tune.errors import EXIT_DONE, EXIT_FAILED
from effv2_tune.search import read_study
from effv2_tune.search.events import StudyEnded, TrialStarted
from effv2_tune.search.supervisor import open_study

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Outcome

    from effv2_tune.search.events import Event
    from effv2_tune.study.plan import StudyPlan
    from effv2_tune.study.trial import Trial

    MakePlan = Callable[..., StudyPlan]
    RunScripted = Callable[..., list[Event]]
    Tune = Callable[..., Outcome]

RANDOM = {"engine": "random", "halving": {"enabled": False}}


def failing(*numbers: int) -> dict[str, Any]:
    return {str(number): {"outcome": "failed"} for number in numbers}


def links(out: Path) -> list[tuple[int, str, int | None]]:
    return [(t.number, t.state, t.retry_of) for t in read_study(out).trials]


def last(events: list[Event]) -> StudyEnded:
    assert isinstance(events[-1], StudyEnded)
    return events[-1]


def sampled(trials: tuple[Trial, ...]) -> list[dict[str, Any]]:
    return [trial.config for trial in trials if trial.retry_of is None]


def test_an_ended_study_tries_its_failed_trials_again_beyond_its_budget(
    tmp_path: Path, make_plan: MakePlan, run_scripted: RunScripted
) -> None:
    plan = make_plan(trials=4, search=RANDOM)
    ended = last(run_scripted(plan, tmp_path, script=failing(1, 3)))
    assert ended.reason == (
        "All 4 trials of the study have ended. 2 trials failed: add --retry-failed to the command "
        "to try them again."
    )
    before = read_study(tmp_path).trials
    without = run_scripted(plan, tmp_path)
    assert [type(event).__name__ for event in without] == ["StudyStarted", "StudyEnded"]
    assert last(without) == ended

    events = run_scripted(plan, tmp_path, retry_failed=True)

    trials = read_study(tmp_path).trials
    assert trials[:4] == before
    assert [(t.state, t.retry_of, t.notes) for t in trials[4:]] == [
        ("complete", 1, ("retry of trial 1",)),
        ("complete", 3, ("retry of trial 3",)),
    ]
    assert [t.config for t in trials[4:]] == [before[1].config, before[3].config]
    assert last(events).reason == "All 4 trials of the study are done."
    again = run_scripted(plan, tmp_path, retry_failed=True)
    assert [type(event).__name__ for event in again] == ["StudyStarted", "StudyEnded"]


def test_retries_in_mid_study_change_no_config_of_the_others(
    tmp_path: Path, make_plan: MakePlan, run_scripted: RunScripted
) -> None:
    enqueued = [{"weight_decay": 10.0**-n, "resolution": 32} for n in (2, 3, 4)]

    def plan(trials: int) -> StudyPlan:
        return make_plan(trials=trials, search=RANDOM, enqueue=enqueued)

    run_scripted(plan(2), tmp_path / "retried", script=failing(0, 1))
    run_scripted(plan(6), tmp_path / "retried", retry_failed=True)
    run_scripted(plan(6), tmp_path / "undisturbed")

    retried = read_study(tmp_path / "retried").trials
    assert [trial.retry_of for trial in retried] == [None, None, 0, 1, None, None, None, None]
    assert sampled(retried) == sampled(read_study(tmp_path / "undisturbed").trials)


def test_a_retry_that_fails_is_itself_retried_by_the_next_call(
    tmp_path: Path, make_plan: MakePlan, run_scripted: RunScripted
) -> None:
    plan = make_plan(trials=2, search=RANDOM)
    run_scripted(plan, tmp_path, script=failing(0))

    events = run_scripted(plan, tmp_path, script=failing(2), retry_failed=True)
    assert "1 trial failed" in last(events).reason
    run_scripted(plan, tmp_path, retry_failed=True)

    assert links(tmp_path) == [
        (0, "failed", None),
        (1, "complete", None),
        (2, "failed", 0),
        (3, "complete", 2),
    ]


def test_retry_after_retry_failing_ends_the_study(
    tmp_path: Path, make_plan: MakePlan, run_scripted: RunScripted
) -> None:
    plan = make_plan(trials=8, search=RANDOM)
    run_scripted(plan, tmp_path, script=failing(0, 1, 3, 4, 6, 7))

    events = run_scripted(plan, tmp_path, script=failing(*range(8, 20)), retry_failed=True)

    assert last(events).kind == "failing"
    assert last(events).reason == (
        "The last 5 trials failed: as the script says. 6 trials failed: add --retry-failed to the "
        "command to try them again."
    )
    assert len(read_study(tmp_path).trials) == 8 + 5


def test_an_interrupted_retry_is_resumed_without_the_option(
    tmp_path: Path,
    make_plan: MakePlan,
    run_scripted: RunScripted,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan = make_plan(trials=2, search=RANDOM)
    run_scripted(plan, tmp_path, script=failing(1))
    monkeypatch.setenv("SCRIPT", "{}")
    with open_study(plan, tmp_path, base=tmp_path) as study:
        story = study.run(
            hardware="cpu",
            backend="tensorflow",
            worker_command=SCRIPTED_WORKER,
            retry_failed=True,
        )
        assert any(isinstance(event, TrialStarted) for event in story)
        story.close()  # type: ignore[attr-defined]
    assert links(tmp_path)[2] == (2, "running", 1)

    run_scripted(plan, tmp_path)

    assert links(tmp_path)[2:] == [(2, "complete", 1)]


def test_failed_trials_of_one_config_share_the_outcome_of_one_retry(
    tmp_path: Path, make_plan: MakePlan, run_scripted: RunScripted
) -> None:
    config = {"weight_decay": 0.001, "resolution": 32}
    plan = make_plan(trials=2, search=RANDOM, enqueue=[config, config])
    run_scripted(plan, tmp_path, script=failing(0, 1))

    events = run_scripted(plan, tmp_path, retry_failed=True)

    first, second = read_study(tmp_path).trials[2:]
    assert [e.trial for e in events if isinstance(e, TrialStarted)] == [2]
    assert (first.state, first.retry_of) == ("complete", 0)
    assert second.notes == ("retry of trial 1", "duplicate of trial 2")
    assert (second.measurement, second.retry_of) == (first.measurement, 1)


def test_a_retry_keeps_its_link_where_the_search_space_is_edited(
    tmp_path: Path, make_plan: MakePlan, run_scripted: RunScripted
) -> None:
    run_scripted(make_plan(trials=3, search=RANDOM), tmp_path, script=failing(1))
    run_scripted(make_plan(trials=3, search=RANDOM), tmp_path, retry_failed=True)
    wider = {
        "weight_decay": {"type": "float", "low": 1e-7, "high": 1e-1, "scale": "log"},
        "resolution": {"type": "choice", "values": [32, 64, 96]},
    }

    run_scripted(make_plan(trials=5, search=RANDOM, search_space=wider), tmp_path)

    assert [link[2] for link in links(tmp_path)] == [None, None, None, 1, None, None]


@pytest.mark.slow
def test_keras_tuners_engines_are_retried_as_well(
    tmp_path: Path, make_plan: MakePlan, run_scripted: RunScripted
) -> None:
    search = {"engine": "keras_tuner_random", "halving": {"enabled": False}}
    run_scripted(make_plan(trials=2, search=search), tmp_path, script=failing(0))

    run_scripted(make_plan(trials=3, search=search), tmp_path, retry_failed=True)

    trials = read_study(tmp_path).trials
    assert [trial.retry_of for trial in trials] == [None, None, 0, None]
    assert trials[2].config == trials[0].config
    assert {trial.state for trial in trials[1:]} == {"complete"}


def test_the_command_names_the_option_and_exits_with_1_until_nothing_is_failed(
    folder: Path, tune: Tune, monkeypatch: pytest.MonkeyPatch
) -> None:
    del folder
    monkeypatch.setenv("SCRIPT", json.dumps(failing(2)))
    first = tune("run", "study.yaml")
    assert first.code == EXIT_FAILED
    assert "All 4 trials of the study have ended. 1 trial failed: add --retry-failed" in first.err
    assert "are done" not in first.err
    assert "1 trial failed: add --retry-failed" in tune("status", "runs/small").out
    assert (
        "retries   1 failed trial" in tune("run", "study.yaml", "--retry-failed", "--dry-run").out
    )

    second = tune("run", "study.yaml", "--retry-failed")

    assert second.code == EXIT_DONE, second.err
    assert "small: resuming after 4 trials; retrying 1 failed trial" in second.err
    assert "trial 4: retries trial 2: weight decay" in second.err
    assert "All 4 trials of the study are done." in second.err
    assert "retry of trial 2" in tune("trials", "runs/small").out
    rows = json.loads(tune("trials", "runs/small", "--format", "json").out)
    assert {row["trial"]: row["retry_of"] for row in rows}[4] == 2
    assert "retry of trial 2" in Path("runs/small/report.html").read_text()
