"""Compares strategies on 30 conditional choices whose early epochs rank poorly.

    python benchmarks/conditional_choices.py
    python benchmarks/conditional_choices.py --report

A synthetic family of problems, the opposite of LCBench: no number among the parameters, and a
quality after a tenth of the epochs whose correlation with that at the end is one half. The family
is defined here once, and instance k by seed k; nothing in it was adjusted to how a strategy does.

*Space.* Thirty choices of four values in a tree: each but the first three depends on one of those
before, and is active where that one has one of two values. *Quality* at the end: the sum of the
effects of the active values, and of the pairs of a value and its parent's, normal with standard
deviations 1 and 0.7; standardized over random configs and mapped to (0, 1) by the normal
distribution's function. *Seconds*: the exponential of another such sum, with a standard deviation
of 0.5 over random configs. *Epochs*: before the mapping, epoch t of T has the value of the
end, less two times v, plus a third such sum times √3 v, with v = (log(t / T) / log 0.1)^½. The
third sum is made uncorrelated with the end over random configs, so the correlation with the end is
0.5 at 10 % of the epochs, 0.58 at 22 % and 0.68 at 40 % (--correlations prints those of ranks).

Budget and score are those of search_quality.py; the front of 200,000 random configs has the score
1. Simulations that are in the results file already are not repeated; --report writes
results/conditional_choices.md.
"""

from __future__ import annotations

import argparse
import math
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from comparison import Case, Page, add_arguments, read_results, run_missing, write_page
from peers import PEERS
from peers.simulation import run_peer
from scipy.stats import norm
from search_quality import BUDGET_TRAININGS, reference_of, run

from effv2_tune.pareto.hypervolume import log_seconds
from effv2_tune.search.simulation import STRATEGIES, Overhead
from effv2_tune.study.plan import SearchSpec
from effv2_tune.study.space import Space

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

#: Of the comparison, by default.
INSTANCES = 6
CHOICES, ROOTS = 30, 3
VALUES = ("a", "b", "c", "d")
#: Of the parent, that a choice is active for.
OPEN = ("a", "b")
EPOCHS = 50
INTERACTION = 0.7
LOG_SECONDS_DEVIATION = 0.5
RANDOM_CONFIGS = 200_000
#: What it takes to continue a trial after another one, of a median training.
RESTORE_SHARE = 0.01
STRATEGIES_HERE = {**STRATEGIES, "freeze_thaw": SearchSpec(engine="freeze_thaw")}
#: Compared by default.
COMPARED = ("freeze_thaw", "default", "tpe", "random+halving")


def parent_of(choice: int) -> int | None:
    """The choice that another one depends on."""
    return None if choice < ROOTS else (choice - ROOTS) // 2


def make_space() -> Space:
    """The search space of all instances."""
    written: dict[str, Any] = {}
    for choice in range(CHOICES):
        written[f"c{choice}"] = {"type": "choice", "values": list(VALUES)}
        parent = parent_of(choice)
        if parent is not None:
            written[f"c{choice}"]["when"] = {f"c{parent}": list(OPEN)}
    return Space.model_validate(written)


SPACE = make_space()


class Sums:
    """Sums of random effects of active values, standardized over random configs.

    Args:
        seed: Of the effects.
    """

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        count = len(VALUES)
        self._single = rng.standard_normal((CHOICES, count))
        self._pairs = INTERACTION * rng.standard_normal((CHOICES, count, count))
        found = self._raw(random_indexes(20_000, np.random.default_rng([seed, 1])))
        self._mean, self._deviation = float(found.mean()), float(found.std())

    def of(self, indexes: np.ndarray) -> np.ndarray:
        """Of configs [m, 30], by the indexes of their values; -1 is inactive."""
        return (self._raw(indexes) - self._mean) / self._deviation

    def _raw(self, indexes: np.ndarray) -> np.ndarray:
        total = np.zeros(len(indexes))
        for choice in range(CHOICES):
            mine = indexes[:, choice]
            active = mine >= 0
            total += np.where(active, self._single[choice, mine], 0.0)
            parent = parent_of(choice)
            if parent is not None:
                total += np.where(active, self._pairs[choice, indexes[:, parent], mine], 0.0)
        return total


def random_indexes(count: int, rng: np.random.Generator) -> np.ndarray:
    """Random configs [count, 30]; inactive choices are -1."""
    indexes = rng.integers(len(VALUES), size=(count, CHOICES))
    for choice in range(CHOICES):
        parent = parent_of(choice)
        if parent is not None:
            indexes[~np.isin(indexes[:, parent], range(len(OPEN))), choice] = -1
    return indexes


