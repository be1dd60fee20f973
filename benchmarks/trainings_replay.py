"""Compares strategies on real learning curves: those of the table of trainings.py.

    python benchmarks/trainings_replay.py
    python benchmarks/trainings_replay.py --report

Between the trained configs, curves are those of a random forest: over the coordinates of the
config, of the accuracy at 12 shares of the epochs at once. A forest, and not the nearest config, as
that would repeat one curve for a whole neighbourhood; and not a Gaussian process, as that is the
model of one of the strategies. Its trees are averaged over configs that differ in seed, so most of
the noise of a single training is gone. *Seconds* are those of a study: steps times the step time of
the resolution, the median over its trainings, with processor time; every strategy is charged for
the first config of each bucket and for reading checkpoints, as measured.

Budget and score are those of search_quality.py; the front of 20,000 random configs has the score 1.
Simulations that are in the results file already are not repeated; --report writes
results/trainings_replay.md. Needs scikit-learn.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from comparison import Case, Page, add_arguments, read_results, run_missing, write_page
from peers import PEERS
from peers.simulation import run_peer
from scipy.stats import spearmanr
from search_quality import BUDGET_TRAININGS, run, score
from trainings import RESULTS, SPACE, STEPS_PER_EPOCH

from effv2_tune.pareto.hypervolume import log_seconds
from effv2_tune.search.engines.unit_cube import UnitCube
from effv2_tune.search.simulation import STRATEGIES, Overhead
from effv2_tune.study.plan import HalvingSpec, SearchSpec

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

STRATEGIES_HERE = {
    **STRATEGIES,
    "freeze_thaw": SearchSpec(engine="freeze_thaw"),
    "gp": SearchSpec(engine="gp", halving=HalvingSpec(enabled=False)),
}
TASK = "cifar"
#: Shares of the epochs at which the forest knows the accuracy.
GRID = np.arange(1, 13) / 12
TREES = 300
RANDOM_CONFIGS = 20_000
CHANCE = 0.1
#: Rungs of the default strategy.
RUNGS = (0.1, 0.22, 0.4)
FOLDS = 5
#: Processor seconds of reading a checkpoint of the tiny network.
RESTORE_SECONDS = 0.05


class Table(NamedTuple):
    """The trainings.

    Attributes:
        points: [n, d], of the unit cube.
        accuracy: [n, 12], at the shares of the grid.
        step_seconds: Of each resolution.
        compile_seconds: Of a bucket.
    """

    points: np.ndarray
    accuracy: np.ndarray
    step_seconds: Mapping[int, float]
    compile_seconds: float


def read_table(file: Path) -> Table:
    """The table of trainings.py; a training that diverged has the accuracy of chance."""
    with file.open(encoding="utf-8") as lines:
        rows = [row for row in csv.DictReader(lines) if row["outcome"]]
    cube = UnitCube(SPACE)
    configs = [config_of(row) for row in rows]
    times: dict[int, list[float]] = {}
    for config, row in zip(configs, rows, strict=True):
        if row["step_ms"]:
            times.setdefault(config["resolution"], []).append(float(row["step_ms"]) / 1000)
    return Table(
        np.array([cube.point(config) for config in configs]),
        np.array([_on_grid(row) for row in rows]),
        {resolution: float(np.median(found)) for resolution, found in sorted(times.items())},
        _compile_seconds(rows),
    )


def _compile_seconds(rows: Sequence[Mapping[str, str]]) -> float:
    """The median of what first trainings of buckets took beyond later ones."""
    complete = [row for row in rows if row["outcome"] == "complete"]

    def epoch_seconds(row: Mapping[str, str]) -> float:
        return float(row["process_seconds"]) / int(row["epochs"])

    usual: dict[str, list[float]] = {}
    for row in complete:
        if row["is_compiled"] == "True":
            usual.setdefault(row["resolution"], []).append(epoch_seconds(row))
    beyond = [
        int(row["epochs"]) * (epoch_seconds(row) - float(np.median(usual[row["resolution"]])))
        for row in complete
        if row["is_compiled"] != "True"
    ]
    return float(np.median(beyond))


def config_of(row: Mapping[str, str]) -> dict[str, Any]:
    """The config of a row of the table."""
    whole = {name: int(row[name]) for name in ("resolution", "epochs")}
    real = {
        name: float(row[name])
        for name in SPACE.parameters
        if name not in ("resolution", "epochs", "flip")
    }
    return {
        name: (whole | real | {"flip": row["flip"] == "True"})[name] for name in SPACE.parameters
    }


def _on_grid(row: Mapping[str, str]) -> np.ndarray:
    """Accuracies [12], linear between epochs; before the first one, that after it."""
    if row["outcome"] == "diverged":
        return np.full(len(GRID), CHANCE)
    curve = np.array([float(one) for one in row["curve_accuracy"].split()])
    return np.interp(GRID, np.arange(1, len(curve) + 1) / len(curve), curve)


def make_forest() -> Any:
    """The model between the trained configs."""
    from sklearn.ensemble import RandomForestRegressor

    return RandomForestRegressor(TREES, min_samples_leaf=2, max_features=0.5, random_state=0)


class Replay:
    """The learning curves of all configs of the space.

    Args:
        table: Of the trainings.
    """

    def __init__(self, table: Table) -> None:
        self._cube = UnitCube(SPACE)
        self._step_seconds = table.step_seconds
        self._forest = make_forest().fit(table.points, table.accuracy)

    def curve(self, task: str) -> Any:  # noqa: ARG002 - there is one
        """The learning curves."""

        def curve(config: Mapping[str, Any]) -> Iterator[tuple[int, float, float]]:
            epochs = int(config["epochs"])
            on_grid = self._forest.predict(self._cube.point(config)[None])[0]
            shares = np.arange(1, epochs + 1) / epochs
            each = self.seconds_of([config])[0] / epochs
            for epoch, quality in enumerate(np.interp(shares, GRID, on_grid).tolist(), 1):
                yield epoch, quality, epoch * each

        return curve

    def seconds_of(self, configs: Sequence[Mapping[str, Any]]) -> list[float]:
        """Of the whole trainings of configs."""
        return [
            float(one["epochs"] * STEPS_PER_EPOCH * self._step_seconds[one["resolution"]])
            for one in configs
        ]

    def reference(self) -> dict[str, float]:
        """Scales and the hypervolume of the front of random configs."""
        generator = np.random.default_rng(0)
        points = self._cube.snap(generator.random((RANDOM_CONFIGS, self._cube.dimensions)))
        quality = self._forest.predict(points)[:, -1]
        seconds = np.array(self.seconds_of(self._cube.configs(points)))
        reference = {
            "worst_accuracy": float(np.quantile(quality, 0.001)),
            "best_accuracy": float(quality.max()),
            # The slowest one is allowed for with a margin, as many configs are equally slow.
            "slowest": float(1.1 * seconds.max()),
            "fastest": float(seconds.min()),
            "median_seconds": float(np.median(seconds)),
            "hypervolume": 1.0,
        }
        found = list(zip(quality.tolist(), seconds.tolist(), strict=True))
        return reference | {"hypervolume": score(found, reference)}


def bucket_of(config: Mapping[str, Any]) -> str:
    """What is compiled once: amounts of mixup and RandAugment are inputs, unless they are 0."""
    on = [config[name] > 0 for name in ("mixup", "rand_augment")]
    return repr((config["resolution"], config["flip"], on))


class Simulations:
    """The simulations on the table.

    Args:
        table: Of the trainings.
    """

    def __init__(self, table: Table) -> None:
        self._compile_seconds = table.compile_seconds
        self._replay = Replay(table)
        self._reference = self._replay.reference()

    def simulate(self, case: Case) -> dict[str, Any]:
        """One simulation: the hypervolume over time, and the outcomes of the trials."""
        overhead = Overhead(
            restore_seconds=RESTORE_SECONDS,
            compile_seconds=self._compile_seconds,
            bucket=bucket_of,
            seconds=self._replay.seconds_of,
        )
        if case.strategy in PEERS:
            return run_peer(
                self._replay,
                case.task,
                self._reference,
                name=case.strategy,
                workers=case.workers,
                seed=case.seed,
                space=SPACE,
                overhead=overhead,
            )
        is_scaled = case.strategy in ("default", "freeze_thaw", "gp")
        return run(
            self._replay,
            case.task,
            self._reference,
            search=STRATEGIES_HERE[case.strategy],
            workers=case.workers,
            seed=case.seed,
            time_scale=log_seconds if is_scaled else float,
            space=SPACE,
            overhead=overhead,
        )


def quality_of_forest(table: Table) -> str:
    """How well the forest predicts trainings that it has not seen, and rungs the end."""
    from sklearn.model_selection import KFold

    predicted = np.empty_like(table.accuracy)
    for train, test in KFold(FOLDS, shuffle=True, random_state=0).split(table.points):
        forest = make_forest().fit(table.points[train], table.accuracy[train])
        predicted[test] = forest.predict(table.points[test])
    ends, guesses = table.accuracy[:, -1], predicted[:, -1]
    explained = 1 - np.mean((ends - guesses) ** 2) / np.var(ends)
    places = [int(np.argmin(np.abs(GRID - share))) for share in RUNGS]
    ranks = ", ".join(
        f"{spearmanr(table.accuracy[:, place], ends).statistic:.2f} after {share:.0%}"
        for share, place in zip(RUNGS, places, strict=True)
    )
    return (
        f"{len(ends)} trainings, accuracies from {ends.min():.2f} to {ends.max():.2f}. Of "
        f"trainings that it has not seen ({FOLDS}-fold), the forest explains {explained:.0%} of "
        f"the variance of the accuracy at the end (rank correlation "
        f"{spearmanr(guesses, ends).statistic:.2f}). Rank correlation of a training's accuracy "
        f"with its end: {ranks} of its epochs."
    )


def page(table: Table) -> Page:
    """What the page says."""
    return Page(
        name="trainings_replay",
        title="Strategies on a table of real trainings",
        text=(
            "Made by `python benchmarks/trainings.py --data cifar10.npz`, "
            "`python benchmarks/trainings_replay.py` and the same with `--report`; the scripts say "
            "what is trained, and how curves between the trained configs are computed. "
            f"{quality_of_forest(table)}\n\n"
            "Hypervolume over (accuracy, log seconds) of the trials completed when "
            f"{BUDGET_TRAININGS} median full trainings have been spent, as a share of that of "
            f"{RANDOM_CONFIGS:,} random configs. Each bucket takes "
            f"{table.compile_seconds:.1f} s to compile, and a checkpoint {RESTORE_SECONDS:g} s to "
            "read."
        ),
        tasks={TASK: "CIFAR-10 images, tiny network"},
        strategies=("freeze_thaw", "default", "tpe", "gp", "random+halving", *PEERS),
    )


def main() -> None:
    """Run the missing simulations, or write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", type=Path, default=RESULTS / "trainings.csv")
    add_arguments(
        parser,
        tasks=(TASK,),
        strategies=("freeze_thaw", "default", "tpe", "random+halving"),
        choices=(*STRATEGIES_HERE, *PEERS),
        seeds=40,
        workers=(1,),
        results="trainings_replay",
    )
    arguments = parser.parse_args()
    table = read_table(arguments.table)
    if arguments.report:
        write_page(read_results(arguments.results), page(table))
    else:
        run_missing(arguments, Simulations(table).simulate)


if __name__ == "__main__":
    main()
