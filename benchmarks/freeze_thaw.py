"""Compares freeze-thaw, which pauses and continues trials, with other strategies on LCBench.

    python benchmarks/freeze_thaw.py --data PATH/lcbench --tasks 167149 34539 --seeds 4

Tasks, budget and score are those of search_quality.py, and so are the simulations of the other
strategies. Here a light simulation pauses trials at their rungs and continues them. Continuing a
trial that another one was trained after costs `--restore-share` of a median training (reading its
checkpoint); compilations are charged to no strategy. The strategy `freeze_thaw` predicts the
seconds of a config by a Gaussian process on the trials so far, because no other strategy has more;
`freeze_thaw_known_seconds` takes the surrogate's, so it knows where the surrogate is fast by
accident as well: its figures are no evidence for real studies.

Simulations that are in the results file already are not repeated. Needs onnxruntime.
"""

from __future__ import annotations

import argparse
import heapq
import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from search_quality import (
    BUDGET_TRAININGS,
    COLUMNS,
    EPOCHS,
    REFERENCE,
    SHARES,
    SPACE,
    Surrogate,
    make_reference,
    run,
    score,
)

from effv2_tune.pareto.hypervolume import log_seconds
from effv2_tune.search.freeze_thaw import (
    Begin,
    FreezeThaw,
    History,
    Observation,
    Problem,
    Settings,
    Trial,
)
from effv2_tune.search.freeze_thaw.decision import fitted_count
from effv2_tune.search.freeze_thaw.fitting import fit
from effv2_tune.search.freeze_thaw.gaussian_process import Posterior
from effv2_tune.search.freeze_thaw.kernel import Points
from effv2_tune.search.simulation import STRATEGIES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

HERE = Path(__file__).parent
RUNGS = (0.1, 0.22, 0.4)
#: Epochs at which a trial can be paused, and the last one.
STOPS = (*(round(share * len(EPOCHS)) for share in RUNGS), len(EPOCHS))
OURS = ("freeze_thaw", "freeze_thaw_known_seconds")


class Coder:
    """Converts configs [m, d] of the unit cube to values of the search space."""

    def __init__(self) -> None:
        parameters: list[Any] = [SPACE.parameters[name] for name in COLUMNS]
        self._log = np.array([one.scale == "log" for one in parameters])
        self._whole = np.array([one.type == "int" for one in parameters])
        self._low = self._scaled(np.array([float(one.low) for one in parameters]))
        self._high = self._scaled(np.array([float(one.high) for one in parameters]))

    def values(self, configs: np.ndarray) -> np.ndarray:
        """Of the parameters, in the order of COLUMNS [m, d]."""
        scaled = self._low + configs * (self._high - self._low)
        values = np.where(self._log, np.exp(np.where(self._log, scaled, 0.0)), scaled)
        return np.where(self._whole, np.round(values), values)

    def snap(self, configs: np.ndarray) -> np.ndarray:
        """The nearest configs that exist."""
        scaled = self._scaled(self.values(configs))
        return np.clip((scaled - self._low) / (self._high - self._low), 0.0, 1.0)

    def _scaled(self, values: np.ndarray) -> np.ndarray:
        return np.where(self._log, np.log(np.where(self._log, values, 1.0)), values)


@dataclass
class Training:
    """A trial of the simulation.

    Attributes:
        config: [d], of the unit cube.
        accuracy: [epochs], in per cent.
        seconds: [epochs], cumulative.
        state: As in `effv2_tune.search.freeze_thaw.Trial`.
        done: Epochs so far.
    """

    config: tuple[float, ...]
    accuracy: np.ndarray
    seconds: np.ndarray
    state: Any = "running"
    done: int = 0

    def spent(self, epoch: int) -> float:
        """Seconds up to an epoch."""
        return float(self.seconds[epoch - 1]) if epoch else 0.0

    def projected_seconds(self) -> float:
        """Of the whole training, as the epochs so far predict it."""
        return self.spent(self.done) * len(EPOCHS) / self.done


@dataclass(frozen=True)
class SecondsModel:
    """A Gaussian process of log seconds over configs.

    Attributes:
        posterior: Of standardized log seconds.
        center: Their mean.
        scale: Their standard deviation.
        fitted: The number of trials that the hyperparameters are fitted on.
        count: The number of observations it was made after.
    """

    posterior: Posterior
    center: float
    scale: float
    fitted: int
    count: int

    @classmethod
    def given(
        cls, configs: np.ndarray, logs: np.ndarray, count: int, before: SecondsModel | None
    ) -> SecondsModel:
        """Conditioned on the last 200 trials; fitted again when there are 15 % more."""
        configs, logs = configs[-200:], logs[-200:]
        center, scale = float(logs.mean()), max(float(logs.std()), 1e-3)
        points, noise = Points.ends(configs), np.zeros(len(configs))
        values = (logs - center) / scale
        fitted = fitted_count(len(configs))
        if before is None or before.fitted != fitted:
            hyper = fit(Points.ends(configs[:fitted]), values[:fitted], noise[:fitted], seed=0)
        else:
            hyper = before.posterior.hyper
        posterior = Posterior.given(hyper, points, values, noise)
        return cls(posterior, center, scale, fitted, count)

    def predict(self, configs: np.ndarray) -> np.ndarray:
        """Seconds of whole trainings [m]."""
        mean, _ = self.posterior.predict(Points.ends(configs))
        return np.exp(mean * self.scale + self.center)


