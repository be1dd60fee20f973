"""Runs simulations of strategies that a results file lacks, and writes the page that compares them.

Used by the scripts of the families of problems: freeze_thaw.py (LCBench), conditional_choices.py
and trainings_replay.py. A results file has one simulation a line, as JSON, and is only appended to:
a killed script loses one simulation, and several processes may share a file if their simulations
differ. The published optimizers in the folder peers are strategies of all three.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from peers import PEERS
from scipy.stats import wilcoxon
from search_quality import SHARES

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Mapping, Sequence

HERE = Path(__file__).parent
OURS, BASELINE = "freeze_thaw", "tpe"
#: Labels and colours of the strategies.
STRATEGY_LABELS = {
    OURS: ("freeze-thaw", "#0b6e4f"),
    "default": ("TPE + halving (default)", "#2f6fb0"),
    BASELINE: ("Optuna's TPE", "#c8553d"),
    "gp": ("Optuna's GPSampler", "#8a4fa3"),
    "random+halving": ("random + halving", "#6b7a8f"),
} | {name: (peer.label, peer.colour) for name, peer in PEERS.items()}
#: Columns of a figure's legend.
_LEGEND_COLUMNS = 5
#: Shares of the budget at which strategies are compared.
COMPARED = (0.25, 0.5, 1.0)
_LEVEL = 0.05


class Case(NamedTuple):
    """A simulation."""

    seed: int
    task: str
    strategy: str
    workers: int

    @property
    def key(self) -> str:
        """Its name in the results file."""
        return f"{self.task}/{self.strategy}/{self.workers}/{self.seed}"


def add_arguments(
    parser: argparse.ArgumentParser,
    *,
    tasks: Sequence[str],
    strategies: Sequence[str],
    choices: Sequence[str],
    seeds: int,
    workers: Sequence[int],
    results: str,
) -> None:
    """Add the arguments that say what is simulated."""
    parser.add_argument("--tasks", nargs="+", default=list(tasks))
    parser.add_argument("--seeds", type=int, default=seeds)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--workers", type=int, nargs="+", default=list(workers))
    parser.add_argument("--strategies", nargs="+", default=list(strategies), choices=choices)
    parser.add_argument("--results", type=Path, default=HERE / "results" / f"{results}.jsonl")
    parser.add_argument("--minutes", type=float, default=1e9, help="begin no simulation after")
    parser.add_argument(
        "--report", action="store_true", help="simulate nothing, write the page of the results"
    )


def cases(arguments: argparse.Namespace) -> Iterator[Case]:
    """All simulations that are asked for: seed after seed, so that partial results are even."""
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    every = itertools.product(
        seeds, arguments.tasks, arguments.strategies, sorted(arguments.workers)
    )
    return itertools.starmap(Case, every)


def read_results(file: Path) -> dict[str, dict[str, Any]]:
    """The simulations of a results file by their keys; a line that a kill has torn is left out."""
    found: dict[str, dict[str, Any]] = {}
    if file.is_file():
        for line in file.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                one = json.loads(line)
                found[one.pop("key")] = one
    return found


def run_missing(
    arguments: argparse.Namespace, simulate: Callable[[Case], Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Run all simulations that are not in the results file yet."""
    file: Path = arguments.results
    results = read_results(file)
    if file.is_file() and not file.read_bytes().endswith(b"\n"):
        with file.open("a", encoding="utf-8") as lines:
            lines.write("\n")  # after a torn line
    began = time.monotonic()
    for case in cases(arguments):
        if case.key in results or time.monotonic() - began > arguments.minutes * 60:
            continue
        before = time.process_time()
        found = dict(simulate(case)) | {"seconds": round(time.process_time() - before, 2)}
        results[case.key] = found
        with file.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps({"key": case.key} | found) + "\n")
        middle, end = (found["hypervolume"][_place(share)] for share in (0.5, 1.0))
        print(f"{case.key}: {middle:.3f} {end:.3f}, {found['seconds']} s", file=sys.stderr)
    return results


# --- the page -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Page:
    """What the page of a family says besides its tables.

    Attributes:
        name: Of its file, without suffix.
        title: The heading.
        text: What stands before the tables.
        tasks: Names of the problems, by their keys.
        strategies: In the order of the columns.
    """

    name: str
    title: str
    text: str
    tasks: Mapping[str, str]
    strategies: Sequence[str]


