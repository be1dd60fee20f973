"""Measures what a decision of freeze-thaw takes, in a study on an SQLite file.

    OPENBLAS_NUM_THREADS=1 python benchmarks/decision_time.py --trials 100 500 1000

A space of 14 dimensions with nine buckets; a quarter of the trials are complete, the others wait at
their rungs. Then some decisions are made as in a study: the answer at a rung with, where the trial
is paused, what its worker trains next. Reading the records is included; beginning a new trial in
the database is not, which is the same for all engines (driver_overhead.py). Processor time, over
all threads.
Writes benchmarks/results/decision_time.md.
"""

from __future__ import annotations

import argparse
import platform
import resource
import tempfile
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
from optuna.trial import TrialState

from effv2_tune.search.engines.action_costs import StudyCosts
from effv2_tune.search.engines.distributions import params_of_config
from effv2_tune.search.engines.freeze_thaw import FreezeThawEngine
from effv2_tune.search.engines.unit_cube import UnitCube
from effv2_tune.search.storage.database import DatabaseStorage
from effv2_tune.search.workload import BucketTime, bucket_of, seconds_of
from effv2_tune.study.bucket import DataFacts
from effv2_tune.study.plan import StudyPlan
from effv2_tune.study.trial import (
    Environment,
    Epoch,
    Measurement,
    Pause,
    RungResult,
    Scores,
    Times,
    Trial,
)
from effv2_tune.workers.messages import Ready

if TYPE_CHECKING:
    from effv2_tune.study.space import Config

RESULTS = Path(__file__).parent / "results" / "decision_time.md"
EPOCHS = 20
#: Epochs at which trials wait, and the end.
STOPS = (2, 4, 8, EPOCHS)
#: That are timed; the hyperparameters are fitted in a few of them.
DECISIONS = 40
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
PLAN = StudyPlan.from_plain(
    {
        "name": "decisions",
        "recipe": {"variant": "b0", "epochs": EPOCHS},
        "search_space": {
            "maximal_learning_rate": {"type": "float", "low": 1e-4, "high": 1e-1, "scale": "log"},
            "initial_learning_rate": {"type": "float", "low": 1e-6, "high": 1e-2, "scale": "log"},
            "weight_decay": {"type": "float", "low": 1e-7, "high": 1e-2, "scale": "log"},
            "beta_1": {"type": "float", "low": 0.8, "high": 0.99},
            "beta_2": {"type": "float", "low": 0.9, "high": 0.9999},
            "step_size_epochs": {"type": "float", "low": 1.0, "high": 5.0},
            "warmup_epochs": {"type": "float", "low": 0.5, "high": 3.0},
            "dropout": {"type": "float", "low": 0.01, "high": 0.5},
            "stochastic_depth": {"type": "float", "low": 0.01, "high": 0.5},
            "label_smoothing": {"type": "float", "low": 0.01, "high": 0.2},
            "brightness": {"type": "float", "low": 0.01, "high": 0.5},
            "contrast": {"type": "float", "low": 0.01, "high": 0.5},
            "resolution": {"type": "choice", "values": [32, 64, 96]},
            "batch_size": {"type": "choice", "values": [64, 128, 256]},
        },
        "trials": 100_000,
    }
)
READY = Ready(
    environment=Environment(
        device_kind="simulated",
        device_count=1,
        backend="tensorflow",
        precision="float32",
        threads=1,
        host="simulated",
        versions={},
    ),
    data=DataFacts(
        classes=10, image_shape=(96, 96, 3), train=10_000, validation=2000, test=1, digest="d"
    ),
)


