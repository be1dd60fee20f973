"""Measures the overhead of the search: our loop against Optuna's own, on an SQLite file each.

    python benchmarks/driver_overhead.py --trials 1000

Both search the same space with TPE without pruning; nothing is trained: a trial ends as soon as
it has begun. They alternate, so that load on the machine slows both. Writes
benchmarks/results/driver_overhead.md.
"""

from __future__ import annotations

import argparse
import itertools
import math
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna

from effv2_tune.search.clock import SystemClock
from effv2_tune.search.engines.optuna import OptunaEngine
from effv2_tune.search.events import TrialEnded
from effv2_tune.search.loop import run_study
from effv2_tune.search.simulation import Curves, CurveWorkload, SimulatedPool
from effv2_tune.search.storage.database import DatabaseStorage
from effv2_tune.study.plan import HalvingSpec, SearchSpec, StudyPlan
from effv2_tune.study.space import Space

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from effv2_tune.search.events import Event

NAMES = [f"x{number}" for number in range(6)]
SPACE = Space.model_validate({name: {"type": "float", "low": 0.0, "high": 1.0} for name in NAMES})
EPOCHS = 10
#: Trials before the other loop's turn, and so many turns to a mean.
BLOCK, BLOCKS = 10, 5
RESULTS = Path(__file__).parent / "results" / "driver_overhead.md"


def quality_and_seconds(config: Mapping[str, float]) -> tuple[float, float]:
    """Two conflicting objectives."""
    x = [config[name] for name in NAMES]
    return sum(math.sin(3 * value) for value in x), 1 + sum(value**2 for value in x)


def curve(config: Mapping[str, Any]) -> Iterator[tuple[int, float, float]]:
    """A curve of ten epochs."""
    quality, seconds = quality_and_seconds(config)
    for epoch in range(1, EPOCHS + 1):
        yield epoch, quality * epoch / EPOCHS, seconds * epoch / EPOCHS


class Instant(SystemClock):
    """The real time; simulated training takes none."""

    seconds: float = 0.0


def optunas_loop(folder: Path) -> optuna.Study:
    """Optuna's study and TPE, in SQLite."""
    return optuna.create_study(
        storage=f"sqlite:///{folder / 'optuna.db'}",
        directions=["maximize", "minimize"],
        sampler=optuna.samplers.TPESampler(seed=1),
    )


def objective(trial: optuna.Trial) -> tuple[float, float]:
    """The objective of Optuna's loop."""
    return quality_and_seconds({name: trial.suggest_float(name, 0, 1) for name in NAMES})


def our_loop(folder: Path, trials: int) -> Iterator[Event]:
    """Our loop, as a study runs it: leases, records, curves and backups included."""
    plan = StudyPlan(
        name="overhead",
        search_space=SPACE,
        trials=trials,
        search=SearchSpec(seed=1, halving=HalvingSpec(enabled=False)),
    )
    storage = DatabaseStorage(
        f"sqlite:///{folder / 'ours.db'}", plan.name, limit=trials, backup=folder / "ours.backup"
    )
    curves = Curves(curve)
    clock: Any = Instant()
    return run_study(
        plan,
        engine=OptunaEngine(storage, SPACE, seed=1),
        pool=SimulatedPool(curves, 1, clock),
        storage=storage,
        clock=clock,
        workload=CurveWorkload(curves, plan.search.halving),
    )


def seconds_of(work: Callable[[], object]) -> float:
    """Duration of a call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def time_both(folder: Path, trials: int) -> tuple[list[float], list[float]]:
    """Seconds per block of trials of Optuna's loop and of ours, alternating."""
    study, story = optunas_loop(folder), our_loop(folder, trials)
    ended = (event for event in story if isinstance(event, TrialEnded))
    theirs, ours = [], []
    for _ in range(trials // BLOCK):
        theirs.append(seconds_of(lambda: study.optimize(objective, n_trials=BLOCK)))
        ours.append(seconds_of(lambda: deque(itertools.islice(ended, BLOCK), maxlen=0)))
    return theirs, ours


def main() -> None:
    """Time both, print the table, and write it down."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=1000)
    trials = parser.parse_args().trials
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        theirs, ours = time_both(Path(folder), trials)
    lines = [
        "# What the search itself costs",
        "",
        (
            f"`python benchmarks/driver_overhead.py --trials {trials}`: milliseconds per trial of "
            f"Optuna's own loop and of ours, each on an SQLite file, both with TPE over "
            f"{len(NAMES)} parameters in full trainings that take no time; in turns of {BLOCK} "
            f"trials, mean of the {BLOCKS * BLOCK} before each trial. Bound of the ratio: 1.1."
        ),
        "",
        "| trial | Optuna's loop, ms | effv2-tune's loop, ms | ratio |",
        "|---:|---:|---:|---:|",
    ]
    for at in (100, 250, 500, 1000, 2000):
        if at <= trials:
            last = slice(at // BLOCK - BLOCKS, at // BLOCK)
            optuna_ms, our_ms = (1000 * sum(t[last]) / (BLOCKS * BLOCK) for t in (theirs, ours))
            lines.append(f"| {at} | {optuna_ms:.1f} | {our_ms:.1f} | {our_ms / optuna_ms:.2f} |")
    print("\n".join(lines))
    RESULTS.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
