"""Simulates freeze-thaw with screenings: trainings on a subset of the images that only inform it.

    python benchmarks/image_subsets.py [--seeds 10] [--images 0.1]
    python benchmarks/image_subsets.py --report

A synthetic family, in which the two correlations that decide are set: that of a tenth of the epochs
with the end, and that of the subset with all images. *Ends*: a smooth random function of five
coordinates, mapped to (0, 1) by the normal distribution's function. *Epochs*: the end less two
times v, plus a second such function times a factor, with v = (log share / log 0.1)^½. *Subset*: the
end times its correlation, plus a third such function, less 0.5: all before the mapping. *Seconds*:
the exponential of a fourth one, known exactly. The functions have a standard deviation of 1, and
that of log seconds is 0.5.

One worker, a budget of 10 median trainings, and the score is the hypervolume of (quality, log
seconds) of the complete trials, as a share of that of 10,000 random configs; the search without
screenings has the same seeds. A simulation is a line of results/image_subsets.jsonl, and the same
command goes on; --report writes results/image_subsets.md.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from comparison import read_results
from scipy.stats import norm, wilcoxon
from search_quality import reference_of, score

from effv2_tune.search.freeze_thaw import (
    Begin,
    FreezeThaw,
    History,
    Observation,
    Problem,
    Screen,
    Screening,
    Trial,
)
from effv2_tune.search.freeze_thaw.screening import is_shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "image_subsets.jsonl"
PAGE = HERE / "results" / "image_subsets.md"
DIMENSIONS = 5
LENGTH_SCALE = 0.5
FEATURES = 100
RUNGS = (0.1, 0.22, 0.4)
BUDGET_TRAININGS = 10
SHARES = (0.25, 0.5, 1.0)
#: Correlations with the end: of a tenth of the epochs, and of the subset.
EARLY, SUBSET = (0.5, 0.9), (0.5, 0.95)
RANDOM_CONFIGS = 10_000


class Case(NamedTuple):
    """A simulation; ``subset`` is the correlation of the subset, None without screenings."""

    seed: int
    early: float
    subset: float | None
    images: float

    @property
    def key(self) -> str:
        """Its name in the results file."""
        kind = "without" if self.subset is None else f"{self.subset:g}/{self.images:g}"
        return f"{self.early:g}/{kind}/{self.seed}"


class SmoothFunction:
    """A draw of a Gaussian process, by random Fourier features; standardized."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._frequencies = rng.standard_normal((DIMENSIONS, FEATURES)) / LENGTH_SCALE
        self._phases = rng.uniform(0, 2 * np.pi, FEATURES)
        self._weights = rng.standard_normal(FEATURES)
        found = self._raw(rng.random((4000, DIMENSIONS)))
        self._mean, self._deviation = found.mean(), found.std()

    def of(self, configs: np.ndarray) -> np.ndarray:
        """Of configs [m, d]: [m]."""
        return (self._raw(configs) - self._mean) / self._deviation

    def _raw(self, configs: np.ndarray) -> np.ndarray:
        return np.cos(configs @ self._frequencies + self._phases) @ self._weights


class Family:
    """One instance: the qualities and seconds of all configs."""

    def __init__(self, case: Case) -> None:
        rng = np.random.default_rng(case.seed)
        self._end, self._epochs, self._images, self._time = (SmoothFunction(rng) for _ in range(4))
        self._factor = math.sqrt(1 / case.early**2 - 1)
        self._subset = case.subset or 0.0

    def quality(self, configs: np.ndarray, share: float = 1.0) -> np.ndarray:
        """After a share of the epochs."""
        v = math.sqrt(math.log(share) / math.log(0.1))
        return norm.cdf(self._end.of(configs) + v * (self._factor * self._epochs.of(configs) - 2))

    def screened(self, configs: np.ndarray) -> np.ndarray:
        """On the subset."""
        own = math.sqrt(1 - self._subset**2) * self._images.of(configs)
        return norm.cdf(self._subset * self._end.of(configs) + own - 0.5)

    def seconds(self, configs: np.ndarray) -> np.ndarray:
        """Of whole trainings."""
        return 100 * np.exp(0.5 * self._time.of(configs))

    def reference(self) -> dict[str, float]:
        """Scales and the hypervolume of the front of random configs."""
        configs = np.random.default_rng(0).random((RANDOM_CONFIGS, DIMENSIONS))
        return reference_of(self.quality(configs), self.seconds(configs))