@dataclass
class Study:
    """A study that is filled with trials, and then continued decision by decision."""

    storage: DatabaseStorage
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def __post_init__(self) -> None:
        """Bind the images, and time the nine buckets."""
        self.storage.bind(READY)
        self.cube = UnitCube(PLAN.search_space)
        self.minutes = 0
        for point in self.rng.random((200, self.cube.dimensions)):
            bucket = bucket_of(PLAN.recipe_for(self.cube.config(point)), READY)
            seconds = 1e-6 * bucket.resolution**2 * bucket.batch
            self.storage.keep_bucket_time(bucket, BucketTime(label="", step_seconds=seconds))

    def begin(self, number: int, config: Config) -> Trial:
        """The record of a trial that begins."""
        recipe = PLAN.recipe_for(config)
        return Trial(
            number=number,
            state="running",
            config=config,
            recipe=recipe,
            bucket=bucket_of(recipe, READY),
            environment=READY.environment,
            times=Times(compile=10.0, checkpoint=0.5),
            attempts=1,
        )

    def fill(self, trials: int) -> None:
        """Begin so many trials, and train each to a rung or to the end."""
        for number in range(trials):
            config = self.cube.config(self.rng.random(self.cube.dimensions))
            params, distributions = params_of_config(PLAN.search_space, config)
            template = optuna.trial.create_trial(
                state=TrialState.RUNNING, params=params, distributions=distributions
            )
            self.storage.begin(template, number)
            trial = self.begin(number, config)
            for _ in range((4, 1, 1, 2)[number % 4]):
                trial = self.train(trial)
            self.leave(trial)

    def train(self, trial: Trial) -> Trial:
        """Train a trial to its next rung, or to its end."""
        self.minutes += 1
        rung = len(trial.rungs)
        stop = STOPS[rung]
        curve = (
            *trial.curve,
            *map(self._epoch(trial.config), range(len(trial.curve) + 1, stop + 1)),
        )
        quality = curve[-1].validation.accuracy
        now = BEGAN + timedelta(minutes=self.minutes)
        changes: dict[str, Any] = {"curve": curve, "state": "running", "pause": None}
        if stop == EPOCHS:
            seconds = self._seconds(trial)
            changes |= {
                "state": "complete",
                "ended": now,
                "scores": curve[-1].validation,
                "standard_errors": curve[-1].standard_errors,
                "measurement": Measurement(quality=quality, train_seconds=seconds),
            }
        else:
            changes |= {
                "rungs": (*trial.rungs, self.result(trial, rung, quality)),
                "rung_times": (*trial.rung_times, now),
            }
        return trial.model_copy(update=changes)

    def result(self, trial: Trial, rung: int, quality: float) -> RungResult:
        """What is compared at a rung."""
        return RungResult(
            rung=rung, epoch=STOPS[rung], quality=quality, projected_seconds=self._seconds(trial)
        )

    def leave(self, trial: Trial) -> None:
        """Finish a complete trial, or pause it at its last rung."""
        if trial.state == "complete":
            self.storage.finish(trial)
            return
        rung, moment = trial.rungs[-1], trial.rung_times[-1]
        pause = Pause(rung=rung.rung, epoch=rung.epoch, step=1, since=moment)
        self.storage.pause(trial.model_copy(update={"state": "paused", "pause": pause}))

    def _epoch(self, config: Config) -> Any:
        point = self.cube.point(config)
        reach = 0.9 - 0.6 * float(np.mean((point - 0.6) ** 2))

        def epoch(number: int) -> Epoch:
            accuracy = reach * (1 - np.exp(-number / (2 + 3 * point[0])))
            return Epoch(
                epoch=number,
                learning_rate=0.1,
                train_loss=1.0,
                train_accuracy=0.5,
                validation=_scores(float(accuracy)),
                standard_errors=_scores(0.01),
                seconds=1.0,
            )

        return epoch

    def _seconds(self, trial: Trial) -> float:
        if trial.bucket is None or trial.recipe is None:
            raise AssertionError("a trial has a bucket")
        time_ = self.storage.bucket_time(trial.bucket)
        if time_ is None:
            raise AssertionError("all buckets are timed")
        return seconds_of(trial.recipe, READY, time_)


