"""Trials on one device each, whose training time is that of a final training on eight."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from effv2_tune.forecast.buckets import expected_recipes
from effv2_tune.search import read_study
from effv2_tune.search.events import (
    BucketTimed,
    PlacementChanged,
    TrialDeferred,
    TrialStarted,
    WorkerReady,
)
from effv2_tune.search.supervisor import open_study
from effv2_tune.study.bucket import Placement

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from effv2_tune.search.events import Event
    from effv2_tune.search.storage.snapshot import StudyRecord
    from effv2_tune.study.plan import StudyPlan
    from effv2_tune.study.recipe import Recipe
    from effv2_tune.workers.messages import Ready

    MakePlan = Callable[..., StudyPlan]
    RunScripted = Callable[..., list[Event]]

SPACE = {
    "weight_decay": {"type": "float", "low": 1e-6, "high": 1e-1, "scale": "log"},
    "resolution": {"type": "choice", "values": [32, 64, 96]},
}
#: Three buckets in turn, so that one trial of each is among the first.
CONFIGS = [
    {"weight_decay": 0.01 * (number + 1), "resolution": (32, 64, 96)[number % 3]}
    for number in range(9)
]
ON_EIGHT: dict[str, Any] = {
    "workers": 8,
    "devices_per_worker": 1,
    "target": {"devices": 8},
    "recipe": {"epochs": 6, "schedule": "constant", "batch_size": {"per_device": 16}},
    "search_space": SPACE,
    "search": {"halving": {"enabled": False}},
    "enqueue": CONFIGS,
}
#: At 96 px, a batch needs more than one device.
SCRIPT = {"needs": {"96": 8}}


@pytest.fixture
def run_on_eight(
    run_scripted: RunScripted, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., list[Event]]:
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=8")

    def run(plan: StudyPlan, out: Path, **options: Any) -> list[Event]:
        return run_scripted(plan, out, backend="jax", devices=8, **options)

    return run


def expected_of(plan: StudyPlan) -> Callable[[Ready], list[Recipe]]:
    def expected(ready: Ready) -> list[Recipe]:
        where = ready.environment.model_dump(include={*Placement.model_fields})
        return expected_recipes(plan, ready.data, Placement(**where))

    return expected


def of_kind(kind: type[Any], events: list[Event]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def assert_is_timed_on_eight(record: StudyRecord) -> None:
    for trial in record.trials:
        assert trial.state == "complete"
        assert trial.bucket is not None
        assert trial.recipe is not None
        assert trial.environment is not None
        assert trial.measurement is not None
        assert (trial.bucket.batch, trial.bucket.device_count) == (128, 8)
        # What does not fit one device is trained on all of them.
        assert trial.environment.device_count == (8 if trial.recipe.pixels == 96 else 1)
        steps, step_seconds = 6 * (1000 // 128), 0.001 * trial.recipe.pixels / 8
        assert trial.measurement.train_seconds == pytest.approx(steps * step_seconds)
        assert not trial.times.is_timing_outlier
    assert record.contradictions == ()


@pytest.mark.slow
def test_eight_workers_train_and_the_target_times_what_the_study_expects(
    tmp_path: Path, make_plan: MakePlan, run_on_eight: RunScripted
) -> None:
    plan = make_plan(trials=9, **ON_EIGHT)

    events = run_on_eight(plan, tmp_path, script=SCRIPT, expected=expected_of(plan))

    record = read_study(tmp_path)
    assert len(record.trials) == 9
    assert_is_timed_on_eight(record)
    timed = of_kind(BucketTimed, events)
    assert sorted(one.bucket.resolution for one in timed) == [32, 64, 96]
    started = of_kind(TrialStarted, events)
    assert events.index(timed[-1]) < events.index(started[0])
    counts = {one.worker: one.environment.device_count for one in of_kind(WorkerReady, events)}
    assert counts == dict.fromkeys(range(8), 1) | {8: 8}
    # The first trial at 96 px does not fit; the others wait for the target at once.
    deferred = of_kind(TrialDeferred, events)
    assert {one.trial for one in deferred} == {2, 5, 8}
    assert all(one.is_large for one in deferred)
    assert [one.on_target for one in of_kind(PlacementChanged, events)][:2] == [False, True]
    again = run_on_eight(plan, tmp_path, script=SCRIPT, expected=expected_of(plan))
    assert [type(event).__name__ for event in again] == ["StudyStarted", "StudyEnded"]


def test_workers_pause_while_a_bucket_is_timed_that_was_not_expected(
    tmp_path: Path, make_plan: MakePlan, run_on_eight: RunScripted
) -> None:
    configs = [
        {"weight_decay": 0.01 * (number + 1), "resolution": pixels}
        for number, pixels in enumerate((32, 32, 64, 64))
    ]
    plan = make_plan(trials=4, **ON_EIGHT | {"workers": 2, "enqueue": configs})
    expected = expected_of(plan)
    script = {"0": {"epoch_seconds": 0.5}, "1": {"epoch_seconds": 0.25}}

    events = run_on_eight(
        plan,
        tmp_path,
        script=script,
        expected=lambda ready: [one for one in expected(ready) if one.pixels == 32],
    )

    record = read_study(tmp_path)
    assert_is_timed_on_eight(record)
    # The first trial was in its middle when the other worker found nothing that it could train.
    first, resumed = (one for one in of_kind(TrialStarted, events) if one.trial == 0)
    assert (first.attempt, resumed.attempt) == (1, 2)
    assert 0 < resumed.resumed_after < 6
    assert [epoch.epoch for epoch in record.trials[0].curve] == list(range(1, 7))
    assert [one.on_target for one in of_kind(PlacementChanged, events)] == [False, True, False]


def test_without_expectations_the_first_trials_say_what_is_timed(
    tmp_path: Path, make_plan: MakePlan, run_on_eight: RunScripted
) -> None:
    plan = make_plan(trials=4, **ON_EIGHT | {"workers": 2})

    events = run_on_eight(plan, tmp_path, script=SCRIPT)

    assert_is_timed_on_eight(read_study(tmp_path))
    assert {one.trial for one in of_kind(TrialDeferred, events)} >= {0, 1}


def test_what_does_not_fit_the_target_either_is_infeasible(
    tmp_path: Path, make_plan: MakePlan, run_on_eight: RunScripted
) -> None:
    plan = make_plan(trials=3, **ON_EIGHT | {"workers": 1})

    run_on_eight(plan, tmp_path, script={"needs": {"96": 16}}, expected=expected_of(plan))

    trials = read_study(tmp_path).trials
    assert [trial.state for trial in trials] == ["complete", "complete", "infeasible"]
    assert trials[2].reason == "Does not fit: as the script says"


def test_a_target_where_the_trials_run_changes_nothing(
    tmp_path: Path, make_plan: MakePlan, run_on_eight: RunScripted
) -> None:
    plan = make_plan(trials=3, **ON_EIGHT | {"workers": 1, "devices_per_worker": 8})

    events = run_on_eight(plan, tmp_path, script=SCRIPT, expected=expected_of(plan))

    assert not of_kind(PlacementChanged, events)
    assert {one.worker for one in of_kind(WorkerReady, events)} == {0}
    assert {trial.state for trial in read_study(tmp_path).trials} == {"complete"}


@pytest.mark.slow
def test_a_real_worker_trains_on_one_device_what_a_real_worker_has_timed_on_two(
    tmp_path: Path, make_plan: MakePlan
) -> None:
    plan = make_plan(
        trials=1,
        **ON_EIGHT
        | {
            "workers": 1,
            "target": {"devices": 2},
            "data": {"name": "digits", "train": 320, "validation": 100, "test": 100},
            "recipe": {"variant": "tiny", "epochs": 2, "batch_size": {"per_device": 32}},
            "search_space": {"resolution": {"type": "choice", "values": [32]}},
            "enqueue": [],
        },
    )

    with open_study(plan, tmp_path, base=tmp_path) as study:
        events = list(
            study.run(hardware="cpu", backend="jax", devices=2, expected=expected_of(plan))
        )

    (timed,) = of_kind(BucketTimed, events)
    record = read_study(tmp_path)
    (trial,) = record.trials
    assert trial.state == "complete", trial.reason
    assert trial.bucket == timed.bucket
    assert trial.bucket is not None
    assert (trial.bucket.batch, trial.bucket.device_count) == (64, 2)
    assert trial.environment is not None
    assert trial.environment.device_count == 1
    assert trial.measurement is not None
    assert trial.measurement.train_seconds == pytest.approx(2 * (320 // 64) * timed.step_seconds)
    assert record.contradictions == ()
