"""Decisions at rungs, over many small searches."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.search.simulated_study import make_plan, misleading_curve, run_loop

from effv2_tune.search.clock import SimulatedClock
from effv2_tune.search.events import RungDecided, TrialEnded
from effv2_tune.search.storage.in_memory import MemoryStorage
from effv2_tune.study.plan import HalvingSpec, SearchSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from effv2_tune.search.events import Event


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 10_000), st.sampled_from([1, 4]))
def test_every_stop_had_a_dominated_outlook_once_enough_curves_were_full(
    seed: int, workers: int
) -> None:
    guard_after = 4
    plan = make_plan(
        trials=40,
        workers=workers,
        search=SearchSpec(seed=seed, halving=HalvingSpec(guard_after=guard_after)),
    )
    completed: list[tuple[float, float]] = []
    story = run_loop(plan, MemoryStorage("simulated", plan.directions), SimulatedClock())
    for event in story:
        if isinstance(event, TrialEnded) and event.trial.measurement is not None:
            measured = event.trial.measurement
            completed.append((measured.quality, measured.train_seconds))
        if isinstance(event, RungDecided):
            # Every full curve of this space has passed all rungs.
            assert (event.optimistic_quality is not None) == (len(completed) >= guard_after)
            if event.answer == "stop" and event.optimistic_quality is not None:
                assert any(
                    quality >= event.optimistic_quality
                    and seconds <= event.projected_seconds
                    and (quality, seconds) != (event.optimistic_quality, event.projected_seconds)
                    for quality, seconds in completed
                )


def misled(storage: MemoryStorage, clock: SimulatedClock) -> Iterator[Event]:
    """A study whose rungs rank trials the other way round than the end does."""
    search = SearchSpec(seed=3, halving=HalvingSpec(guard_after=4, earned=True))
    plan = make_plan(trials=30, search=search)
    return run_loop(plan, storage, clock, learning_curve=misleading_curve)


def new_storage() -> MemoryStorage:
    return MemoryStorage("simulated", ("maximize", "minimize"))


def test_a_rung_that_misleads_loses_its_strictness() -> None:
    decisions = [
        event for event in misled(new_storage(), SimulatedClock()) if isinstance(event, RungDecided)
    ]

    earned = [one.strictness for one in decisions if one.strictness is not None]
    assert decisions[0].strictness is None
    assert set(earned) == {0.0}


@pytest.mark.parametrize("stops", [(60,), (150, 40), (250, 5, 90)])
def test_an_interruption_changes_nothing_in_what_a_rung_has_earned(stops: tuple[int, ...]) -> None:
    full, storage, clock = new_storage(), new_storage(), SimulatedClock()
    list(misled(full, SimulatedClock()))
    for stop in stops:
        story = misled(storage, clock)
        for _ in itertools.islice(story, stop):
            pass
        story.close()  # type: ignore[attr-defined]

    list(misled(storage, clock))

    assert [(t.state, t.config, t.rungs) for t in storage.trials()] == [
        (t.state, t.config, t.rungs) for t in full.trials()
    ]