def _scores(value: float) -> Scores:
    return Scores(accuracy=value, balanced_accuracy=value, macro_f1=value, top5=value, loss=value)


class Worker:
    """One worker of a study, which takes what the engine decides."""

    def __init__(self, study: Study) -> None:
        self._study = study
        self._engine = FreezeThawEngine(
            study.storage,
            PLAN,
            costs=StudyCosts(PLAN, study.storage).given,
            epochs=lambda _: EPOCHS,
        )
        self.seconds: list[float] = []
        self._at_rung = 0.0

    def act(self) -> None:
        """Take an action, and train its trial until it is paused or complete."""
        storage, began = self._study.storage, time.process_time()
        number = self._engine.choose_paused(storage.trials(), seconds_left=1e9)
        self.seconds.append(self._at_rung + time.process_time() - began)
        self._at_rung = 0.0
        if number is None:
            asked = self._engine.ask()
            trial = self._study.begin(asked.number, asked.config)
        else:
            trial = next(one for one in storage.trials() if one.number == number)
            trial = trial.model_copy(update={"state": "running", "pause": None})
            storage.take_paused(trial)
        trial = self._study.train(trial)
        while trial.state != "complete" and self._is_promoted(trial):
            trial = self._study.train(trial)
        self._study.leave(trial)

    def _is_promoted(self, trained: Trial) -> bool:
        """The answer at the rung that a trial has reached; timed as a decision of its own.

        If the trial is paused, the decision ends with the next choice of the free worker.
        """
        *rungs, reached = trained.rungs
        waiting = trained.model_copy(
            update={"rungs": tuple(rungs), "rung_times": trained.rung_times[:-1]}
        )
        began = time.process_time()
        known = self._study.storage.trials()
        decision = self._engine.decide(waiting, reached, known, seconds_left=1e9)
        self._at_rung = time.process_time() - began
        if decision.answer == "promote":
            self._study.storage.save(trained)
            self.seconds.append(self._at_rung)
            self._at_rung = 0.0
        return decision.answer == "promote"


def measure(trials: int, folder: Path) -> tuple[list[float], float]:
    """Processor seconds of each decision at so many trials, and MiB of the process."""
    storage = DatabaseStorage(f"sqlite:///{folder / f'{trials}.db'}", PLAN.name)
    study = Study(storage)
    study.fill(trials)
    worker = Worker(study)
    worker.act()  # reads all records for the first time
    worker.seconds.clear()
    while len(worker.seconds) < DECISIONS:
        worker.act()
    storage.close()
    return worker.seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Measure, print the table, and write it down."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, nargs="+", default=[100, 500, 1000])
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    counts = " ".join(map(str, arguments.trials))
    lines = [
        "# What a decision of freeze-thaw takes",
        "",
        (
            f"`OPENBLAS_NUM_THREADS=1 python benchmarks/decision_time.py --trials {counts}`: "
            f"processor milliseconds of one core ({platform.machine()}) for a decision, which is "
            "the answer at a rung with, where the trial is paused, what its worker trains next; "
            f"the records are read from an SQLite file. {len(PLAN.search_space.dimensions())} "
            f"dimensions, nine buckets, {DECISIONS} decisions or more, the fits of "
            "hyperparameters among them included. Bound at trial 500: 100 ms."
        ),
        "",
        "| trials | median, ms | mean, ms | longest, ms | peak memory of the process, MiB |",
        "|---:|---:|---:|---:|---:|",
    ]
    with tempfile.TemporaryDirectory() as folder:
        for trials in arguments.trials:
            seconds, mebibytes = measure(trials, Path(folder))
            middle, mean, longest = (
                1000 * float(of(seconds)) for of in (np.median, np.mean, np.max)
            )
            lines.append(
                f"| {trials} | {middle:.0f} | {mean:.0f} | {longest:.0f} | {mebibytes:.0f} |"
            )
    print("\n".join(lines))
    RESULTS.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