class Simulation:
    """One worker that trains what freeze-thaw proposes, on a simulated clock."""

    def __init__(self, case: Case) -> None:
        self.family = Family(case)
        images = None if case.subset is None else case.images
        problem = Problem(DIMENSIONS, self.family.seconds, RUNGS, images=images)
        self._images = case.images
        self._search = FreezeThaw(problem, case.seed)
        self.history = History({}, [], None if images is None else {})
        self.seconds = 0.0
        #: (seconds so far, quality, seconds of the training) of complete trials.
        self.complete: list[tuple[float, float, float]] = []
        self.is_shown_at_end = False

    def run(self, budget: float) -> None:
        """Train until the budget is spent."""
        for number in itertools.count():
            left = budget - self.seconds
            action = self._search.propose(self.history, number=number, seconds_left=left)
            if action is None:
                break
            if isinstance(action, Screen):
                self._screen(action.config)
            elif isinstance(action, Begin):
                key, config = self._next_key(), np.array([action.config])
                trial = Trial(action.config, float(self.family.seconds(config)[0]), "running")
                self._train(key, trial)
            else:
                self._train(action.trial, self.history.trials[action.trial])
        self.is_shown_at_end = is_shown(self.history)

    def _next_key(self) -> int:
        return len(self.history.trials) + len(self.history.screenings or {})

    def _screen(self, config: tuple[float, ...]) -> None:
        key, row = self._next_key(), np.array([config])
        self.seconds += self._images * float(self.family.seconds(row)[0])
        found = Observation(key, 1.0, float(self.family.screened(row)[0]))
        screenings = dict(self.history.screenings or {}) | {key: Screening(config)}
        observations = [*self.history.observations, found]
        self.history = replace(self.history, screenings=screenings, observations=observations)

    def _train(self, key: int, trial: Trial) -> None:
        done = self.history.last_shares().get(key, 0.0)
        share = next((rung for rung in RUNGS if rung > done), 1.0)
        self.seconds += (share - done) * trial.seconds
        quality = float(self.family.quality(np.array([trial.config]), share)[0])
        trained = replace(trial, state="complete" if share == 1 else "paused")
        self.history = replace(
            self.history,
            trials=dict(self.history.trials) | {key: trained},
            observations=[*self.history.observations, Observation(key, share, quality)],
        )
        if share == 1:
            self.complete.append((self.seconds, quality, trial.seconds))


def simulate(case: Case) -> dict[str, Any]:
    """One simulation: the scores at shares of the budget, and the screenings."""
    simulation = Simulation(case)
    reference = simulation.family.reference()
    budget = BUDGET_TRAININGS * reference["median_seconds"]
    simulation.run(budget)
    over_time = []
    for share in SHARES:
        so_far = [(q, s) for spent, q, s in simulation.complete if spent <= share * budget]
        over_time.append(round(score(so_far, reference), 4))
    return {
        "hypervolume": over_time,
        "complete": len(simulation.complete),
        "trials": len(simulation.history.trials),
        "screenings": len(simulation.history.screenings or {}),
        "is_shown": simulation.is_shown_at_end,
    }


def cases(arguments: argparse.Namespace) -> list[Case]:
    """All simulations, seed after seed."""
    return [
        Case(seed, early, subset, arguments.images)
        for seed in range(arguments.seeds)
        for early in arguments.early
        for subset in (None, *arguments.subset)
    ]


# --- the page -------------------------------------------------------------------------------------


def page(known: Mapping[str, Mapping[str, Any]]) -> str:
    """The page of all simulations that have their pair without screenings."""
    pairs: dict[str, list[tuple[Mapping[str, Any], Mapping[str, Any]]]] = {}
    for key, found in known.items():
        early, *kind, seed = key.split("/")
        before = known.get(f"{early}/without/{seed}")
        if kind != ["without"] and before is not None:
            pairs.setdefault("/".join([early, *kind]), []).append((found, before))
    lines = [
        "# Screenings on a subset of the images, simulated",
        "",
        (
            "Made by `python benchmarks/image_subsets.py` and the same with `--report`: the "
            "synthetic family that the script describes, one worker, a budget of "
            f"{BUDGET_TRAININGS} median trainings. Hypervolume of freeze-thaw with screenings less "
            "that without them, with the same seeds (mean, and two-sided Wilcoxon signed-rank test "
            "at the end, not corrected for the number of tests)."
        ),
        "",
        (
            "| correlation with the end: a tenth of the epochs | the subset | share of the images "
            "| seeds | at 25 % | at 50 % | at the end | p | screenings "
            "| switched on in the end | whole trials begun, with / without |"
        ),
        "|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [_row(name, found) for name, found in sorted(pairs.items())]
    return "\n".join(lines) + "\n"


def _row(name: str, pairs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> str:
    """The line of a table of one setting."""
    gains = np.array([np.subtract(a["hypervolume"], b["hypervolume"]) for a, b in pairs])
    ends = gains[:, -1]
    p = float(wilcoxon(ends).pvalue) if ends.any() else 1.0
    screened = np.mean([one["screenings"] for one, _ in pairs])
    shown = sum(one["is_shown"] for one, _ in pairs)
    trials = np.mean([(a["trials"], b["trials"]) for a, b in pairs], axis=0)
    cells = [
        *name.split("/"),
        str(len(pairs)),
        *(f"{gain:+.3f}" for gain in gains.mean(axis=0)),
        f"{p:.2f}",
        f"{screened:.0f}",
        f"{shown} of {len(pairs)}",
        f"{trials[0]:.0f} / {trials[1]:.0f}",
    ]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Run the missing simulations, or write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--early", type=float, nargs="+", default=EARLY)
    parser.add_argument("--subset", type=float, nargs="+", default=SUBSET)
    parser.add_argument("--images", type=float, default=0.1, help="share of them in the subset")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--report", action="store_true", help="simulate nothing, write the page")
    arguments = parser.parse_args()
    known = read_results(arguments.results)
    if arguments.report:
        PAGE.write_text(page(known), encoding="utf-8")
        return
    for case in cases(arguments):
        if case.key not in known:
            before = time.process_time()
            found = simulate(case) | {"seconds": round(time.process_time() - before, 2)}
            with arguments.results.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps({"key": case.key} | found) + "\n")
            print(case.key, found, file=sys.stderr)


if __name__ == "__main__":
    main()
