"""Writes the table and the figure of search_quality.py from its results file.

python benchmarks/search_quality_report.py [RESULTS.json]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from scipy.stats import wilcoxon
from search_quality import BUDGET_TRAININGS, PROTOCOL_TASKS, SHARES

RESULTS = Path(__file__).parent / "results" / "search_quality.json"
TASK_NAMES = {
    "189908": "Fashion-MNIST",
    "168331": "volkert",
    "167152": "mfeat-factors",
    "189906": "segment",
    "168330": "jannis",
    "168329": "helena",
}
STRATEGIES = {
    "default": ("effv2-tune", "#0b6e4f"),
    "tpe": ("Optuna's TPE", "#c8553d"),
    "random+halving": ("random + halving", "#6b7a8f"),
}
_LEVEL = 0.05


class Results:
    """Simulations by (task, strategy, workers), over the seeds that all of a task have.

    Args:
        found: What search_quality.py wrote.
    """

    def __init__(self, found: dict[str, Any]) -> None:
        self._found = found
        self.seeds = sorted({int(key.split("/")[3]) for key in found})
        self.workers = sorted({int(key.split("/")[2]) for key in found})

    def curves(self, task: str, strategy: str, workers: int) -> np.ndarray:
        """Hypervolume over time: [seeds, points in time]."""
        keys = [f"{task}/{strategy}/{workers}/{seed}" for seed in self.seeds]
        return np.array([self._found[key]["hypervolume"] for key in keys if key in self._found])

    def regrets(self, task: str, strategy: str, workers: int) -> tuple[float, float]:
        """Mean share of pruned trials that would join the front, and mean hypervolume lost."""
        keys = [f"{task}/{strategy}/{workers}/{seed}" for seed in self.seeds]
        found = [self._found[key]["regret"] for key in keys if key in self._found]
        return (
            float(np.mean([one["lost"] for one in found])),
            float(np.mean([one["hypervolume"] for one in found])),
        )


def share_to_reach(curves: np.ndarray, level: float) -> float | None:
    """Share of the budget after which the mean of ``curves`` has reached ``level``."""
    reached = np.flatnonzero(curves.mean(axis=0) >= level)
    return None if len(reached) == 0 else SHARES[reached[0]]


def table(results: Results, workers: int) -> str:
    """One line for each task: final hypervolumes, tests, time to reach Optuna's."""
    lines = [
        "| task | "
        + " | ".join(f"{name}" for name, _ in STRATEGIES.values())
        + " | p against TPE | p against random + halving | budget to reach TPE's end "
        "| stops that cost | hypervolume they cost |",
        "|---|" + "---:|" * (len(STRATEGIES) + 5),
    ]
    shares, wins = [], 0
    for task in PROTOCOL_TASKS:
        final = {name: results.curves(task, name, workers)[:, -1] for name in STRATEGIES}
        low_p = {
            other: float(wilcoxon(final["default"], final[other], alternative="greater").pvalue)
            for other in ("tpe", "random+halving")
        }
        share = share_to_reach(results.curves(task, "default", workers), final["tpe"].mean())
        shares.append(1.0 if share is None else share)
        wins += all(
            final["default"].mean() > final[other].mean() and p < _LEVEL
            for other, p in low_p.items()
        )
        lost, cost = results.regrets(task, "default", workers)
        cells = [f"{TASK_NAMES[task]} ({task})"]
        cells += [_cell(values) for values in final.values()]
        cells += [f"{p:.2g}" for p in low_p.values()]
        cells += ["not reached" if share is None else f"{share:.0%}", f"{lost:.1%}", f"{cost:.4f}"]
        lines.append("| " + " | ".join(cells) + " |")
    lines += [
        "",
        (
            f"Better than both, with p < {_LEVEL} each: {wins} of {len(PROTOCOL_TASKS)} tasks. "
            f"Median share of the budget to reach the final mean of Optuna's TPE: "
            f"{np.median(shares):.0%}."
        ),
    ]
    return "\n".join(lines)


def _cell(values: np.ndarray) -> str:
    low, high = np.quantile(values, [0.25, 0.75])
    return f"{values.mean():.4f} ({low:.3f} to {high:.3f})"


def figure(results: Results, workers: int) -> Figure:
    """Mean and interquartile range of the hypervolume over time, one panel for each task."""
    panels = Figure(figsize=(13.5, 8), layout="constrained")
    panels.supxlabel("share of the budget (simulated training seconds)")
    panels.supylabel("hypervolume, share of the best known")
    for axes, task in zip(panels.subplots(2, 3, sharex=True).flat, PROTOCOL_TASKS, strict=True):
        ends = []
        for name, (label, colour) in STRATEGIES.items():
            curves = results.curves(task, name, workers)
            low, high = np.quantile(curves, [0.25, 0.75], axis=0)
            axes.fill_between(SHARES, low, high, color=colour, alpha=0.15, linewidth=0)
            axes.plot(SHARES, curves.mean(axis=0), color=colour, linewidth=2, label=label)
            ends.append(curves[:, -1].mean())
        axes.set_title(TASK_NAMES[task])
        axes.set_ylim(max(min(ends) - 0.3, 0), min(max(ends) + 0.06, 1))
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
        axes.spines[["top", "right"]].set_visible(False)
    panels.legend(
        *axes.get_legend_handles_labels(), loc="outside upper left", ncols=3, frameon=False
    )
    return panels


def main() -> None:
    """Write search_quality.md and a picture for each number of workers."""
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else RESULTS
    results = Results(json.loads(file.read_text(encoding="utf-8")))
    parts = [
        "# Search quality on LCBench",
        "",
        (
            "Made by `python benchmarks/search_quality.py --data PATH/lcbench --workers 1 4` and "
            "`python benchmarks/search_quality_report.py`."
        ),
        "",
        (
            "Hypervolume over (accuracy, log seconds) of the trials completed at full length when "
            f"{BUDGET_TRAININGS} median full trainings have been spent by all workers together, "
            "stopped trials included, as a share of that of "
            "400,000 random configs; mean and interquartile range over "
            f"{len(results.seeds)} seeds. p: paired one-sided Wilcoxon test over the seeds. Stops "
            "that cost: share of stopped trials that, trained to the end, would have joined the "
            "final front; what all of them together would have added to the hypervolume stands "
            "beside it."
        ),
    ]
    for workers in results.workers:
        picture = file.with_name(f"{file.stem}_{workers}.png")
        figure(results, workers).savefig(picture)
        noun = "worker" if workers == 1 else "workers"
        parts += ["", f"## {workers} {noun}", "", table(results, workers), ""]
        parts += [f"![Hypervolume over time, {workers} {noun}]({picture.name})"]
    file.with_suffix(".md").write_text("\n".join(parts) + "\n", encoding="utf-8")
    print("\n".join(parts))


if __name__ == "__main__":
    main()
