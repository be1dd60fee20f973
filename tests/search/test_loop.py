"""The loop on a simulated clock."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.search.simulated_study import EPOCHS, curve, make_plan, run_loop

from effv2_tune.search.clock import SimulatedClock
from effv2_tune.search.engines.optuna import OptunaEngine
from effv2_tune.search.events import EpochTrained, TrialEnded, TrialStarted
from effv2_tune.search.loop import run_study
from effv2_tune.search.simulation import Curves, CurveWorkload, SimulatedPool
from effv2_tune.search.storage.in_memory import MemoryStorage
from effv2_tune.study.plan import ClusterSpec
from effv2_tune.workers.messages import Ready
from effv2_tune.workers.pool import WorkerExited

if TYPE_CHECKING:
    from collections.abc import Sequence

    from effv2_tune.study.plan import StudyPlan
    from effv2_tune.study.trial import Trial
    from effv2_tune.workers.messages import FromWorker


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


class PoolOnNodes:
    """A simulated pool whose workers are on nodes of a cluster; one of them leaves for good."""

    def __init__(self, pool: SimulatedPool, *, leaves: int | None = None) -> None:
        self._pool = pool
        self._leaves = leaves
        self._has_left = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    def wait(self, timeout_seconds: float) -> Sequence[tuple[int, FromWorker | WorkerExited]]:
        """As the pool's, with the node of each worker."""
        if self._leaves is not None and not self._has_left:
            self._has_left = True
            exited = WorkerExited("its node left the cluster", "", kind="kill")
            return [*self._on_nodes(self._pool.wait(timeout_seconds)), (self._leaves, exited)]
        return self._on_nodes(self._pool.wait(timeout_seconds))

    def _on_nodes(
        self, received: Sequence[tuple[int, FromWorker | WorkerExited]]
    ) -> list[tuple[int, FromWorker | WorkerExited]]:
        return [(worker, on_node(worker, message)) for worker, message in received]


def on_node(worker: int, message: FromWorker | WorkerExited) -> FromWorker | WorkerExited:
    if not isinstance(message, Ready):
        return message
    environment = message.environment.model_copy(update={"host": f"node-{worker}"})
    return message.model_copy(update={"environment": environment})


def run_on_nodes(plan: StudyPlan, clock: SimulatedClock, **options: Any) -> list[Any]:
    storage, curves = MemoryStorage("simulated", plan.directions), Curves(curve)
    events = run_study(
        plan,
        engine=OptunaEngine(storage, plan.search_space, seed=plan.search.seed),
        pool=PoolOnNodes(SimulatedPool(curves, plan.worker_count, clock), **options),
        storage=storage,
        clock=clock,
        workload=CurveWorkload(curves, plan.search.halving),
    )
    return list(events)


def test_the_record_of_a_trial_names_the_node_that_trained_it() -> None:
    events = run_on_nodes(make_plan(workers=3), SimulatedClock())

    workers = {event.trial: event.worker for event in events if isinstance(event, TrialStarted)}
    trained = [event.trial for event in events if isinstance(event, TrialEnded)]
    hosts = {trial.number: trial.environment.host for trial in trained if trial.environment}
    assert set(workers.values()) == {0, 1, 2}
    assert hosts == {number: f"node-{workers[number]}" for number in hosts}


def test_a_worker_whose_node_has_left_the_cluster_uses_no_accelerator_hours() -> None:
    ends = []
    for leaves in (None, 1):
        clock = SimulatedClock()
        plan = make_plan(trials=None, accelerator_hours=0.1, workers=2, cluster=ClusterSpec())
        run_on_nodes(plan, clock, leaves=leaves)
        ends.append(clock.seconds)

    assert ends == [pytest.approx(180), pytest.approx(360)]
