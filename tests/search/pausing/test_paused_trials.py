"""Trials that are paused at rungs, and continued or stopped later."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.search.pausing.pausing_policy import PauseAlways
from tests.search.simulated_study import EPOCHS, curve, make_plan, run_loop

from effv2_tune.search.clock import SimulatedClock
from effv2_tune.search.events import StudyStarted, TrialEnded, TrialPaused, TrialPromoted
from effv2_tune.search.storage.in_memory import MemoryStorage
from effv2_tune.study.space import Space

if TYPE_CHECKING:
    from effv2_tune.search.events import Event
    from effv2_tune.study.plan import StudyPlan
    from effv2_tune.study.trial import Trial


def new_storage() -> MemoryStorage:
    return MemoryStorage("simulated", ("maximize", "minimize"))


def run(plan: StudyPlan, storage: MemoryStorage, **options: Any) -> list[Event]:
    return list(run_loop(plan, storage, SimulatedClock(), policy=PauseAlways(), **options))


def outcome(storage: MemoryStorage) -> list[Any]:
    """What must not depend on interruptions."""
    return [
        (t.number, t.state, t.config, t.measurement, t.rungs, len(t.curve), t.reason)
        for t in storage.trials()
    ]


FULL = new_storage()
EVENTS = run(make_plan(), FULL)


def ended(events: list[Event]) -> list[Trial]:
    return [event.trial for event in events if isinstance(event, TrialEnded)]


def test_a_promoted_trial_continues_where_it_was_paused_and_completes() -> None:
    complete = [trial for trial in FULL.trials() if trial.state == "complete"]

    assert complete
    for trial in complete:
        qualities = [epoch.validation.accuracy for epoch in trial.curve]
        assert qualities == [quality for _, quality, _ in curve(trial.config)]
        assert [rung.rung for rung in trial.rungs] == sorted({r.rung for r in trial.rungs})
        assert trial.pause is None
        assert trial.attempts == 1 + len(trial.rungs)


def test_a_worker_trains_other_trials_while_one_is_paused() -> None:
    paused = [e.trial for e in EVENTS if isinstance(e, TrialPaused)]
    promoted = [e.trial for e in EVENTS if isinstance(e, TrialPromoted)]

    assert set(promoted) < set(paused)
    first = next(
        i for i, e in enumerate(EVENTS) if isinstance(e, TrialPaused) and e.trial == promoted[0]
    )
    again = next(i for i, e in enumerate(EVENTS) if isinstance(e, TrialPromoted))
    assert any(
        isinstance(e, TrialPaused) and e.trial != promoted[0] for e in EVENTS[first + 1 : again]
    )


def test_trials_that_are_still_paused_when_the_study_ends_are_pruned_and_reported() -> None:
    assert {trial.state for trial in FULL.trials()} == {"complete", "pruned"}
    stopped = [trial for trial in ended(EVENTS) if trial.state == "pruned"]

    assert stopped
    for trial in stopped:
        assert trial.pause is not None
        epoch = trial.pause.epoch
        assert trial.reason == f"paused after epoch {epoch}, and stopped as the study ended"
        assert trial.rungs[-1].epoch == epoch == len(trial.curve) < EPOCHS


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.integers(0, 200), min_size=1, max_size=3))
def test_interrupted_anywhere_and_continued_the_record_is_the_same(stops: list[int]) -> None:
    storage = new_storage()
    for stop in stops:
        story = run_loop(make_plan(), storage, SimulatedClock(), policy=PauseAlways())
        for _ in itertools.islice(story, stop):
            pass
        story.close()  # type: ignore[attr-defined]

    run(make_plan(), storage)

    assert outcome(storage) == outcome(FULL)


def test_the_next_run_reports_how_many_trials_are_paused() -> None:
    storage = new_storage()
    story = run_loop(make_plan(), storage, SimulatedClock(), policy=PauseAlways())
    next(event for event in story if isinstance(event, TrialPaused))
    story.close()  # type: ignore[attr-defined]

    started = run(make_plan(), storage)[0]

    assert isinstance(started, StudyStarted)
    assert (started.known, started.unfinished, started.paused) == (0, 0, 1)


@pytest.mark.parametrize("workers", [1, 4])
def test_a_full_disk_stops_the_worst_paused_trial_first(workers: int) -> None:
    free = [0]

    def missing_bytes() -> int:
        return 3 - free[0]

    storage, promoted = new_storage(), 0
    story = run_loop(
        make_plan(workers=workers),
        storage,
        SimulatedClock(),
        policy=PauseAlways(most=100),
        missing_bytes=lambda: missing_bytes() if len(paused(storage)) == 6 or free[0] % 3 else 0,
    )
    before: list[Trial] = []
    for event in story:
        promoted += isinstance(event, TrialPromoted)
        if isinstance(event, TrialPaused):
            before = paused(storage)
        if isinstance(event, TrialEnded):
            assert "the disk was nearly full" in event.trial.reason
            free[0] += 1
            assert not dominates_another(event.trial, before)
            before = paused(storage)
            if free[0] == 3:
                break
    story.close()  # type: ignore[attr-defined]

    assert free == [3]
    assert len(paused(storage)) == 3


def paused(storage: MemoryStorage) -> list[Trial]:
    return [trial for trial in storage.trials() if trial.state == "paused"]


def dominates_another(trial: Trial, others: list[Trial]) -> bool:
    """Whether a paused trial was better and faster than one that stayed paused."""
    here = trial.rungs[-1]
    return any(
        here.quality > other.rungs[-1].quality
        and here.projected_seconds < other.rungs[-1].projected_seconds
        for other in others
        if other.number != trial.number
    )


def test_a_disk_that_something_else_fills_stops_one_trial_only() -> None:
    storage = new_storage()
    events = run(make_plan(trials=2), storage, missing_bytes=lambda: 7)

    # One for each pause, as stopping it makes no room.
    assert [trial.state for trial in ended(events)] == ["pruned", "pruned"]


def test_a_duplicate_of_a_paused_trial_waits_for_its_outcome() -> None:
    plan = make_plan(
        search_space=Space.model_validate(
            {
                "rate": {"type": "choice", "values": [0.01, 0.1]},
                "width": {"type": "choice", "values": [1]},
                "kind": {"type": "choice", "values": [None]},
            }
        ),
        trials=None,
        hours=1.0,
    )
    storage = new_storage()

    run(plan, storage)

    first, *_ = storage.trials()
    duplicates = [t for t in storage.trials() if t.notes == (f"duplicate of trial {first.number}",)]
    assert duplicates
    assert {(t.state, t.reason) for t in duplicates} == {(first.state, first.reason)}


def test_several_workers_leave_no_trial_undecided() -> None:
    storage = new_storage()

    run(make_plan(workers=4), storage)

    assert len(storage.trials()) == 24
    assert {trial.state for trial in storage.trials()} == {"complete", "pruned"}
