"""Published optimizers on the simulated clock: what they are charged for and what they receive."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from effv2_tune.search.simulation import Curves, Overhead, run_simulation
from effv2_tune.study.plan import HalvingSpec, SearchSpec, StudyPlan
from effv2_tune.study.space import Space

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import ModuleType

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
EPOCHS = 9
SPACE = Space.model_validate(
    {
        "rate": {"type": "float", "low": 1e-3, "high": 1.0, "scale": "log"},
        "width": {"type": "int", "low": 1, "high": 9, "step": 2},
        "kind": {"type": "choice", "values": ["plain", "wide"]},
        "depth": {"type": "int", "low": 1, "high": 4, "when": {"kind": "wide"}},
    }
)
REFERENCE = {
    "worst_accuracy": 0.0,
    "best_accuracy": 1.0,
    "slowest": 150.0,
    "fastest": 10.0,
    "median_seconds": 60.0,
    "hypervolume": 1.0,
}


@pytest.fixture(scope="module", autouse=True)
def simulation() -> Iterator[ModuleType]:
    """The module; it imports its neighbours as scripts do."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import peers.simulation

        yield peers.simulation
    finally:
        sys.path.remove(str(BENCHMARKS))


def curve(config: Mapping[str, Any]) -> Iterator[tuple[int, float, float]]:
    """A quality that rises to that of the config, and seconds by its width and depth."""
    seconds = 10.0 * config["width"] + 10.0 * config.get("depth", 0)
    end = 1 - abs(config["rate"] - 0.1) - 0.3 / config["width"]
    for epoch in range(1, EPOCHS + 1):
        yield epoch, end * epoch / EPOCHS, seconds * epoch / EPOCHS


class Tasks:
    """The curves of any task."""

    def curve(self, task: str) -> Any:
        assert task == "a"
        return curve


class Script:
    """A peer that asks for given (width, share) one after the other."""

    def __init__(self, jobs: list[tuple[int, float]]) -> None:
        from peers.base import Job

        self._jobs = [Job({"width": width, "rate": 0.1}, share) for width, share in jobs]
        self.received: list[tuple[int, float, float]] = []

    def ask(self) -> Any:
        return self._jobs.pop(0) if self._jobs else None

    def tell(self, job: Any, outcome: Any) -> None:
        self.received.append((job.config["width"], job.share, outcome.seconds))


def charged(simulation: ModuleType, jobs: list[tuple[int, float]], workers: int = 1) -> Any:
    """What a script completes where compiling takes 5 s and a checkpoint 2 s."""
    overhead = Overhead(restore_seconds=2, compile_seconds=5, bucket=lambda one: str(one["width"]))
    script = Script(jobs)
    found = simulation.Simulation(script, Curves(curve), workers, overhead).run(1000.0)
    return np.array([(one.stop, one.seconds) for one in found]), np.array(script.received)


def rows(*expected: tuple[float, ...]) -> Any:
    """These rows, but for rounding."""
    return pytest.approx(np.array(expected))


def test_a_bucket_is_compiled_once_and_a_trial_of_another_worker_is_restored(
    simulation: ModuleType,
) -> None:
    at_once, _ = charged(simulation, [(3, 1 / 3), (3, 1)])
    after_another, received = charged(simulation, [(3, 1 / 3), (1, 1), (3, 1)])

    assert at_once == rows((5 + 30, 30))
    assert after_another == rows((15 + 15, 10), (30 + 2 + 20, 30))
    assert received == rows((3, 1 / 3, 30), (1, 1, 10), (3, 1, 30))


def test_a_trained_config_is_answered_from_the_record(simulation: ModuleType) -> None:
    complete, received = charged(simulation, [(3, 1), (3, 1), (3, 1 / 9), (1, 1)])

    assert complete == rows((35, 30), (35 + 15, 10))
    assert received == rows((3, 1, 30), (3, 1, 30), (3, 1 / 9, 30), (1, 1, 10))


def test_a_config_that_another_worker_trains_is_not_trained_twice(simulation: ModuleType) -> None:
    complete, received = charged(simulation, [(3, 1), (3, 1), (1, 1)], workers=2)

    assert complete == rows((15, 10), (35, 30))
    assert received == rows((1, 1, 10), (3, 1, 30), (3, 1, 30))


@pytest.mark.parametrize("workers", [1, 3])
def test_the_clock_is_that_of_a_study(simulation: ModuleType, workers: int) -> None:
    from peers.base import Job

    overhead = Overhead(compile_seconds=7, bucket=lambda config: str(config["width"]))
    search = SearchSpec(engine="random", halving=HalvingSpec(enabled=False))
    plan = StudyPlan(
        name="a", search_space=SPACE, accelerator_hours=0.5, workers=workers, search=search
    )
    trials = run_simulation(plan, curve, overhead=overhead)

    script = Script([])
    script._jobs = [Job(trial.config) for trial in trials]
    found = simulation.Simulation(script, Curves(curve), workers, overhead).run(1800 / workers)

    ended = [(one.stop, *one.values) for one in trials if one.values and one.stop > one.start]
    assert len(ended) > 10
    assert np.array(sorted(found)) == rows(*sorted(ended))


