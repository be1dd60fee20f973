"""Compares the hypervolume of the Pareto front over training time with that of other strategies.

    python benchmarks/search_quality.py --data PATH/lcbench --seeds 20

LCBench (Zimmer, Lindauer, Hutter 2021) as the surrogate of YAHPO Gym (Pfisterer et al. 2022): a
model of 2,000 learning curves per task, over batch size, learning rate, momentum, weight decay,
depth, width and dropout of a multi-layer perceptron. A simulation follows its curves on a
simulated clock; the search code is that of real studies.

Budget: the seconds of 30 median full trainings of the task, summed over the workers, pruned
trials included. Score: hypervolume over
(accuracy, log seconds) of the trials completed at full length, divided by that of the front of
400,000 random configs (`lcbench_reference.json`, made by --reference). Needs onnxruntime.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from effv2_tune.pareto import hypervolume
from effv2_tune.pareto.hypervolume import log_seconds
from effv2_tune.search.simulation import NO_OVERHEAD, STRATEGIES, Overhead, run_simulation
from effv2_tune.study.plan import StudyPlan
from effv2_tune.study.space import Space
from effv2_tune.study.trial import Measurement

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from effv2_tune.search.simulation import SimulatedTrial
    from effv2_tune.study.plan import SearchSpec

    Curve = Callable[[Mapping[str, Any]], Iterator[tuple[int, float, float]]]

HERE = Path(__file__).parent
REFERENCE = HERE / "lcbench_reference.json"
#: The tasks of the protocol: image data and the three large tabular ones.
PROTOCOL_TASKS = ("189908", "168331", "167152", "189906", "168330", "168329")
BUDGET_TRAININGS = 30
#: Points in time at which the hypervolume is noted, as shares of the budget.
SHARES = tuple((step + 1) / 60 for step in range(60))
# Column order of the surrogate (yahpo_gym/benchmarks/lcbench.py); another order gives nonsense.
COLUMNS = (
    "batch_size",
    "learning_rate",
    "momentum",
    "weight_decay",
    "num_layers",
    "max_units",
    "max_dropout",
)
#: Epoch 1 is untrained and 52 repeats 51 (YAHPO Gym's FAQ).
EPOCHS = np.arange(2, 52)
SPACE = Space.model_validate(
    {
        "batch_size": {"type": "int", "low": 16, "high": 512, "scale": "log"},
        "learning_rate": {"type": "float", "low": 1e-4, "high": 1e-1, "scale": "log"},
        "momentum": {"type": "float", "low": 0.1, "high": 0.99},
        "weight_decay": {"type": "float", "low": 1e-5, "high": 1e-1},
        "num_layers": {"type": "int", "low": 1, "high": 5},
        "max_units": {"type": "int", "low": 64, "high": 1024, "scale": "log"},
        "max_dropout": {"type": "float", "low": 0.0, "high": 1.0},
    }
)


class Surrogate:
    """The surrogate model of LCBench.

    Args:
        folder: With model.onnx and encoding.json.
    """

    def __init__(self, folder: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
        encoding = json.loads((folder / "encoding.json").read_text(encoding="utf-8"))
        self._tasks = encoding["OpenML_task_id"]

    def ask(self, task: str, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Accuracy in per cent and cumulative seconds of rows of (epoch, *COLUMNS)."""
        tasks = np.full((len(rows), 1), self._tasks[task], np.int32)
        feed = {"x_cat": tasks, "x_cont": rows.astype(np.float32)}
        answer = self._session.run(None, feed)[0].astype(float)
        return np.clip(answer[:, 1], 0, 100), np.maximum(answer[:, 0], 1e-3)

    def curve(self, task: str) -> Curve:
        """The learning curves of a task."""

        def curve(config: Mapping[str, Any]) -> Iterator[tuple[int, float, float]]:
            settings = np.array([config[name] for name in COLUMNS], float)
            rows = np.column_stack([EPOCHS, np.tile(settings, (len(EPOCHS), 1))])
            accuracy, seconds = self.ask(task, rows)
            # The surrogate's time goes back in 7 % of the curves.
            cumulative = np.maximum.accumulate(seconds)
            yield from zip(
                range(1, len(EPOCHS) + 1), accuracy.tolist(), cumulative.tolist(), strict=True
            )

        return curve


def random_configs(count: int, generator: np.random.Generator) -> np.ndarray:
    """Rows of (last epoch, *COLUMNS), evenly over the space."""
    columns = [np.full(count, EPOCHS[-1], float)]
    for name in COLUMNS:
        parameter: Any = SPACE.parameters[name]
        low, high = float(parameter.low), float(parameter.high)
        if parameter.scale == "log":
            values = np.exp(generator.uniform(np.log(low), np.log(high), count))
        else:
            values = generator.uniform(low, high, count)
        columns.append(np.round(values) if parameter.type == "int" else values)
    return np.column_stack(columns)


def make_reference(surrogate: Surrogate, task: str) -> dict[str, float]:
    """Scales and best known hypervolume of a task, from 400,000 random configs."""
    generator = np.random.default_rng(0)
    accuracies, seconds = [], []
    for _ in range(20):
        accuracy, duration = surrogate.ask(task, random_configs(20_000, generator))
        accuracies.append(accuracy)
        seconds.append(duration)
    return reference_of(np.concatenate(accuracies), np.concatenate(seconds))


def reference_of(accuracy: np.ndarray, duration: np.ndarray) -> dict[str, float]:
    """Scales and hypervolume of the front, by the accuracies and seconds of random configs."""
    reference = {
        # The worst thousandth lies outside.
        "worst_accuracy": float(np.quantile(accuracy, 0.001)),
        "best_accuracy": float(accuracy.max()),
        "slowest": float(np.quantile(duration, 0.999)),
        "fastest": float(duration.min()),
        "median_seconds": float(np.median(duration)),
        "hypervolume": 1.0,
    }
    points = list(zip(accuracy.tolist(), duration.tolist(), strict=True))
    return reference | {"hypervolume": score(points, reference)}


