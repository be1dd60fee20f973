"""Measures workers on a Ray cluster: trials per second, the supervisor's share, and its limit.

    python benchmarks/cluster.py                # all parts
    python benchmarks/cluster.py throughput     # one of them

The nodes of the cluster are all on this machine, and workers are scripted: real processes that
sleep in place of training. Configs are random and nothing is pruned, so that samplers, which take
longer the more trials there are (driver_overhead.py, decision_time.py), are left out.

* `throughput`: eight workers on four nodes against eight processes of this machine, trials of 0.1
  s, in turns.
* `supervisor`: processor time of the supervisor for each trial, from 8 to 64 workers; a trial
  takes longer the more workers there are, so that as many end in a second.
* `simulated`: the event loop and the database of a study with up to 1,000 workers, on a simulated
  clock: the supervisor's processor time in each simulated second, and for what.

Writes its sections of benchmarks/results/cluster.md, where those of other parts stay.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.end_to_end.ray_cluster import TestCluster, wait_for  # noqa: E402

from effv2_tune.host import installed_versions, probe_host  # noqa: E402
from effv2_tune.search.clock import SimulatedClock  # noqa: E402
from effv2_tune.search.engines.optuna import OptunaEngine  # noqa: E402
from effv2_tune.search.events import TrialEnded  # noqa: E402
from effv2_tune.search.loop import run_study  # noqa: E402
from effv2_tune.search.simulation import Curves, CurveWorkload, SimulatedPool  # noqa: E402
from effv2_tune.search.storage.database import DatabaseStorage  # noqa: E402
from effv2_tune.search.supervisor import open_study  # noqa: E402
from effv2_tune.study.plan import StudyPlan  # noqa: E402
from effv2_tune.workers.ray import connect  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

RESULTS = ROOT / "benchmarks" / "results" / "cluster.md"
WORKER = str(ROOT / "tests" / "end_to_end" / "scripted_worker.py")
NODES = 4

STUDY = {
    "name": "cluster",
    "recipe": {"epochs": 2, "schedule": "constant"},
    "search_space": {
        "weight_decay": {"type": "float", "low": 1e-6, "high": 1e-1, "scale": "log"},
    },
    "search": {"engine": "random", "halving": {"enabled": False}},
}
#: Of `throughput`.
WORKERS, TRIAL_SECONDS, REPETITIONS, TRIALS = 8, 0.1, 5, 200
#: Of `supervisor`: how many workers, and how many trials end in a second.
FLEETS, RATE = (8, 16, 32, 64), 8.0
#: Of `simulated`.
SIMULATED_FLEETS = (8, 64, 250, 1000)
SIMULATED_EPOCHS, EPOCH_SECONDS = 5, 240.0
#: Ended trials between two backups, as in a study.
BACKUP_EVERY = 5


@dataclass(frozen=True)
class Run:
    """What a study took between the first trials of its workers and the last ones.

    Attributes:
        trials: That ended in between.
        seconds: In between.
        supervisor_seconds: Processor time of this process.
    """

    trials: int
    seconds: float
    supervisor_seconds: float

    @property
    def rate(self) -> float:
        """Trials per second."""
        return self.trials / self.seconds

    @property
    def cost(self) -> float:
        """Milliseconds of the supervisor's processor time for each trial."""
        return 1000 * self.supervisor_seconds / self.trials


def run(workers: int, trials: int, trial_seconds: float, address: str | None) -> Run:
    """Run a study with scripted workers, on the cluster of an address or on this machine.

    Args:
        workers: How many.
        trials: That are counted, in addition to the first two and the last one of each worker.
        trial_seconds: What each takes.
        address: Of the cluster's head; None for this machine.
    """
    cluster = {} if address is None else {"cluster": {"ray": address}}
    changes = {"trials": trials + 3 * workers, "workers": workers, **cluster}
    plan = StudyPlan.model_validate_json(json.dumps(STUDY | changes))
    script = json.dumps({"epoch_seconds": trial_seconds / plan.recipe.epochs})
    command = ("/usr/bin/env", f"SCRIPT={script}", sys.executable, WORKER)
    marks = []
    ended = 0
    with tempfile.TemporaryDirectory() as out, open_study(plan, Path(out), base=Path(out)) as study:
        for event in study.run(hardware="cpu", backend="tensorflow", worker_command=command):
            ended += isinstance(event, TrialEnded)
            if isinstance(event, TrialEnded) and ended in (2 * workers, 2 * workers + trials):
                marks.append((time.perf_counter(), time.process_time()))
    (began, began_cpu), (end, end_cpu) = marks
    return Run(trials, end - began, end_cpu - began_cpu)


