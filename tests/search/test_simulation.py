"""The loop on a simulated clock: its laws, over many small searches."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from effv2_tune.errors import TuneError
from effv2_tune.search import simulate
from effv2_tune.search.clock import SimulatedClock
from effv2_tune.search.engines.optuna import OptunaEngine
from effv2_tune.search.events import EpochTrained, RungDecided, StudyEnded, TrialEnded
from effv2_tune.search.loop import run_study
from effv2_tune.search.simulation import STRATEGIES, Curves, CurveWorkload, SimulatedPool
from effv2_tune.search.storage.in_memory import MemoryStorage
from effv2_tune.study.plan import HalvingSpec, SearchSpec, StopSpec, StudyPlan
from effv2_tune.study.space import Space

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from effv2_tune.search.events import Event
    from effv2_tune.study.trial import Trial

SPACE = Space.model_validate(
    {
        "rate": {"type": "float", "low": 1e-4, "high": 1.0, "scale": "log"},
        "width": {"type": "int", "low": 1, "high": 64, "scale": "log"},
        "kind": {"type": "choice", "values": [None, True, 1, {"per_device": 4}]},
    }
)
EPOCHS = 20


def curve(config: Mapping[str, Any]) -> Iterator[tuple[int, float, float]]:
    """Wider is better and slower; some rates learn late."""
    off = abs(math.log10(config["rate"]) + 2)
    reach = 0.9 - 0.2 * off + 0.01 * math.log2(config["width"])
    for epoch in range(1, EPOCHS + 1):
        learnt = 1 - math.exp(-epoch / (2 + 2 * off))
        yield epoch, reach * learnt, epoch * (1.0 + config["width"] / 8)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_spends_the_budget_and_no_more(strategy: str) -> None:
    trials = simulate(SPACE, curve, 1000, strategy=strategy, seed=1)

    assert max(trial.stop for trial in trials) == 1000
    assert [trial.number for trial in trials] == list(range(len(trials)))
    assert any(trial.state == "complete" for trial in trials)
    assert any(trial.state == "pruned" for trial in trials) == (
        strategy == "default" or "halving" in strategy
    )


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_same_seed_asks_for_the_same_configs_and_another_for_others(strategy: str) -> None:
    def configs(seed: int) -> list[dict[str, Any]]:
        trials = simulate(SPACE, curve, 600, strategy=strategy, seed=seed)
        return [trial.config for trial in trials]

    assert configs(3) == configs(3)
    assert configs(3) != configs(4)


def test_a_complete_trial_has_its_curves_last_values_and_took_its_time() -> None:
    for trial in simulate(SPACE, curve, 1000, strategy="tpe"):
        if trial.state == "complete":
            epoch, quality, seconds = list(curve(trial.config))[-1]
            assert (trial.last_epoch, trial.values) == (epoch, (quality, seconds))
            assert trial.stop - trial.start == pytest.approx(seconds)


def test_a_stopped_trial_ends_at_a_rung_without_values() -> None:
    stopped = [t for t in simulate(SPACE, curve, 1000) if t.state == "pruned"]

    assert stopped
    assert {trial.last_epoch for trial in stopped} <= {2, 4, 8}
    assert all(trial.values is None for trial in stopped)


def test_rungs_may_be_given() -> None:
    trials = simulate(SPACE, curve, 1000, rungs=(0.5,))

    assert {trial.last_epoch for trial in trials if trial.state == "pruned"} == {10}


def test_no_worker_trains_two_trials_at_once() -> None:
    trials = simulate(SPACE, curve, 1000, workers=3)

    moments = sorted({trial.start for trial in trials})
    at_work = [sum(t.start <= moment < t.stop for t in trials) for moment in moments]
    assert max(at_work) == 3


def test_a_loss_may_be_minimized() -> None:
    def loss(config: Mapping[str, Any]) -> Iterator[tuple[int, float, float]]:
        for epoch, quality, seconds in curve(config):
            yield epoch, 1 - quality, seconds

    trials = simulate(SPACE, loss, 3000, directions=("minimize", "minimize"), seed=2)

    best = min(trial.values[0] for trial in trials if trial.values is not None)
    assert best < 0.15


def test_a_quality_that_is_no_number_diverges() -> None:
    def exploding(config: Mapping[str, Any]) -> Iterator[tuple[int, float, float]]:
        for epoch, quality, seconds in curve(config):
            yield epoch, math.nan if config["rate"] > 0.1 and epoch > 2 else quality, seconds

    trials = simulate(SPACE, exploding, 1000, strategy="random")

    diverged = [trial for trial in trials if trial.state == "diverged"]
    assert diverged
    assert all(trial.config["rate"] > 0.1 and trial.last_epoch == 2 for trial in diverged)


def test_thirty_conditional_choices_are_searched() -> None:
    written: dict[str, Any] = {"c0": {"type": "choice", "values": ["on", "off"]}}
    for index in range(1, 31):
        parent = f"c{(index - 1) // 2}"
        written[f"c{index}"] = {
            "type": "choice",
            "values": ["on", "off", None],
            "when": {parent: "on"},
        }
    space = Space.model_validate(written)

    def flat(config: Mapping[str, Any]) -> Iterator[tuple[int, float, float]]:
        ons = sum(value == "on" for value in config.values())
        yield from ((epoch, ons * epoch / 300, epoch * 1.0) for epoch in range(1, 11))

    for strategy in ("default", "nsga2", "random+halving"):
        trials = simulate(space, flat, 200, strategy=strategy)
        assert all(space.contains(trial.config) for trial in trials)
        assert len({len(trial.config) for trial in trials}) > 1


def test_a_space_that_is_used_up_ends_the_search() -> None:
    space = Space.model_validate({"k": {"type": "choice", "values": [1, 2, 3]}})

    def short(config: Mapping[str, Any]) -> Iterator[tuple[int, float, float]]:
        yield 1, config["k"] / 3, 1.0

    trials = simulate(space, short, 10_000)

    trained = [trial for trial in trials if not trial.notes]
    assert sorted(trial.config["k"] for trial in trained) == [1, 2, 3]
    assert all(trial.values is not None for trial in trials)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"strategy": "best"}, "No strategy is called 'best'"),
        ({"directions": ("maximize", "maximize")}, "Seconds are always minimized"),
    ],
)
def test_what_makes_no_sense_is_a_sentence(arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(TuneError, match=sentence):
        simulate(SPACE, curve, 100, **arguments)


@pytest.mark.parametrize(
    "points", [[], [(1, 0.5, 2.0), (2, 0.6, 1.0)], [(1, 0.5, 0.0)]], ids=["empty", "back", "zero"]
)
def test_a_curve_that_is_no_training_is_a_sentence(points: list[Any]) -> None:
    with pytest.raises(TuneError, match="curve"):
        simulate(SPACE, lambda _: points, 100)


def make_plan(**changes: Any) -> StudyPlan:
    halving = HalvingSpec(guard_after=4)
    settings_ = {
        "name": "simulated",
        "search_space": SPACE,
        "trials": 24,
        "search": SearchSpec(seed=7, halving=halving),
    }
    return StudyPlan(**(settings_ | changes))


def run_loop(plan: StudyPlan, storage: MemoryStorage, clock: SimulatedClock) -> Iterator[Event]:
    curves = Curves(curve)
    return run_study(
        plan,
        engine=OptunaEngine(storage, plan.search_space, seed=plan.search.seed),
        pool=SimulatedPool(curves, plan.workers, clock),
        storage=storage,
        clock=clock,
        workload=CurveWorkload(curves, plan.search.halving),
    )


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


def test_enqueued_configs_come_first() -> None:
    first = {"rate": 0.01, "width": 3, "kind": {"per_device": 4}}
    second = {"rate": 0.02, "width": 64, "kind": True}
    plan = make_plan(trials=4)
    storage = MemoryStorage("simulated", plan.directions)
    engine = OptunaEngine(storage, SPACE, enqueue=[first, second])

    assert [engine.ask().config for _ in range(2)] == [first, second]


def test_progress_is_told_epoch_by_epoch() -> None:
    plan = make_plan(trials=1)
    events = list(run_loop(plan, MemoryStorage("s", plan.directions), SimulatedClock()))

    epochs = [event.epoch.epoch for event in events if isinstance(event, EpochTrained)]
    assert epochs == list(range(1, EPOCHS + 1))