@dataclass
class Simulation:
    """Workers that train trials from rung to rung, on a simulated clock."""

    surrogate: Surrogate
    task: str
    median_seconds: float
    workers: int
    seed: int
    knows_seconds: bool
    restore_seconds: float
    settings: Settings = field(default_factory=Settings)

    def __post_init__(self) -> None:
        """Begin with no trial."""
        self.coder = Coder()
        self.trials: list[Training] = []
        self.observations: list[Observation] = []
        self.decision_seconds: list[float] = []
        self._known: dict[tuple[float, ...], float] = {}
        self._times: SecondsModel | None = None
        problem = Problem(
            len(COLUMNS),
            self.exact_seconds if self.knows_seconds else self.predicted_seconds,
            RUNGS,
            continue_seconds=self.restore_seconds,
            snap=self.coder.snap,
        )
        self.search = FreezeThaw(problem, self.seed, self.settings)

    def exact_seconds(self, configs: np.ndarray) -> np.ndarray:
        """Of whole trainings [m], by the surrogate."""
        values = self.coder.values(configs)
        _, last = self.surrogate.ask(self.task, self._rows(values, EPOCHS[-1]))
        # The surrogate's time goes back in some curves; a training cannot.
        return last

    def predicted_seconds(self, configs: np.ndarray) -> np.ndarray:
        """Of whole trainings [m], by a Gaussian process on the log seconds so far."""
        begun = [one for one in self.trials if one.done]
        if not begun:
            return np.full(len(configs), self.median_seconds)
        if self._times is None or self._times.count != len(self.observations):
            configs_begun = np.array([one.config for one in begun])
            self._times = SecondsModel.given(
                configs_begun,
                np.log([one.projected_seconds() for one in begun]),
                len(self.observations),
                self._times,
            )
        return self._times.predict(configs)

    def run(self, budget: float) -> list[tuple[float, float, float]]:
        """(time of all workers, accuracy, seconds) of the completed trials, in order."""
        wall, now, number = budget / self.workers, 0.0, 0
        queue: list[tuple[float, int, int, int]] = []
        idle: dict[int, int | None] = dict.fromkeys(range(self.workers))
        complete: list[tuple[float, float, float]] = []
        while True:
            for worker in sorted(idle):
                number += 1
                action = self._decide(number, wall - now)
                if action is None:
                    break
                trial = self._begin(action)
                training = self.trials[trial]
                training.state = "running"
                stop = next(epoch for epoch in STOPS if epoch > training.done)
                takes = training.spent(stop) - training.spent(training.done)
                if training.done and idle[worker] != trial:
                    takes += self.restore_seconds
                heapq.heappush(queue, (now + takes, number, worker, trial))
                del idle[worker]
            if not queue or queue[0][0] > wall:
                return complete
            now, _, worker, trial = heapq.heappop(queue)
            idle[worker] = trial
            if self._end_rung(trial):
                training = self.trials[trial]
                last = float(training.accuracy[-1]), float(training.seconds[-1])
                complete.append((now * self.workers, *last))

    def _decide(self, number: int, seconds_left: float) -> Any:
        seconds = [self._seconds_of(one) for one in self.trials]
        trials = {
            place: Trial(one.config, known, one.state)
            for place, (one, known) in enumerate(zip(self.trials, seconds, strict=True))
        }
        began = time.process_time()
        history = History(trials, self.observations)
        action = self.search.propose(history, number=number, seconds_left=seconds_left)
        self.decision_seconds.append(time.process_time() - began)
        return action

    def _seconds_of(self, training: Training) -> float:
        if not self.knows_seconds and training.done:
            return training.projected_seconds()
        if training.config not in self._known or not self.knows_seconds:
            row = np.array([training.config])
            predict = self.exact_seconds if self.knows_seconds else self.predicted_seconds
            self._known[training.config] = float(predict(row)[0])
        return self._known[training.config]

    def _begin(self, action: Any) -> int:
        if not isinstance(action, Begin):
            return int(action.trial)
        values = self.coder.values(np.array([action.config]))
        accuracy, seconds = self.surrogate.ask(self.task, self._rows(values, EPOCHS))
        cumulative = np.maximum.accumulate(seconds)
        self.trials.append(Training(action.config, accuracy, cumulative))
        return len(self.trials) - 1

    def _end_rung(self, trial: int) -> bool:
        training = self.trials[trial]
        training.done = next(epoch for epoch in STOPS if epoch > training.done)
        complete = training.done == len(EPOCHS)
        training.state = "complete" if complete else "paused"
        share = 1.0 if complete else RUNGS[STOPS.index(training.done)]
        quality = float(training.accuracy[training.done - 1])
        self.observations.append(Observation(trial, share, quality))
        return complete

    def _rows(self, values: np.ndarray, epochs: Any) -> np.ndarray:
        count = max(len(values), np.size(epochs))
        columns = np.broadcast_to(values, (count, values.shape[1]))
        return np.column_stack([np.broadcast_to(epochs, count), columns])


