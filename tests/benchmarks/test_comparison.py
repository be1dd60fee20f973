"""The comparison of strategies: what is simulated again, and the figures of its page."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from types import ModuleType

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def comparison() -> ModuleType:
    """The script; it imports its neighbours as scripts do."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import comparison
    finally:
        sys.path.remove(str(BENCHMARKS))
    return comparison


@pytest.fixture(scope="module")
def replay() -> ModuleType:
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import trainings_replay
    finally:
        sys.path.remove(str(BENCHMARKS))
    return trainings_replay


def rising(end: float) -> list[float]:
    """A hypervolume that rises evenly to its end."""
    return (end * np.arange(1, 61) / 60).tolist()


def results(**ends: list[float]) -> dict[str, dict[str, Any]]:
    """Of one problem and one worker, by strategy and seed."""
    return {
        f"a/{name}/1/{seed}": {"hypervolume": rising(end), "seconds": 1.0}
        for name, values in ends.items()
        for seed, end in enumerate(values)
    }


def page(comparison: ModuleType) -> Any:
    names = ("freeze_thaw", "default", "tpe")
    return comparison.Page("page", "Title", "Text.", {"a": "problem"}, names)


def test_what_a_results_file_has_is_not_simulated_again(
    comparison: ModuleType, tmp_path: Path
) -> None:
    file = tmp_path / "results.jsonl"
    done = {"key": "a/tpe/1/0", "hypervolume": rising(0.5)}
    file.write_text(json.dumps(done) + '\n{"key": "a/tpe/1/1", "hyper')
    simulated: list[str] = []

    def simulate(case: Any) -> dict[str, Any]:
        simulated.append(case.key)
        return {"hypervolume": rising(0.5)}

    arguments = argparse.Namespace(
        results=file,
        first_seed=0,
        seeds=2,
        tasks=["a"],
        strategies=["tpe"],
        workers=[4, 1],
        minutes=1.0,
    )
    comparison.run_missing(arguments, simulate)

    assert simulated == ["a/tpe/4/0", "a/tpe/1/1", "a/tpe/4/1"]
    assert sorted(comparison.read_results(file)) == sorted(["a/tpe/1/0", *simulated])


def test_the_share_of_the_budget_is_that_of_the_mean(comparison: ModuleType) -> None:
    curves = np.array([rising(0.4), rising(0.8)])

    assert comparison.reached(curves, 0.3) == pytest.approx(0.5)
    assert comparison.reached(curves, 0.7) == np.inf


def test_the_worst_quarter_is_that_of_the_seeds(comparison: ModuleType) -> None:
    assert comparison.worst_quarter(np.arange(8.0)) == 0.5
    assert comparison.worst_quarter(np.array([3.0, 2.0])) == 2.0


def test_only_seeds_that_all_strategies_have_are_compared(comparison: ModuleType) -> None:
    known = results(freeze_thaw=[0.9, 0.8, 0.7], default=[0.5, 0.6], tpe=[0.4, 0.5, 0.6])

    found = comparison.Comparison(known, page(comparison), 1)

    assert found.seeds == [0, 1]
    assert found.strategies == ["freeze_thaw", "default", "tpe"]


def test_a_page_has_pairs_reach_and_quarters(comparison: ModuleType) -> None:
    rng = np.random.default_rng(0)
    ends = {"freeze_thaw": 0.8, "default": 0.8, "tpe": 0.4}
    known = results(
        **{name: (end + 0.01 * rng.standard_normal(12)).tolist() for name, end in ends.items()}
    )
    one = page(comparison)
    found = comparison.Comparison(known, one, 1)

    pairs = comparison.pairs_table(found, one)

    against = {line.split(" | ")[1]: line for line in pairs[2:4]} | {
        line.split(" | ")[1]: line for line in pairs[4:6]
    }
    assert "**+0.4" in against["Optuna's TPE"]
    assert "**" not in against["TPE + halving (default)"].replace("**pooled**", "")
    reach = comparison.reach_table(found, one)
    assert reach[2].startswith("| problem | 5")
    assert comparison.figure(found, one).axes[0].get_title() == "problem"


def write_table(replay: ModuleType, file: Path, trainings: int) -> None:
    """Trainings whose accuracy rises with the weight decay, and whose steps take 1 ms a pixel."""
    from trainings import FIELDS, configs

    lines = [",".join(FIELDS)]
    for number, config in enumerate(configs(trainings)):
        end = 0.3 + 0.05 * np.log10(config["weight_decay"])
        shares = np.arange(1, config["epochs"] + 1) / config["epochs"]
        row = {
            "number": number,
            **config,
            "outcome": "complete",
            "curve_accuracy": " ".join(f"{end * share:.4f}" for share in shares),
            "curve_loss": "",
            "step_ms": config["resolution"],
            "epoch_step_ms": "",
            "is_compiled": number > 0,
            "process_seconds": config["epochs"] * 2 + (7 if number == 0 else 0),
        }
        lines.append(",".join(str(row[name]) for name in FIELDS))
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert replay.read_table(file).points.shape[0] == trainings


def test_a_table_of_trainings_gives_curves_seconds_and_compilation(
    replay: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setattr(replay, "TREES", 30)
    write_table(replay, tmp_path / "trainings.csv", 120)
    table = replay.read_table(tmp_path / "trainings.csv")

    curves = replay.Replay(table)

    assert table.compile_seconds == pytest.approx(7)
    assert table.step_seconds == {32: 0.032, 40: 0.04, 48: 0.048}
    from trainings import configs

    low, high = ({**configs(1)[0], "weight_decay": decay} for decay in (1e-4, 0.5))
    ends = [list(curves.curve("cifar")(config))[-1] for config in (low, high)]
    assert ends[1][1] > ends[0][1] + 0.05
    assert ends[0][2] == pytest.approx(6 * 50 * 0.04)
    assert curves.reference()["hypervolume"] > 0.3
