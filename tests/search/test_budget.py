"""Budgets of a study on a simulated clock."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from tests.search.simulated_study import make_plan, run_loop

from effv2_tune.pareto import ACCURACY, front_of
from effv2_tune.search.budget import Budget
from effv2_tune.search.clock import SimulatedClock
from effv2_tune.search.events import Downloading, StudyEnded
from effv2_tune.search.storage.in_memory import MemoryStorage
from effv2_tune.study.plan import StopSpec
from effv2_tune.study.trial import Measurement, Scores, Trial

if TYPE_CHECKING:
    from collections.abc import Iterator


def test_a_study_ends_when_its_hypervolume_has_stopped_growing() -> None:
    plan = make_plan(trials=None, stop_when=StopSpec(growth=0.05, trials=10))

    events = list(run_loop(plan, MemoryStorage("simulated", plan.directions), SimulatedClock()))

    assert isinstance(events[-1], StudyEnded)
    assert events[-1].kind == "stagnation"
    assert "last 10 trials" in events[-1].reason


def test_hours_are_a_total_over_all_runs() -> None:
    plan = make_plan(trials=None, hours=0.1)
    storage, clock = MemoryStorage("simulated", plan.directions), SimulatedClock()
    first = run_loop(plan, storage, clock)
    for _ in itertools.takewhile(lambda _: clock.seconds < 100, first):
        pass
    first.close()  # type: ignore[attr-defined]
    clock.seconds += 10_000  # the machine is off

    events = list(run_loop(plan, storage, clock))

    assert isinstance(events[-1], StudyEnded)
    assert events[-1].kind == "hours"
    assert clock.seconds == pytest.approx(10_000 + 360)


def test_downloads_before_the_first_trial_count_towards_no_limit() -> None:
    plan = make_plan(trials=None, hours=0.1)
    storage, clock = MemoryStorage("simulated", plan.directions), SimulatedClock()

    def download() -> Iterator[Downloading]:
        for received in (0, 1):
            clock.seconds += 500
            yield Downloading(file="images", received=received, total=1)

    interrupted = run_loop(plan, storage, clock, before_workers=download)
    assert any(isinstance(event, Downloading) for event in interrupted)
    interrupted.close()  # type: ignore[attr-defined]
    assert storage.seconds_before() == 0
    started = clock.seconds

    events = list(run_loop(plan, storage, clock, before_workers=download))

    assert isinstance(events[-1], StudyEnded)
    assert events[-1].kind == "hours"
    assert clock.seconds == pytest.approx(started + 1000 + 360)


def test_accelerator_hours_count_every_device_over_all_runs() -> None:
    plan = make_plan(trials=None, accelerator_hours=0.1, workers=3)
    storage, clock = MemoryStorage("simulated", plan.directions), SimulatedClock()
    first = run_loop(plan, storage, clock)
    for _ in itertools.takewhile(lambda _: clock.seconds < 60, first):
        pass
    first.close()  # type: ignore[attr-defined]
    clock.seconds += 10_000  # the machine is off

    events = list(run_loop(plan, storage, clock))

    assert isinstance(events[-1], StudyEnded)
    assert events[-1].kind == "accelerator_hours"
    assert clock.seconds == pytest.approx(10_000 + 360 / 3)


def test_a_study_ends_when_trials_in_a_row_add_no_point_to_the_front() -> None:
    plan = make_plan(trials=None, stop_when=StopSpec.model_validate({"no_new_front_point": 8}))
    storage = MemoryStorage("simulated", plan.directions)

    events = list(run_loop(plan, storage, SimulatedClock()))

    assert isinstance(events[-1], StudyEnded)
    assert events[-1].kind == "stagnation"
    assert events[-1].reason == "The last 8 trials added no point to the front."
    complete = [trial for trial in storage.trials() if trial.state == "complete"]
    on_the_front = {trial.number for trial in front_of(complete, ACCURACY)}
    assert on_the_front <= {trial.number for trial in storage.trials()[:-8]}


@pytest.mark.parametrize(("noise", "ends"), [(0.0, False), (0.01, True)])
def test_gains_within_their_noise_do_not_keep_a_study_running(*, noise: float, ends: bool) -> None:
    plan = make_plan(trials=None, stop_when=StopSpec(growth=0.01, trials=8, no_new_front_point=8))
    storage = MemoryStorage("simulated", plan.directions)
    for number in range(9):
        quality = 0.9 + 0.001 * number
        storage.save(
            Trial(
                number=number,
                state="complete",
                config={"rate": 0.1},
                measurement=Measurement(quality=quality, train_seconds=60),
                standard_errors=Scores.model_validate(dict.fromkeys(Scores.model_fields, noise)),
                ended=datetime(2026, 1, 1, 0, number, tzinfo=UTC),
            )
        )

    end = Budget(plan, storage, SimulatedClock()).spent()

    assert (end is not None) == ends
    assert end is None or end.kind == "stagnation"