def run(simulation: ModuleType, name: str, workers: int, seed: int = 0) -> dict[str, Any]:
    """A simulation of the peer on the curves above."""
    found: dict[str, Any] = simulation.run_peer(
        Tasks(),
        "a",
        REFERENCE,
        name=name,
        workers=workers,
        seed=seed,
        space=SPACE,
        overhead=Overhead(restore_seconds=1, compile_seconds=2, bucket=repr),
    )
    return found


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("name", ["optuna_nsga2", "optuna_nsga2_10"])
def test_nsga2_trains_every_config_completely(
    simulation: ModuleType, name: str, workers: int
) -> None:
    found = run(simulation, name, workers)

    assert found["paused"] == 0
    assert found["complete"] > 20
    assert found["hypervolume"][-1] > 0.5
    assert found == run(simulation, name, workers)
    assert found != run(simulation, name, workers, seed=1)


@pytest.mark.parametrize("workers", [1, 4])
def test_moasha_pauses_most_trials(simulation: ModuleType, workers: int) -> None:
    found = run(simulation, "moasha", workers)

    assert found["paused"] > 2 * found["complete"] > 0
    assert found["hypervolume"][-1] > 0.5
    assert found == run(simulation, "moasha", workers)


def test_moasha_promotes_the_best_third_of_a_rung() -> None:
    from peers.base import RUNGS, Outcome
    from peers.moasha import MoAsha

    peer = MoAsha(SPACE, 0)
    jobs = [peer.ask() for _ in range(3)]
    for job, quality in zip(jobs, (0.5, 0.9, 0.7), strict=True):
        peer.tell(job, Outcome(quality, 100.0))

    promoted, other = peer.ask(), peer.ask()

    assert (promoted.config, promoted.share) == (jobs[1].config, RUNGS[1])
    assert other.share == RUNGS[0]
    assert other.config not in [job.config for job in jobs]


def test_numbers_on_axes_are_values_of_the_space() -> None:
    from peers.axes import decode

    numbers = {"rate": 0.5, "width": 3, "kind": 0, "depth": 2}

    assert decode(SPACE, numbers) == {"rate": 0.5, "width": 7, "kind": "plain"}
    assert decode(SPACE, numbers | {"kind": 1})["depth"] == 2


#: Median trainings: their models take seconds for each decision.
FEW_TRAININGS = 12
NEEDS = "benchmarks/requirements-peers.txt is not installed: it needs an environment of its own"


# What the libraries of the peers warn of is theirs.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("name", ["primo", "primo_resampled"])
def test_primo_stops_trials_at_first_and_is_repeatable(
    simulation: ModuleType, monkeypatch: pytest.MonkeyPatch, name: str, workers: int
) -> None:
    pytest.importorskip("neps", reason=NEEDS)
    monkeypatch.setattr(simulation, "BUDGET_TRAININGS", FEW_TRAININGS)
    found = run(simulation, name, workers)

    assert found["paused"] > 3
    assert found["complete"] > 3
    assert found == run(simulation, name, workers)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize(("name", "stops"), [("smac", False), ("smac_hyperband", True)])
def test_smac_stops_trials_with_hyperband_only(
    simulation: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    *,
    stops: bool,
    workers: int,
) -> None:
    pytest.importorskip("smac", reason=NEEDS)
    monkeypatch.setattr(simulation, "BUDGET_TRAININGS", FEW_TRAININGS)
    found = run(simulation, name, workers)

    assert (found["paused"] > 0) == stops
    assert found["complete"] > 3
    assert found == run(simulation, name, workers)


@pytest.mark.filterwarnings("ignore")
def test_smac_has_the_conditions_of_the_space() -> None:
    pytest.importorskip("smac", reason=NEEDS)
    from peers.smac_parego import config_space

    sampled = [dict(one) for one in config_space(SPACE).sample_configuration(50)]

    assert {one["kind"] for one in sampled} == {0, 1}
    assert all(("depth" in one) == (one["kind"] == 1) for one in sampled)


def test_a_peer_without_its_package_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from peers import make_peer

    monkeypatch.delitem(sys.modules, "peers.primo", raising=False)
    monkeypatch.setitem(sys.modules, "neps", None)

    with pytest.raises(SystemExit, match="requirements-peers"):
        make_peer("primo", SPACE, 0)