def score(points: Sequence[tuple[float, float]], reference: Mapping[str, float]) -> float:
    """Share of the best known hypervolume that (accuracy, seconds) points cover."""
    corner = Measurement(quality=reference["worst_accuracy"], train_seconds=reference["slowest"])
    measured = [Measurement(quality=a, train_seconds=s) for a, s in points]
    area = hypervolume(measured, corner)
    height = reference["best_accuracy"] - reference["worst_accuracy"]
    width = np.log(reference["slowest"] / reference["fastest"])
    return float(area / (height * width) / reference["hypervolume"])


class Curves(Protocol):
    """Learning curves of some tasks."""

    def curve(self, task: str) -> Curve:
        """The learning curves of a task."""


def run(
    surrogate: Curves,
    task: str,
    reference: Mapping[str, float],
    *,
    search: SearchSpec,
    workers: int,
    seed: int,
    time_scale: Callable[[float], float] = log_seconds,
    space: Space = SPACE,
    overhead: Overhead = NO_OVERHEAD,
) -> dict[str, Any]:
    """One simulation: the hypervolume over time, and the outcomes of the trials."""
    budget = BUDGET_TRAININGS * reference["median_seconds"]
    plan = StudyPlan(
        name="lcbench",
        search_space=space,
        accelerator_hours=budget / 3600,
        workers=workers,
        search=search.model_copy(update={"seed": seed}),
    )
    curve = surrogate.curve(task)
    trials = run_simulation(plan, curve, time_scale=time_scale, overhead=overhead)
    complete = sorted((trial.stop, *trial.values) for trial in trials if trial.values is not None)
    over_time = []
    for share in SHARES:
        so_far = [(a, s) for stop, a, s in complete if stop * workers <= share * budget]
        over_time.append(round(score(so_far, reference), 5))
    states = [trial.state for trial in trials]
    return {
        "hypervolume": over_time,
        "complete": states.count("complete"),
        "pruned": states.count("pruned"),
        "regret": _regret(trials, curve, reference),
    }


def _regret(
    trials: Iterable[SimulatedTrial],
    curve: Curve,
    reference: Mapping[str, float],
) -> dict[str, float]:
    """The cost of pruning: how many pruned trials would have joined the final front.

    ``lost`` is their share of the pruned trials; ``hypervolume`` the sum of what they would add.
    """
    trials = list(trials)
    complete = [trial.values for trial in trials if trial.values is not None]
    stopped = [trial for trial in trials if trial.state == "pruned"]
    if not stopped:
        return {"lost": 0.0, "hypervolume": 0.0}
    ends = [list(curve(trial.config))[-1][1:] for trial in stopped]
    now = score(complete, reference)
    lost = sum(score([*complete, end], reference) > now + 1e-9 for end in ends)
    return {
        "lost": round(lost / len(stopped), 4),
        "hypervolume": round(score([*complete, *ends], reference) - now, 5),
    }


def run_all(
    surrogate: Surrogate,
    references: Mapping[str, Mapping[str, float]],
    arguments: argparse.Namespace,
    strategies: Mapping[str, SearchSpec],
) -> dict[str, Any]:
    """All simulations that are not in the results file yet."""
    file = arguments.results
    results = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    began = time.monotonic()
    for seed in seeds:
        for task in arguments.tasks:
            for name, search in strategies.items():
                for workers in arguments.workers:
                    key = f"{task}/{name}/{workers}/{seed}"
                    if key in results or time.monotonic() - began > arguments.minutes * 60:
                        continue
                    results[key] = run(
                        surrogate,
                        task,
                        references[task],
                        search=search,
                        workers=workers,
                        seed=seed,
                        time_scale=log_seconds if name == "default" else float,
                    )
        file.write_text(json.dumps(results), encoding="utf-8")
        print(f"seed {seed}: {len(results)} simulations", file=sys.stderr)
    return results


def main() -> None:
    """Run the missing simulations, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the surrogate")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--tasks", nargs="+", default=list(PROTOCOL_TASKS))
    parser.add_argument("--workers", type=int, nargs="+", default=[1])
    parser.add_argument(
        "--strategies", nargs="+", default=["default", "tpe", "random+halving"], choices=STRATEGIES
    )
    parser.add_argument("--results", type=Path, default=HERE / "results" / "search_quality.json")
    parser.add_argument("--minutes", type=float, default=1e9, help="begin no simulation after")
    parser.add_argument("--reference", action="store_true", help="make the reference file anew")
    arguments = parser.parse_args()
    surrogate = Surrogate(arguments.data)
    references = json.loads(REFERENCE.read_text(encoding="utf-8")) if REFERENCE.is_file() else {}
    for task in arguments.tasks:
        if arguments.reference or task not in references:
            references[task] = make_reference(surrogate, task)
            REFERENCE.write_text(json.dumps(references, indent=1) + "\n", encoding="utf-8")
    strategies = {name: STRATEGIES[name] for name in arguments.strategies}
    results = run_all(surrogate, references, arguments, strategies)
    for workers in arguments.workers:
        for task in arguments.tasks:
            for name in strategies:
                found = [
                    one
                    for key, one in results.items()
                    if key.startswith(f"{task}/{name}/{workers}/")
                ]
                final = [one["hypervolume"][-1] for one in found]
                print(task, name, workers, f"{np.mean(final):.4f} ± {np.std(final):.4f}")


if __name__ == "__main__":
    main()
