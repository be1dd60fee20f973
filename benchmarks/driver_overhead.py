"""What the search itself costs: our loop against Optuna's own, on an SQLite file each.

    python benchmarks/driver_overhead.py --trials 1000

Both search the same space with TPE in full trainings; nothing is trained: a trial ends when
it has begun. Printed is the time per trial at trial 100, 250 and so on: the mean of the last 20.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna

from effv2_tune.search.clock import SystemClock
from effv2_tune.search.events import TrialEnded
from effv2_tune.search.loop import run_study
from effv2_tune.search.optuna_engine import OptunaEngine
from effv2_tune.search.simulation import Curves, CurveWorkload, SimulatedPool
from effv2_tune.search.storage import DatabaseStorage
from effv2_tune.study.plan import HalvingSpec, SearchSpec, StudyPlan
from effv2_tune.study.space import Space

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

NAMES = [f"x{number}" for number in range(6)]
SPACE = Space.model_validate({name: {"type": "float", "low": 0.0, "high": 1.0} for name in NAMES})
EPOCHS = 10


def quality_and_seconds(config: Mapping[str, float]) -> tuple[float, float]:
    """Two objectives that pull apart."""
    x = [config[name] for name in NAMES]
    return sum(math.sin(3 * value) for value in x), 1 + sum(value**2 for value in x)


def curve(config: Mapping[str, Any]) -> Iterator[tuple[int, float, float]]:
    """A curve of ten epochs."""
    quality, seconds = quality_and_seconds(config)
    for epoch in range(1, EPOCHS + 1):
        yield epoch, quality * epoch / EPOCHS, seconds * epoch / EPOCHS


class Instant(SystemClock):
    """The real time, and a hand that nothing moves: simulated training takes none."""

    seconds: float = 0.0


def time_optuna(folder: Path, trials: int) -> list[float]:
    """Moments at which Optuna's own loop has told a trial."""
    study = optuna.create_study(
        storage=f"sqlite:///{folder / 'optuna.db'}",
        directions=["maximize", "minimize"],
        sampler=optuna.samplers.TPESampler(seed=1),
    )
    moments = []

    def objective(trial: optuna.Trial) -> tuple[float, float]:
        return quality_and_seconds({name: trial.suggest_float(name, 0, 1) for name in NAMES})

    study.optimize(
        objective, n_trials=trials, callbacks=[lambda *_: moments.append(time.perf_counter())]
    )
    return moments


def time_ours(folder: Path, trials: int) -> list[float]:
    """Moments at which our loop has told a trial: leases, records, curves and backups included."""
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
    story = run_study(
        plan,
        engine=OptunaEngine(storage, SPACE, seed=1),
        pool=SimulatedPool(curves, 1, clock),
        storage=storage,
        clock=clock,
        workload=CurveWorkload(curves, plan.search.halving),
    )
    return [time.perf_counter() for event in story if isinstance(event, TrialEnded)]


def per_trial(moments: Sequence[float], at: int) -> float:
    """Milliseconds per trial over the last 20 before trial ``at``."""
    window = deque(moments[max(at - 21, 0) : at], maxlen=21)
    return 1000 * (window[-1] - window[0]) / (len(window) - 1)


def main() -> None:
    """Time both, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=1000)
    trials = parser.parse_args().trials
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        theirs = time_optuna(Path(folder), trials)
        ours = time_ours(Path(folder), trials)
    print("| trial | Optuna's loop, ms | effv2-tune's loop, ms | ratio |")
    print("|---:|---:|---:|---:|")
    for at in (50, 100, 250, 500, 1000, 2000):
        if at <= trials:
            optuna_ms, our_ms = per_trial(theirs, at), per_trial(ours, at)
            print(f"| {at} | {optuna_ms:.1f} | {our_ms:.1f} | {our_ms / optuna_ms:.2f} |")


if __name__ == "__main__":
    main()
