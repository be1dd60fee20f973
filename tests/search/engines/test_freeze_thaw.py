"""The freeze-thaw engine, with the real loop on a simulated clock."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest
from tests.search.simulated_study import EPOCHS, SPACE, curve, make_plan

from effv2_tune.errors import TuneError
from effv2_tune.search.clock import SimulatedClock
from effv2_tune.search.engines.action_costs import Costs
from effv2_tune.search.engines.freeze_thaw import FreezeThawEngine
from effv2_tune.search.events import (
    RungDecided,
    StudyEnded,
    TrialEnded,
    TrialPaused,
    TrialPromoted,
)
from effv2_tune.search.freeze_thaw import Settings
from effv2_tune.search.loop import run_study
from effv2_tune.search.simulation import (
    NO_OVERHEAD,
    Curves,
    CurveWorkload,
    Overhead,
    SimulatedPool,
)
from effv2_tune.search.storage.in_memory import MemoryStorage
from effv2_tune.study.plan import HalvingSpec, SearchSpec
from effv2_tune.study.space import Space

if TYPE_CHECKING:
    from collections.abc import Iterator

    from effv2_tune.search.events import Event
    from effv2_tune.study.plan import StudyPlan

NOTHING = Costs(lambda _: [])
SEARCH = SearchSpec(engine="freeze_thaw", seed=7)


def run(
    plan: StudyPlan,
    storage: MemoryStorage,
    clock: SimulatedClock | None = None,
    overhead: Overhead = NO_OVERHEAD,
) -> Iterator[Event]:
    curves, clock = Curves(curve), clock or SimulatedClock()
    engine = FreezeThawEngine(
        storage,
        plan,
        costs=lambda known: overhead.costs(curves, known),
        epochs=lambda _: EPOCHS,
        enqueue=plan.enqueue,
        settings=Settings(candidates=20),
    )
    return run_study(
        plan,
        engine=engine,
        policy=engine,
        pool=SimulatedPool(curves, plan.worker_count, clock, overhead),
        storage=storage,
        clock=clock,
        workload=CurveWorkload(curves, plan.search.halving),
    )


def new_storage() -> MemoryStorage:
    return MemoryStorage("simulated", ("maximize", "minimize"))


def outcome(storage: MemoryStorage) -> list[Any]:
    return [
        (t.number, t.state, t.config, t.measurement, t.rungs, len(t.curve))
        for t in storage.trials()
    ]


PLAN = make_plan(trials=12, search=SEARCH)
FULL = new_storage()
EVENTS = list(run(PLAN, FULL))


def test_trials_are_paused_and_the_best_are_completed() -> None:
    complete = [trial for trial in FULL.trials() if trial.state == "complete"]

    assert len(FULL.trials()) == 12
    assert any(isinstance(event, TrialPaused) for event in EVENTS)
    assert 0 < len(complete) < 12
    assert all(len(trial.curve) == EPOCHS for trial in complete)
    best = max(t.rungs[0].quality for t in FULL.trials() if t.rungs)
    assert any(trial.rungs[0].quality > 0.8 * best for trial in complete)
    assert {trial.state for trial in FULL.trials()} == {"complete", "pruned"}


def test_a_trial_that_is_the_best_use_of_its_worker_goes_on_without_a_pause() -> None:
    answers = [event.answer for event in EVENTS if isinstance(event, RungDecided)]

    assert set(answers) == {"promote", "pause"}


@pytest.mark.parametrize("stops", [(17, 40), (60, 5, 90), (120, 30)])
def test_interrupted_and_continued_the_record_is_the_same(stops: tuple[int, ...]) -> None:
    storage, clock = new_storage(), SimulatedClock()
    for stop in stops:
        story = run(PLAN, storage, clock)
        for _ in itertools.islice(story, stop):
            pass
        story.close()  # type: ignore[attr-defined]

    list(run(PLAN, storage, clock))

    assert outcome(storage) == outcome(FULL)


def test_nothing_is_begun_that_cannot_end_within_the_hours() -> None:
    plan = make_plan(trials=None, hours=400 / 3600, search=SEARCH)
    storage, clock = new_storage(), SimulatedClock()

    events = list(run(plan, storage, clock))

    ended = events[-1]
    assert isinstance(ended, StudyEnded)
    assert clock.seconds <= 400
    # The simulated workers charge nothing but training, so that every trial ends in time.
    assert all(trial.state != "running" for trial in storage.trials())
    assert (ended.kind, "within the hours" in ended.reason) == ("exhausted", True)


def test_with_overheads_nothing_is_begun_that_cannot_end_either() -> None:
    plan = make_plan(trials=None, hours=400 / 3600, search=SEARCH)
    storage, clock = new_storage(), SimulatedClock()
    overhead = Overhead(5.0, 10.0, bucket=lambda config: str(config["kind"]))

    events = list(run(plan, storage, clock, overhead))

    assert isinstance(events[-1], StudyEnded)
    assert clock.seconds <= 400
    assert all(trial.state != "running" for trial in storage.trials())


def test_a_dear_restoration_makes_pauses_rare() -> None:
    def continued(restore_seconds: float) -> int:
        plan = make_plan(trials=12, search=SEARCH)
        overhead = Overhead(restore_seconds=restore_seconds)
        events = run(plan, new_storage(), overhead=overhead)
        return sum(isinstance(event, TrialPromoted) for event in events)

    assert continued(1e4) < continued(0.0)


def test_the_hours_limit_nothing_as_long_as_no_step_time_is_known() -> None:
    plan = make_plan(trials=None, hours=1.0, workers=2, search=SEARCH)
    relative = Costs(lambda configs: [1e12 for _ in configs], is_absolute=False)
    engine = FreezeThawEngine(
        new_storage(), plan, costs=lambda _: relative, epochs=lambda _: EPOCHS
    )

    assert engine.choose_paused([], seconds_left=3600.0) is None
    assert engine.ask().number == 0


def test_enqueued_configs_come_first() -> None:
    first = ({"rate": 0.01, "width": 8, "kind": True}, {"rate": 0.5, "width": 1, "kind": None})
    storage = new_storage()

    list(run(make_plan(trials=3, search=SEARCH, enqueue=first), storage))

    assert tuple(trial.config for trial in storage.trials())[:2] == first


def test_several_workers_share_a_study() -> None:
    storage = new_storage()

    list(run(make_plan(trials=9, workers=3, search=SEARCH), storage))

    assert {trial.state for trial in storage.trials()} <= {"complete", "pruned"}
    assert len(storage.trials()) == 9


def test_without_rungs_every_trial_is_trained_in_full() -> None:
    search = SEARCH.model_copy(update={"halving": HalvingSpec(enabled=False)})
    storage = new_storage()

    list(run(make_plan(trials=8, search=search), storage))

    assert {trial.state for trial in storage.trials()} == {"complete"}


def test_a_small_number_of_trials_is_enough() -> None:
    storage = new_storage()

    events = list(run(make_plan(trials=1, search=SEARCH), storage))

    assert [e.trial.state for e in events if isinstance(e, TrialEnded)] == ["complete"]


def test_a_space_without_a_parameter_is_refused() -> None:
    fixed = Space.model_validate({"rate": {"type": "fixed", "value": 0.1}})
    plan = make_plan(search_space=fixed, search=SEARCH)

    with pytest.raises(TuneError, match="needs a parameter to search"):
        FreezeThawEngine(new_storage(), plan, costs=lambda _: NOTHING, epochs=lambda _: 1)


def test_the_space_of_the_simulation_is_searched() -> None:
    assert all(SPACE.contains(trial.config) for trial in FULL.trials())