def throughput() -> Iterator[list[str]]:
    """Eight workers of a cluster against eight processes, in turns."""
    local, remote = [], []
    with TestCluster() as cluster:
        address = started(cluster, WORKERS)
        for _ in range(REPETITIONS):
            local.append(run(WORKERS, TRIALS, TRIAL_SECONDS, None))
            remote.append(run(WORKERS, TRIALS, TRIAL_SECONDS, address))
            yield throughput_lines(local, remote)


def throughput_lines(local: list[Run], remote: list[Run]) -> list[str]:
    """The section of pairs of runs so far."""
    lines = [
        (
            f"{WORKERS} workers, trials that sleep for {TRIAL_SECONDS} s in two epochs and write a "
            f"checkpoint after each: {WORKERS / TRIAL_SECONDS:.0f} trials per second at most. A "
            f"cluster of {NODES} nodes with {WORKERS // NODES} workers each against {WORKERS} "
            f"processes, the (idle) cluster running meanwhile; {len(local)} pairs in turns, "
            f"{TRIALS} trials of each between the first and the last ones. Wanted: a ratio of 0.9."
        ),
        "",
        "| | trials per second, median (range) | supervisor, ms of processor time per trial |",
        "|---|---:|---:|",
    ]
    for name, runs in (("this machine", local), ("cluster", remote)):
        cost = statistics.median(one.cost for one in runs)
        lines.append(f"| {name} | {spread([one.rate for one in runs])} | {cost:.1f} |")
    ratios = [there.rate / here.rate for here, there in zip(local, remote, strict=True)]
    return [*lines, "", f"Ratio of each pair: median {spread(ratios, 2)}."]


def supervisor() -> Iterator[list[str]]:
    """The supervisor's processor time for each trial, from 8 to 64 workers."""
    lines = [
        (
            f"Trials that sleep for (workers / {RATE:.0f}) s, so that {RATE:.0f} end in a second, "
            f"on a cluster of {NODES} nodes; the mean over {TRIALS} trials."
        ),
        "",
        "| workers | supervisor, ms of processor time per trial | trials per second |",
        "|---:|---:|---:|",
    ]
    costs: dict[int, float] = {}
    with TestCluster() as cluster:
        address = started(cluster, max(FLEETS))
        for workers in FLEETS:
            measured = run(workers, TRIALS, workers / RATE, address)
            costs[workers] = measured.cost
            lines.append(f"| {workers} | {measured.cost:.1f} | {measured.rate:.1f} |")
            (fewest, first), (most, last) = (of(costs.items()) for of in (min, max))
            growth = (last - first) / max(1, most - fewest)
            yield [
                *lines,
                "",
                (
                    f"Growth from {fewest} to {most} workers: {last / first:.2f} times as much, "
                    f"{growth:.2f} ms per trial and further worker."
                ),
            ]


