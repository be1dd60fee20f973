"""Decisions at rungs, over many small searches."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.search.simulated_study import make_plan, run_loop

from effv2_tune.search.clock import SimulatedClock
from effv2_tune.search.events import RungDecided, TrialEnded
from effv2_tune.search.storage.in_memory import MemoryStorage
from effv2_tune.study.plan import HalvingSpec, SearchSpec


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
            if not event.go_on and event.optimistic_quality is not None:
                assert any(
                    quality >= event.optimistic_quality
                    and seconds <= event.projected_seconds
                    and (quality, seconds) != (event.optimistic_quality, event.projected_seconds)
                    for quality, seconds in completed
                )