class Comparison:
    """Simulations of some strategies with a number of workers, over the seeds that all have.

    Args:
        results: By key.
        page: What is compared.
        workers: How many.
    """

    def __init__(self, results: Mapping[str, Mapping[str, Any]], page: Page, workers: int) -> None:
        self._results = results
        self._workers = workers
        found = [key.split("/") for key in results]
        used = {(task, name) for task, name, count, _ in found if int(count) == workers}
        self.strategies = [one for one in page.strategies if one in {name for _, name in used}]
        self.tasks = [
            task for task in page.tasks if all((task, name) in used for name in self.strategies)
        ]
        every = {int(seed) for *_, seed in found}
        self.seeds = [
            seed
            for seed in sorted(every)
            if all(
                Case(seed, task, name, workers).key in results
                for task in self.tasks
                for name in self.strategies
            )
        ]

    def curves(self, task: str, strategy: str) -> np.ndarray:
        """Hypervolume over time [seeds, points in time]."""
        keys = [Case(seed, task, strategy, self._workers).key for seed in self.seeds]
        return np.array([self._results[key]["hypervolume"] for key in keys])

    def at(self, share: float, strategy: str) -> np.ndarray:
        """Hypervolume at a share of the budget [tasks, seeds]."""
        return np.array([self.curves(task, strategy)[:, _place(share)] for task in self.tasks])

    def seconds(self, strategy: str) -> float:
        """The median of what a simulation took, in processor seconds; NaN where not recorded."""
        keys = [
            Case(seed, task, strategy, self._workers).key
            for task in self.tasks
            for seed in self.seeds
        ]
        return float(np.median([self._results[key].get("seconds", np.nan) for key in keys]))


def _place(share: float) -> int:
    return round(share * len(SHARES)) - 1


def reached(curves: np.ndarray, level: float) -> float:
    """Share of the budget at which the mean of curves [n, times] reaches a level; else infinity."""
    places = np.flatnonzero(curves.mean(axis=0) >= level)
    return SHARES[places[0]] if len(places) else np.inf


