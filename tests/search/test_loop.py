"""The loop on a simulated clock."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.search.simulated_study import EPOCHS, make_plan, run_loop

from effv2_tune.search.clock import SimulatedClock
from effv2_tune.search.events import EpochTrained
from effv2_tune.search.storage.in_memory import MemoryStorage

if TYPE_CHECKING:
    from effv2_tune.study.trial import Trial


def outcome(trials: list[Trial]) -> list[Any]:
    """What must not depend on interruptions."""
    return [(t.number, t.state, t.config, t.measurement, t.rungs, len(t.curve)) for t in trials]


FULL = MemoryStorage("simulated", ("maximize", "minimize"))
list(run_loop(make_plan(), FULL, SimulatedClock()))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.integers(0, 120), min_size=1, max_size=3))
@example([32, 12, 31])  # between the last epoch of a trial and its end
def test_interrupted_anywhere_and_continued_the_record_is_the_same(stops: list[int]) -> None:
    storage = MemoryStorage("simulated", ("maximize", "minimize"))
    clock = SimulatedClock()
    for stop in stops:
        story = run_loop(make_plan(), storage, clock)
        for _ in itertools.islice(story, stop):
            pass
        story.close()  # type: ignore[attr-defined]

    list(run_loop(make_plan(), storage, clock))

    assert outcome(list(storage.trials())) == outcome(list(FULL.trials()))


def test_progress_is_told_epoch_by_epoch() -> None:
    plan = make_plan(trials=1)
    events = list(run_loop(plan, MemoryStorage("s", plan.directions), SimulatedClock()))

    epochs = [event.epoch.epoch for event in events if isinstance(event, EpochTrained)]
    assert epochs == list(range(1, EPOCHS + 1))