def run_freeze_thaw(
    surrogate: Surrogate,
    task: str,
    reference: Mapping[str, float],
    arguments: argparse.Namespace,
    *,
    name: str,
    workers: int,
    seed: int,
) -> dict[str, Any]:
    """One simulation: the hypervolume over time, and the outcomes of the trials."""
    median = reference["median_seconds"]
    budget = BUDGET_TRAININGS * median
    settings = Settings(**json.loads(arguments.settings))
    restore = arguments.restore_share * median
    simulation = Simulation(
        surrogate, task, median, workers, seed, name == OURS[1], restore, settings
    )
    complete = simulation.run(budget)
    over_time = [
        round(score([(a, s) for stop, a, s in complete if stop <= share * budget], reference), 5)
        for share in SHARES
    ]
    return {
        "hypervolume": over_time,
        "complete": len(complete),
        "paused": sum(one.state == "paused" for one in simulation.trials),
        "decisions": len(simulation.decision_seconds),
        "seconds_per_decision": round(float(np.mean(simulation.decision_seconds)), 4),
    }


def run_missing(arguments: argparse.Namespace) -> dict[str, Any]:
    """All simulations that are not in the results file yet."""
    surrogate = Surrogate(arguments.data)
    references = json.loads(REFERENCE.read_text(encoding="utf-8"))
    for task in arguments.tasks:
        if task not in references:
            references[task] = make_reference(surrogate, task)
    file = arguments.results
    results = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    began = time.monotonic()
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    cases = [
        (seed, task, name, workers)
        for seed in seeds
        for task in arguments.tasks
        for name in arguments.strategies
        for workers in arguments.workers
    ]
    for seed, task, name, workers in cases:
        key = f"{task}/{name}{arguments.label}/{workers}/{seed}"
        if key in results or time.monotonic() - began > arguments.minutes * 60:
            continue
        if name in OURS:
            results[key] = run_freeze_thaw(
                surrogate, task, references[task], arguments, name=name, workers=workers, seed=seed
            )
        else:
            results[key] = run(
                surrogate,
                task,
                references[task],
                search=STRATEGIES[name],
                workers=workers,
                seed=seed,
                time_scale=log_seconds if name == "default" else float,
            )
        file.write_text(json.dumps(results), encoding="utf-8")
        print(key, results[key]["hypervolume"][14::15], file=sys.stderr)
    return results


def table(results: Mapping[str, Any], tasks: Sequence[str], workers: int) -> list[str]:
    """Mean hypervolume at shares of the budget; of the worst quarter of the seeds at the end."""
    shares = "12.5 % | 25 % | 50 % | 100 % | worst quarter"
    lines = [f"| task ({workers} workers) | strategy | seeds | {shares} |"]
    lines.append("|---|---|---:|---:|---:|---:|---:|---:|")
    names = sorted({key.split("/")[1] for key in results})
    for task in tasks:
        for name in names:
            prefix = f"{task}/{name}/{workers}/"
            runs = [one["hypervolume"] for key, one in results.items() if key.startswith(prefix)]
            if not runs:
                continue
            places = [round(share * len(SHARES)) - 1 for share in (0.125, 0.25, 0.5, 1.0)]
            means = " | ".join(f"{np.mean([one[place] for one in runs]):.3f}" for place in places)
            final = sorted(one[-1] for one in runs)
            worst = np.mean(final[: max(len(final) // 4, 1)])
            lines.append(f"| {task} | {name} | {len(runs)} | {means} | {worst:.3f} |")
    return lines


def main() -> None:
    """Run the missing simulations, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the surrogate")
    parser.add_argument("--tasks", nargs="+", required=True)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--workers", type=int, nargs="+", default=[1])
    parser.add_argument(
        "--strategies", nargs="+", default=["freeze_thaw", "default"], choices=[*OURS, *STRATEGIES]
    )
    parser.add_argument("--restore-share", type=float, default=0.01, help="of a median training")
    parser.add_argument("--settings", default="{}", help="of the decision, as JSON")
    parser.add_argument("--label", default="", help="distinguishes settings in the results")
    parser.add_argument("--results", type=Path, default=HERE / "results" / "freeze_thaw.json")
    parser.add_argument("--minutes", type=float, default=1e9, help="begin no simulation after")
    arguments = parser.parse_args()
    results = run_missing(arguments)
    for workers in arguments.workers:
        print("\n".join(table(results, arguments.tasks, workers)))


if __name__ == "__main__":
    main()