def indexes_of(configs: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Configs [m, 30] by the indexes of their values; inactive choices are -1."""
    rows = [
        [VALUES.index(config[name]) if name in config else -1 for name in SPACE.parameters]
        for config in configs
    ]
    return np.array(rows)


class Problem:
    """One instance of the family.

    Args:
        instance: Its number.
    """

    def __init__(self, instance: int) -> None:
        self._end, self._time, self._third = (Sums(1000 * instance + part) for part in range(3))
        found = random_indexes(20_000, np.random.default_rng([instance, 2]))
        self._slope = float(np.mean(self._end.of(found) * self._third.of(found)))
        shares = np.arange(1, EPOCHS + 1) / EPOCHS
        self._v = np.sqrt(np.log(shares) / math.log(0.1))

    def outcomes(self, indexes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Quality at the end and seconds of the whole training of configs [m, 30]."""
        return norm.cdf(self._end.of(indexes)), self.seconds(indexes)

    def seconds(self, indexes: np.ndarray) -> np.ndarray:
        """Of the whole training."""
        return 100 * np.exp(LOG_SECONDS_DEVIATION * self._time.of(indexes))

    def curves(self, indexes: np.ndarray) -> np.ndarray:
        """Qualities [m, epochs]."""
        end = self._end.of(indexes)
        own = (self._third.of(indexes) - self._slope * end) / math.sqrt(1 - self._slope**2)
        return norm.cdf(end[:, None] + (math.sqrt(3) * own - 2)[:, None] * self._v)

    def curve(self, config: Mapping[str, Any]) -> Iterator[tuple[int, float, float]]:
        """The learning curve of a config."""
        indexes = indexes_of([config])
        each = float(self.seconds(indexes)[0]) / EPOCHS
        for epoch, quality in enumerate(self.curves(indexes)[0].tolist(), 1):
            yield epoch, quality, each * epoch

    def seconds_of(self, configs: Sequence[Mapping[str, Any]]) -> list[float]:
        """Of the whole trainings of configs."""
        return self.seconds(indexes_of(configs)).tolist() if configs else []


class Problems:
    """All instances, by their numbers."""

    def __init__(self) -> None:
        self.of = cache(Problem)

    def curve(self, task: str) -> Any:
        """The learning curves of an instance."""
        return self.of(int(task)).curve


@cache
def make_reference(problem: Problem) -> dict[str, float]:
    """Scales and the hypervolume of the front of random configs."""
    quality, seconds = problem.outcomes(random_indexes(RANDOM_CONFIGS, np.random.default_rng(0)))
    return reference_of(quality, seconds)


class Simulations:
    """The simulations of the instances."""

    def __init__(self) -> None:
        self._problems = Problems()

    def simulate(self, case: Case) -> dict[str, Any]:
        """One simulation: the hypervolume over time, and the outcomes of the trials."""
        problem = self._problems.of(int(case.task))
        reference = make_reference(problem)
        overhead = Overhead(
            restore_seconds=RESTORE_SHARE * reference["median_seconds"],
            seconds=problem.seconds_of,
        )
        if case.strategy in PEERS:
            return run_peer(
                self._problems,
                case.task,
                reference,
                name=case.strategy,
                workers=case.workers,
                seed=case.seed,
                space=SPACE,
                overhead=overhead,
            )
        return run(
            self._problems,
            case.task,
            reference,
            search=STRATEGIES_HERE[case.strategy],
            workers=case.workers,
            seed=case.seed,
            time_scale=log_seconds if case.strategy in ("default", "freeze_thaw") else float,
            space=SPACE,
            overhead=overhead,
        )


PAGE = Page(
    name="conditional_choices",
    title="Thirty conditional choices whose early epochs rank poorly",
    text=(
        "Made by `python benchmarks/conditional_choices.py` and the same with `--report`. A "
        "synthetic family, defined in the script and adjusted to no strategy: 30 choices of four "
        "values in a tree of conditions; the correlation of quality with the end is .5 after a "
        "tenth of the epochs. Each problem is an instance with effects of its own.\n\n"
        f"Hypervolume over (quality, log seconds) of the trials completed when {BUDGET_TRAININGS} "
        "median full trainings have been spent, as a share of that of 200,000 random configs.\n\n"
        "`engine: auto` chooses TPE for this space: what freeze-thaw does here is how it fails "
        "where it is not recommended. The seconds of a config are known to it, as in studies; "
        f"continuing a trial after another one takes {RESTORE_SHARE:.0%} of a median training."
    ),
    tasks={str(instance): f"instance {instance}" for instance in range(INSTANCES)},
    strategies=(*COMPARED, *PEERS),
)


def correlations(instance: int) -> list[str]:
    """The rank correlation of the quality at shares of the epochs with that at the end."""
    problem = Problem(instance)
    curves = problem.curves(random_indexes(5000, np.random.default_rng(0)))
    ranks = curves.argsort(axis=0).argsort(axis=0)
    return [
        f"{share:.0%}: {np.corrcoef(ranks[:, round(share * EPOCHS) - 1], ranks[:, -1])[0, 1]:.2f}"
        for share in (0.1, 0.22, 0.4)
    ]


def main() -> None:
    """Run the missing simulations, or write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(
        parser,
        tasks=list(PAGE.tasks),
        strategies=COMPARED,
        choices=(*STRATEGIES_HERE, *PEERS),
        seeds=10,
        workers=(1,),
        results=PAGE.name,
    )
    parser.add_argument("--correlations", action="store_true", help="of rungs, instead")
    arguments = parser.parse_args()
    if arguments.correlations:
        for instance in arguments.tasks:
            print(instance, *correlations(int(instance)))
    elif arguments.report:
        write_page(read_results(arguments.results), PAGE)
    else:
        run_missing(arguments, Simulations().simulate)


if __name__ == "__main__":
    main()