def worst_quarter(values: np.ndarray) -> float:
    """The mean of the lowest quarter of values [n], at least one."""
    return float(np.sort(values)[: max(len(values) // 4, 1)].mean())


def p_value(differences: np.ndarray) -> float:
    """Of a two-sided Wilcoxon signed-rank test on differences [n]; 1 where all are 0."""
    return float(wilcoxon(differences).pvalue) if np.any(differences) else 1.0


def hypervolume_table(found: Comparison, page: Page) -> list[str]:
    """Mean hypervolume at shares of the budget, and of the worst quarter of the seeds."""
    shares = (0.125, *COMPARED)
    head = " | ".join(f"{share:.3g}".replace("0.", ".") for share in shares)
    lines = [
        f"| | strategy | {head} | worst quarter of seeds, at the end |",
        "|---|---|" + "---:|" * (len(shares) + 1),
    ]
    for task, name in itertools.product(found.tasks, found.strategies):
        curves = found.curves(task, name)
        means = " | ".join(f"{curves[:, _place(share)].mean():.3f}" for share in shares)
        worst = worst_quarter(curves[:, -1])
        label = STRATEGY_LABELS[name][0]
        lines.append(f"| {page.tasks[task]} | {label} | {means} | {worst:.3f} |")
    return lines


def reach_table(found: Comparison, page: Page) -> list[str]:
    """The share of the budget at which each strategy's mean reaches the final one of TPE."""
    names = [name for name in found.strategies if name != BASELINE]
    labels = " | ".join(STRATEGY_LABELS[name][0] for name in names)
    lines = [f"| | {labels} |", "|---|" + "---:|" * len(names)]
    columns: dict[str, list[float]] = {name: [] for name in names}
    for task in found.tasks:
        level = float(found.curves(task, BASELINE)[:, -1].mean())
        for name in names:
            columns[name].append(reached(found.curves(task, name), level))
        cells = [_percent(columns[name][-1]) for name in names]
        lines.append(f"| {page.tasks[task]} | {' | '.join(cells)} |")
    medians = [_percent(float(np.median(columns[name]))) for name in names]
    return [*lines, f"| median | {' | '.join(medians)} |"]


def _percent(share: float) -> str:
    return f"{share:.0%}" if np.isfinite(share) else "not reached"


def pairs_table(found: Comparison, page: Page) -> list[str]:
    """Freeze-thaw less each other strategy, paired over seeds, with p values; and pooled."""
    others = [name for name in found.strategies if name != OURS]
    head = " | ".join(f"{share:.0%}" for share in COMPARED)
    lines = [
        f"| | against | {head} | worst quarter, at the end |",
        "|---|---|" + "---:|" * (len(COMPARED) + 1),
    ]
    for name in others:
        label = STRATEGY_LABELS[name][0]
        gains = [found.at(share, OURS) - found.at(share, name) for share in COMPARED]
        ends = found.at(1.0, OURS), found.at(1.0, name)
        for place, task in enumerate(found.tasks):
            cells = [_gain(gain[place]) for gain in gains]
            tail = worst_quarter(ends[0][place]) - worst_quarter(ends[1][place])
            lines.append(f"| {page.tasks[task]} | {label} | {' | '.join(cells)} | {tail:+.3f} |")
        cells = [_gain(gain.ravel()) for gain in gains]
        pooled = [np.mean([worst_quarter(row) for row in end]) for end in ends]
        tail = float(pooled[0] - pooled[1])
        lines.append(f"| **pooled** | {label} | {' | '.join(cells)} | {tail:+.3f} |")
    return lines


def _gain(differences: np.ndarray) -> str:
    p = p_value(differences)
    text = f"{differences.mean():+.3f} (p = {p:.2g})"
    return f"**{text}**" if p < _LEVEL else text


def figure(found: Comparison, page: Page) -> Figure:
    """Mean and quartiles over time, one panel a problem."""
    columns = min(len(found.tasks), 3)
    rows = -(-len(found.tasks) // columns)
    panels = Figure(figsize=(4.5 * columns, 4 * rows), layout="constrained")
    panels.supxlabel("share of the budget (simulated training seconds)")
    panels.supylabel("hypervolume, share of the best known")
    every = panels.subplots(rows, columns, sharex=True, squeeze=False).flat
    for axes, task in zip(every, found.tasks, strict=False):
        ends = []
        for name in found.strategies:
            label, colour = STRATEGY_LABELS[name]
            curves = found.curves(task, name)
            low, high = np.quantile(curves, [0.25, 0.75], axis=0)
            axes.fill_between(SHARES, low, high, color=colour, alpha=0.12, linewidth=0)
            axes.plot(SHARES, curves.mean(axis=0), color=colour, linewidth=2, label=label)
            ends.append(curves[:, -1].mean())
        axes.set_title(page.tasks[task])
        axes.set_ylim(max(min(ends) - 0.4, 0), min(max(ends) + 0.06, 1))
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
        axes.spines[["top", "right"]].set_visible(False)
    labels = panels.axes[0].get_legend_handles_labels()
    count = min(len(found.strategies), _LEGEND_COLUMNS)
    panels.legend(*labels, loc="outside upper left", ncols=count, frameon=False)
    return panels


def write_page(results: Mapping[str, Mapping[str, Any]], page: Page) -> None:
    """Write results/NAME.md, and a figure for each number of workers.

    Raises:
        SystemExit: No seed has simulations of all strategies.
    """
    lines = [f"# {page.title}", "", page.text, ""]
    for workers in sorted({int(key.split("/")[2]) for key in results}):
        found = Comparison(results, page, workers)
        if not found.seeds or not {OURS, BASELINE} <= set(found.strategies):
            raise SystemExit(
                f"No seed has simulations of {OURS} and {BASELINE} on the same problems with "
                f"{workers} workers. Run the script without --report first."
            )
        noun = "worker" if workers == 1 else "workers"
        picture = HERE / "results" / f"{page.name}_{workers}.png"
        figure(found, page).savefig(picture)
        took = ", ".join(
            f"{STRATEGY_LABELS[name][0]} {found.seconds(name):.0f} s" for name in found.strategies
        )
        lines += [
            f"## {workers} {noun}, {len(found.seeds)} seeds",
            "",
            "Mean hypervolume at shares of the budget:",
            "",
            *hypervolume_table(found, page),
            "",
            "Share of the budget at which the mean reaches that of Optuna's TPE at the end:",
            "",
            *reach_table(found, page),
            "",
            (
                "Freeze-thaw less the other strategy, paired over the seeds (two-sided Wilcoxon "
                f"signed-rank test; bold below {_LEVEL}, not corrected for the number of tests):"
            ),
            "",
            *pairs_table(found, page),
            "",
            f"A simulation took (median, one core): {took}.",
            "",
            f"![Hypervolume over time, {workers} {noun}]({picture.name})",
            "",
        ]
    text = "\n".join(lines).rstrip() + "\n"
    (HERE / "results" / f"{page.name}.md").write_text(text, encoding="utf-8")
    print(text)