class Timed:
    """An object whose methods add the processor time that they take to a counter.

    Args:
        inner: The object.
        seconds: By the name of the method; calls inside of a call belong to it.
    """

    _depth = 0

    def __init__(self, inner: Any, seconds: Counter[str]) -> None:
        self._inner = inner
        self._seconds = seconds

    def __getattr__(self, name: str) -> Any:
        """An attribute of the object; a method is timed."""
        value = getattr(self._inner, name)
        return partial(self._call, name, value) if callable(value) else value

    def _call(self, name: str, method: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        began = time.process_time()
        Timed._depth += 1
        try:
            return method(*arguments, **options)
        finally:
            Timed._depth -= 1
            if not Timed._depth:
                self._seconds[name] += time.process_time() - began


def curve(config: Mapping[str, Any]) -> Iterator[tuple[int, float, float]]:
    """A curve whose epochs take from half of the mean time to one and a half of it."""
    seconds = EPOCH_SECONDS * (0.5 + (6 + math.log10(config["weight_decay"])) / 5)
    for epoch in range(1, SIMULATED_EPOCHS + 1):
        yield epoch, epoch / SIMULATED_EPOCHS, seconds * epoch


def simulate(workers: int, folder: Path) -> tuple[float, int, Counter[str]]:
    """Simulate a study on a database for three quarters of the mean time of a trial.

    Returns:
        The supervisor's processor seconds in each simulated second of the last third; the trials
        that ended in it; and its processor seconds by what they were for.
    """
    plan = StudyPlan.model_validate_json(
        json.dumps(STUDY | {"trials": 5 * workers, "workers": workers})
    )
    storage = DatabaseStorage(
        f"sqlite:///{folder / 'study.db'}",
        plan.name,
        limit=plan.trials,
        backup=folder / "study.db.backup",
    )
    seconds: Counter[str] = Counter()
    timed = Timed(storage, seconds)
    clock, curves = SimulatedClock(), Curves(curve)
    pool = Timed(SimulatedPool(curves, workers, clock), Counter())
    stream = run_study(
        plan,
        engine=Timed(OptunaEngine(storage, plan.search_space, sampler="random"), seconds),
        pool=pool,
        storage=timed,
        clock=clock,
        workload=CurveWorkload(curves, plan.search.halving),
    )
    whole = SIMULATED_EPOCHS * EPOCH_SECONDS
    before, ended, marks = Counter[str](), 0, []
    for event in stream:
        if not marks and clock.seconds >= whole / 2:
            marks.append((clock.seconds, time.process_time(), pool._seconds.total()))  # noqa: SLF001
            before, ended = seconds.copy(), 0
        ended += isinstance(event, TrialEnded)
        if isinstance(event, TrialEnded) and ended % BACKUP_EVERY == 0:
            timed.back_up()
        if clock.seconds >= 0.75 * whole:
            marks.append((clock.seconds, time.process_time(), pool._seconds.total()))  # noqa: SLF001
            break
    storage.close()
    (began, cpu, simulation), (end, cpu_end, simulation_end) = marks
    seconds.subtract(before)
    own = cpu_end - cpu - (simulation_end - simulation)
    seconds["the rest of the loop"] = own - seconds.total()
    return own / (end - began), ended, seconds


def simulated() -> Iterator[list[str]]:
    """The load of the supervisor with up to 1,000 workers, and what it is for."""
    lines = [
        (
            f"`run_study` with `DatabaseStorage` on an SQLite file and a simulated clock. Trials "
            f"have {SIMULATED_EPOCHS} epochs of {EPOCH_SECONDS:.0f} s, after each of which a "
            "record is saved; leases are renewed every 5 s, and the database is backed up after "
            "every fifth trial. Measured for a quarter of the mean time of a trial, from the "
            "first ones that end. *Load*: processor seconds of the supervisor in each second of "
            "the study; at 1 it cannot follow. What Ray adds is in the section above."
        ),
        "",
        "| workers | load | ms per ended trial | largest shares |",
        "|---:|---:|---:|---|",
    ]
    for workers in SIMULATED_FLEETS:
        with tempfile.TemporaryDirectory() as folder:
            load, ended, seconds = simulate(workers, Path(folder))
        total = seconds.total()
        shares = ", ".join(f"{name} {value / total:.0%}" for name, value in seconds.most_common(4))
        print(workers, load, ended, seconds, flush=True)
        lines.append(f"| {workers:,} | {load:.3f} | {1000 * total / ended:.0f} | {shares} |")
        yield [
            *lines,
            "",
            (
                f"With {workers:,} workers the supervisor is the limit where epochs take less than "
                f"about {EPOCH_SECONDS * load:.1f} s, {SIMULATED_EPOCHS} to a trial."
            ),
        ]


def started(cluster: TestCluster, workers: int) -> str:
    """Add the nodes of a cluster, with room for so many workers; its address."""
    for _ in range(NODES):
        cluster.add_node(workers // NODES)
    ray = connect(cluster.address)
    wait_for(lambda: ray.cluster_resources().get("CPU") == workers, "all nodes")
    return cluster.address


def spread(values: list[float], digits: int = 1) -> str:
    """Median and range."""
    middle = statistics.median(values)
    return f"{middle:.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


PARTS: dict[str, tuple[str, Callable[[], Iterator[list[str]]]]] = {
    "throughput": ("Trials per second", throughput),
    "supervisor": ("The supervisor's processor time", supervisor),
    "simulated": ("A thousand workers", simulated),
}


def write(part: str, lines: list[str]) -> None:
    """Replace the section of a part; the others stay."""
    title, *known = RESULTS.read_text(encoding="utf-8").split("\n## ") if RESULTS.exists() else [""]
    sections = {text.split("\n")[0]: text.rstrip() for text in known}
    heading = PARTS[part][0]
    sections[heading] = "\n".join([heading, "", *lines])
    title = "\n".join(
        [
            "# Workers on a cluster",
            "",
            "Written by `python benchmarks/cluster.py`; its first lines say what is measured.",
            "",
            (
                f"{probe_host().cpu}, {probe_host().cpu_count} cores; Ray "
                f"{installed_versions(['ray'])['ray']}. Supervisor, nodes and workers share them."
            ),
        ]
    )
    order = [heading for heading, _ in PARTS.values()]
    texts = [sections[heading] for heading in order if heading in sections]
    RESULTS.write_text("\n\n## ".join([title, *texts]) + "\n", encoding="utf-8")


def main() -> None:
    """Measure the parts that are named, and write them down."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], metavar="PART")
    for part in parser.parse_args().parts or PARTS:
        for lines in PARTS[part][1]():
            print("\n".join(lines), flush=True)
            write(part, lines)


if __name__ == "__main__":
    main()
