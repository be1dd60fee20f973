"""Compares freeze-thaw, which pauses and continues trials, with other strategies on LCBench.

    python benchmarks/freeze_thaw.py --data PATH/lcbench
    python benchmarks/freeze_thaw.py --data PATH/lcbench --report

Tasks, budget and score are those of search_quality.py, and so are the simulations of the other
strategies. Here a light simulation pauses trials at their rungs and continues them. Continuing a
trial that another one was trained after costs `--restore-share` of a median training (reading its
checkpoint), and each new config `--compile-share`, for every strategy. The strategy `freeze_thaw`
predicts the seconds of a config by a Gaussian process on the trials so far, because no other
strategy has more; `freeze_thaw_known_seconds` takes the surrogate's, so it knows where the
surrogate is fast by accident as well: its figures are no evidence for real studies.

`gp` is Optuna's GPSampler. It gets log seconds, which the score is over, as `default` does; `tpe`
is Optuna's TPE as it is used, on seconds. Published optimizers are strategies, too, which
peers/__init__.py lists.

Simulations that are in the results file already are not repeated; --report writes
results/freeze_thaw.md. Needs onnxruntime, and `gp` PyTorch.
"""

from __future__ import annotations

import argparse
import heapq
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from comparison import Case, Page, add_arguments, read_results, run_missing, write_page
from peers import PEERS
from peers.simulation import run_peer
from search_quality import (
    BUDGET_TRAININGS,
    COLUMNS,
    EPOCHS,
    PROTOCOL_TASKS,
    REFERENCE,
    SHARES,
    SPACE,
    Surrogate,
    make_reference,
    run,
    score,
)
from search_quality_report import TASK_NAMES

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
from effv2_tune.search.freeze_thaw.fitting import fit
from effv2_tune.search.freeze_thaw.gaussian_process import Posterior
from effv2_tune.search.freeze_thaw.kernel import Points
from effv2_tune.search.freeze_thaw.refitting import fitted_count
from effv2_tune.search.simulation import STRATEGIES, Overhead
from effv2_tune.study.plan import HalvingSpec, SearchSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

RUNGS = (0.1, 0.22, 0.4)
#: Epochs at which a trial can be paused, and the last one.
STOPS = (*(round(share * len(EPOCHS)) for share in RUNGS), len(EPOCHS))
OURS = ("freeze_thaw", "freeze_thaw_known_seconds")
STRATEGIES_HERE = {**STRATEGIES, "gp": SearchSpec(engine="gp", halving=HalvingSpec(enabled=False))}
#: What the shares of compilation and checkpoints follow.
SHARES_MEASURED = (
    "Measured: B0 at 32 px takes 10 s to build and compile (network.md) and 0.22 s for a step of "
    "32 images (busy_machine.md), so 10 epochs of 5,000 images take 340 s, and compilation 3 % of "
    "them."
)


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
    compile_seconds: float = 0.0
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
            begin_seconds=lambda configs: np.full(len(configs), self.compile_seconds),
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
                action = self._decide(number, wall - now, idle[worker])
                if action is None:
                    break
                trial = self._begin(action)
                training = self.trials[trial]
                training.state = "running"
                stop = next(epoch for epoch in STOPS if epoch > training.done)
                takes = training.spent(stop) - training.spent(training.done)
                if not training.done:
                    takes += self.compile_seconds
                elif idle[worker] != trial:
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

    def _decide(self, number: int, seconds_left: float, here: int | None) -> Any:
        seconds = [self._seconds_of(one) for one in self.trials]
        trials = {
            place: Trial(
                one.config, known, one.state, 0.0 if place == here else self.restore_seconds
            )
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
    simulation = Simulation(
        surrogate,
        task,
        median,
        workers,
        seed,
        name == OURS[1],
        restore_seconds=arguments.restore_share * median,
        compile_seconds=arguments.compile_share * median,
        settings=settings,
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


class LCBench:
    """The simulations of the tasks.

    Args:
        arguments: Of the command line.
    """

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._arguments = arguments
        self._surrogate = Surrogate(arguments.data)
        self._references = json.loads(REFERENCE.read_text(encoding="utf-8"))
        for task in arguments.tasks:
            if task not in self._references:
                self._references[task] = make_reference(self._surrogate, task)

    def simulate(self, case: Case) -> dict[str, Any]:
        """One simulation: the hypervolume over time, and the outcomes of the trials."""
        reference, arguments = self._references[case.task], self._arguments
        if case.strategy in OURS:
            return run_freeze_thaw(
                self._surrogate,
                case.task,
                reference,
                arguments,
                name=case.strategy,
                workers=case.workers,
                seed=case.seed,
            )
        overhead = Overhead(
            restore_seconds=arguments.restore_share * reference["median_seconds"],
            compile_seconds=arguments.compile_share * reference["median_seconds"],
            bucket=repr,
        )
        if case.strategy in PEERS:
            return run_peer(
                self._surrogate,
                case.task,
                reference,
                name=case.strategy,
                workers=case.workers,
                seed=case.seed,
                overhead=overhead,
            )
        return run(
            self._surrogate,
            case.task,
            reference,
            search=STRATEGIES_HERE[case.strategy],
            workers=case.workers,
            seed=case.seed,
            time_scale=log_seconds if case.strategy in ("default", "gp") else float,
            overhead=overhead,
        )


def page(arguments: argparse.Namespace) -> Page:
    """What the page says."""
    names = {task: f"{TASK_NAMES.get(task, 'task')} ({task})" for task in arguments.tasks}
    return Page(
        name="freeze_thaw",
        title="Freeze-thaw on LCBench",
        text=(
            "Made by `python benchmarks/freeze_thaw.py --data PATH/lcbench` and the same with "
            "`--report`. Hypervolume over (accuracy, log seconds) of the trials completed at full "
            f"length when {BUDGET_TRAININGS} median full trainings have been spent by all workers "
            "together, as a share of that of 400,000 random configs.\n\n"
            "Every strategy is charged for compilation and checkpoints: each new config "
            f"{arguments.compile_share:.0%} of a median training, as if each were a bucket of its "
            "own, and each trial that is continued after its worker trained another one "
            f"{arguments.restore_share:.0%}. {SHARES_MEASURED}\n\n"
            "Freeze-thaw's settings were chosen on other tasks, but these six have been looked at "
            "while it was a prototype: count them as seen. The seconds of a config are predicted "
            "here by a model of the trials so far; a study knows them exactly where the step time "
            "of the bucket is known."
        ),
        tasks=names,
        strategies=("freeze_thaw", "default", "tpe", "gp", *PEERS),
    )


def main() -> None:
    """Run the missing simulations, or write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the surrogate")
    add_arguments(
        parser,
        tasks=PROTOCOL_TASKS,
        strategies=("freeze_thaw", "default", "tpe", "gp"),
        choices=(*OURS, *STRATEGIES_HERE, *PEERS),
        seeds=20,
        workers=(1, 4),
        results="freeze_thaw",
    )
    parser.add_argument("--restore-share", type=float, default=0.01, help="of a median training")
    parser.add_argument("--compile-share", type=float, default=0.03, help="likewise")
    parser.add_argument("--settings", default="{}", help="of the decision, as JSON")
    arguments = parser.parse_args()
    if arguments.report:
        write_page(read_results(arguments.results), page(arguments))
    else:
        run_missing(arguments, LCBench(arguments).simulate)


if __name__ == "__main__":
    main()
