"""The loop on a simulated clock: its laws, over many small searches."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
from tests.search.simulated_study import SPACE, curve

from effv2_tune.errors import TuneError
from effv2_tune.search import simulate
from effv2_tune.search.simulation import STRATEGIES, Overhead, run_simulation
from effv2_tune.study.plan import HalvingSpec, SearchSpec, StudyPlan
from effv2_tune.study.space import Space

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


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


def test_workers_compile_each_bucket_once() -> None:
    overhead = Overhead(compile_seconds=50.0, bucket=lambda config: str(config["kind"]))
    plan = StudyPlan(
        name="overhead",
        search_space=SPACE,
        trials=6,
        search=SearchSpec(engine="random", halving=HalvingSpec(enabled=False)),
    )

    trials = run_simulation(plan, curve, overhead=overhead)

    kinds: set[str] = set()
    for trial in trials:
        seconds = list(curve(trial.config))[-1][2]
        new = str(trial.config["kind"]) not in kinds
        kinds.add(str(trial.config["kind"]))
        assert trial.values is not None
        assert trial.values[1] == seconds
        assert trial.stop - trial.start == pytest.approx(seconds + 50.0 * new)
    assert 1 < len(kinds) < len(trials)


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


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"strategy": "best"}, "Unknown strategy 'best'"),
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
