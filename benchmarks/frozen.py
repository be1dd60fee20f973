"""Times 50 trials of the original recipe on cached features, and the same trials by Keras' ``fit``.

    python benchmarks/frozen.py --data cifar10.npz [--part weights|extract|trials|fit|report]

All of CIFAR-10 (an ``npz`` with x_train, y_train, x_test, y_test): B0 at 64 and at 96 pixels, 25
trials each with different learning-rate bounds, weight decay, cycle length and dropout; 25 epochs,
batch size 128. The weights are trained here first, to a validation accuracy of at least 0.4, so
that a mistake would show in the accuracies. ``fit`` is timed on one epoch and extrapolated to 25
epochs of 25 trials. Each part keeps its results under --work: the same command resumes. Writes
benchmarks/results/frozen.md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from pretraining import pretrain

from effv2_tune.host import probe_host
from effv2_tune.workers.launch import worker_environment

RESULTS = Path(__file__).parent / "results" / "frozen.md"
SIDES = (64, 96)
TRIALS_EACH = 25
EPOCHS = 25
BATCH = 128
LEAST_ACCURACY = 0.4
WEIGHTS_SIDE = 64
WEIGHTS_EPOCHS = 3
PARTS = ("weights", "extract", "trials", "fit", "report")


def main() -> None:
    """Run one part, or all of them in order."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("runs/benchmark-frozen"))
    parser.add_argument("--part", choices=PARTS)
    parser.add_argument("--backend", choices=["tensorflow", "jax"], default="tensorflow")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--train", type=int, help="fewer training images, to try it out")
    parser.add_argument("--least-accuracy", type=float, default=LEAST_ACCURACY)
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    os.environ["KERAS_BACKEND"] = arguments.backend
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    bench = Benchmark(arguments)
    if arguments.worker is not None:
        share = bench.extract_share if arguments.part == "extract" else bench.train_trials
        share(arguments.worker)
        return
    for part in PARTS if arguments.part is None else [arguments.part]:
        getattr(bench, part)()


class Benchmark:
    """The parts, and the files of their results."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.work: Path = arguments.work.resolve()
        self.work.mkdir(parents=True, exist_ok=True)
        # Features of its own: none that earlier runs left would be found.
        os.environ["EFFV2_TUNE_CACHE"] = str(self.work / "cache")

    # --- what is trained

    def data(self) -> Any:
        """CIFAR-10 as in a study: 45,000, 5,000 and 10,000 images."""
        from effv2_tune.study.recipe import DataSpec

        path = str(self.arguments.data.resolve())
        validation = 0.1 if self.arguments.train is None else self.arguments.train // 9
        return DataSpec(
            name="npz", path=path, validation=validation, train=self.arguments.train, stratify=False
        )

    def recipe(self, side: int, trial: int = 0) -> Any:
        """The recipe of a trial: the original first, then random hyperparameters."""
        from effv2_tune.study.recipe import Recipe

        rng = np.random.default_rng([side, trial])
        drawn = {
            "maximal_learning_rate": 10 ** rng.uniform(-3, -1),
            "initial_learning_rate": 10 ** rng.uniform(-6, -3),
            "weight_decay": 10 ** rng.uniform(-6, -3),
            "step_size_epochs": float(rng.choice([1, 2, 3])),
            "dropout": rng.uniform(0, 0.5),
        }
        original = {
            "maximal_learning_rate": 5e-2,
            "initial_learning_rate": 1e-4,
            "weight_decay": 1e-5,
            "step_size_epochs": 2.0,
            "dropout": 0.1,
        }
        return Recipe(
            variant="b0",
            resolution=side,
            backbone="frozen",
            features="require",
            weights=str(self.work / "b0.weights.h5"),
            epochs=EPOCHS,
            batch_size=BATCH,
            optimizer="adabelief",
            schedule="triangular2",
            select="best",
            seed=trial,
            data=self.data(),
            **(drawn if trial else original),
        )

    def trainer(self) -> Any:
        """A trainer on the CPU."""
        from effv2_tune.data import load_dataset
        from effv2_tune.training.devices import open_device
        from effv2_tune.training.trainer import Trainer

        dataset = load_dataset(self.data(), base=Path())
        return Trainer(dataset, open_device(self.arguments.backend, hardware="cpu"))

    # --- the parts

    def weights(self) -> None:
        """Train the backbone from scratch, and keep it without its classifier head."""
        path = self.work / "b0.weights.h5"
        if path.exists():
            return
        from effv2_tune.study.recipe import Recipe

        recipe = Recipe(
            variant="b0",
            resolution=WEIGHTS_SIDE,
            epochs=WEIGHTS_EPOCHS,
            batch_size=BATCH,
            optimizer="adamw",
            epsilon=1e-7,
            schedule="cosine",
            warmup_epochs=0.5,
            initial_learning_rate=1e-5,
            maximal_learning_rate=3e-3,
            stochastic_depth=0.0,
            flip=True,
            data=self.data(),
        )
        metrics = pretrain(recipe, self.work / "weights", path)
        accuracy = metrics["validation"]["accuracy"]
        if accuracy < self.arguments.least_accuracy:
            path.unlink()
            sys.exit(f"The weights reach {accuracy:.3f} only; remove {self.work}, train longer.")
        self.keep("weights", {"accuracy": accuracy, "seconds": metrics["times"]["wall"]})

    def extract(self) -> None:
        """Extract the features of all images, those of the test split included, in parallel."""
        if self.found("extract"):
            return
        started = time.perf_counter()
        self.start_workers("extract")
        wall = time.perf_counter() - started
        self.keep(
            "extract", {"wall": wall} | {str(side): self.found(f"set-{side}") for side in SIDES}
        )
        print(f"extraction: {wall:.1f} s", flush=True)

    def extract_share(self, worker: int) -> None:
        """Extract one worker's share."""
        trainer = self.trainer()
        for side in SIDES[worker :: self.arguments.workers]:
            started = time.perf_counter()
            recipe = self.recipe(side)
            features = trainer._features.features(recipe, "float32")  # noqa: SLF001 - no trial yet
            trainer._features.add_test(features, recipe)  # noqa: SLF001
            wall = time.perf_counter() - started
            self.keep(f"set-{side}", {"wall": wall, "counted": features.extraction_seconds})

    def trials(self) -> None:
        """Train all trials in worker processes, except those of an earlier call."""
        sessions = self.found("sessions")
        before = len(self.trained())
        missing = 2 * TRIALS_EACH - before
        if not missing:
            return
        started = time.perf_counter()
        codes = self.start_workers("trials")
        seconds = time.perf_counter() - started
        trained = len(self.trained()) - before
        self.keep(
            "sessions",
            {
                "seconds": [*sessions.get("seconds", []), seconds],
                "trials": [*sessions.get("trials", []), trained],
            },
        )
        print(f"{missing} trials in {seconds:.1f} s", flush=True)
        if any(codes):
            sys.exit(1)

    def start_workers(self, part: str) -> list[int]:
        """Their exit codes. As `run --workers` has them: each with its share of the processors."""
        given = [word for word in sys.argv[1:] if word != "--part" and word not in PARTS]
        environment = worker_environment(
            self.arguments.backend,
            "cpu",
            workers=self.arguments.workers,
            cpu_count=len(os.sched_getaffinity(0)),
        )
        workers = [
            subprocess.Popen(
                [sys.executable, __file__, *given, "--part", part, "--worker", str(number)],
                env=os.environ | environment,
            )
            for number in range(self.arguments.workers)
        ]
        return [worker.wait() for worker in workers]

    def train_trials(self, worker: int) -> None:
        """Train one worker's share, bucket after bucket."""
        from effv2_tune.workers.messages import Train

        everything = [(side, trial) for side in SIDES for trial in range(TRIALS_EACH)]
        trainer = self.trainer()
        share = -(-len(everything) // self.arguments.workers)
        for side, trial in everything[worker * share : (worker + 1) * share]:
            name = f"trial-{side}-{trial}"
            if (self.work / f"{name}.json").exists():
                continue
            started = time.perf_counter()
            order = Train(
                trial=trial,
                recipe=self.recipe(side, trial),
                rungs=(),
                step_seconds=None,
                checkpoint=self.work / "checkpoints" / name,
            )
            finished = trainer.train_trial(
                order, on_event=lambda _: None, should_continue=lambda _: True
            )
            wall = time.perf_counter() - started
            counts = trainer.test(order.recipe, order.checkpoint)
            self.keep(
                name,
                {
                    "side": side,
                    "wall": wall,
                    "accuracy": finished.scores.accuracy,
                    "test_accuracy": int(counts.correct.sum()) / counts.images,
                    "step": finished.times.step_median,
                    "times": finished.times.model_dump(),
                },
            )

    def fit(self) -> None:
        """One epoch by Keras' ``fit`` at each resolution, the original way."""
        facts = self.found("fit")
        for side in SIDES:
            if str(side) not in facts:
                facts[str(side)] = self.fit_one_epoch(side)
                self.keep("fit", facts)
                print(f"fit, one epoch at {side} px: {facts[str(side)]:.1f} s", flush=True)

    def fit_one_epoch(self, side: int) -> float:
        """Seconds of an epoch with its validation; compilation is over before."""
        import keras

        from effv2_tune import AdaBelief, CyclicalLearningRate
        from effv2_tune.data import load_dataset
        from effv2_tune.network import stock_model, training_network

        recipe = self.recipe(side)
        dataset = load_dataset(self.data(), base=Path())
        network = training_network("b0", classes=len(dataset.classes), weights=recipe.weights)
        whole = stock_model(network, image_shape=(32, 32, 3), resolution=side, scaling="tf")
        whole.trainable = False
        features = keras.layers.Dropout(recipe.dropout)(whole.get_layer("avg_pool").output)
        answers = keras.layers.Dense(len(dataset.classes), activation="softmax")(features)
        model = keras.Model(whole.input, answers)
        steps = len(dataset.train) // BATCH
        schedule = CyclicalLearningRate(
            initial_learning_rate=recipe.initial_learning_rate,
            maximal_learning_rate=recipe.maximal_learning_rate,
            step_size=2 * steps,
            policy="triangular2",
        )
        model.compile(
            AdaBelief(schedule, weight_decay=recipe.weight_decay),
            loss="sparse_categorical_crossentropy",
            metrics=["accuracy"],
        )
        train, validation = dataset.train, dataset.validation

        def run(count: int) -> float:
            started = time.perf_counter()
            model.fit(
                train.images[:count],
                train.labels[:count],
                validation_data=(validation.images, validation.labels),
                batch_size=BATCH,
                verbose=0,
            )
            return time.perf_counter() - started

        run(2 * BATCH)
        return run(len(train))

    def report(self) -> None:
        """Write the results."""
        weights, extract, fit = (self.found(name) for name in ("weights", "extract", "fit"))
        sessions = self.found("sessions").get("seconds", [])
        trained = self.trained()
        if sum(self.found("sessions").get("trials", [])) != len(trained):
            sys.exit(f"A part was killed, its time is unknown: remove {self.work}/trial-*.json.")
        if not (weights and extract and fit) or len(trained) < 2 * TRIALS_EACH:
            sys.exit("Parts are missing; run them first.")
        extraction = extract["wall"]
        ours = extraction + sum(sessions)
        theirs = sum(fit[str(side)] for side in SIDES) * EPOCHS * TRIALS_EACH
        rows = []
        for side in SIDES:
            own = [one for one in trained if one["side"] == side]
            accuracies = [one["accuracy"] for one in own]
            best = max(own, key=lambda one: one["accuracy"])
            rows.append(
                f"| B0 at {side} px | {extract[str(side)]['wall']:.1f} | "
                f"{np.median([one['wall'] for one in own]):.2f} | "
                f"{1000 * np.median([one['step'] for one in own]):.2f} | {fit[str(side)]:.1f} | "
                f"{min(accuracies):.4f} to {max(accuracies):.4f} | {best['test_accuracy']:.4f} |"
            )
        cores = len(os.sched_getaffinity(0))
        setting = (
            f"`python benchmarks/frozen.py --data cifar10.npz`, on {cores} cores "
            f"({probe_host().cpu}), {self.arguments.backend}, {self.arguments.workers} workers "
            f"({len(sessions)} start). {2 * TRIALS_EACH} trials of {EPOCHS} epochs, batch {BATCH}, "
            "CIFAR-10 (60,000 images, from JPEG); weights trained here before, to a validation "
            f"accuracy of {weights['accuracy']:.3f}."
        )
        head = (
            "| | extraction by one worker, s (60,000 images) | a trial in its worker, s (median) | "
            "step, ms (median) | one epoch of `fit`, s | validation accuracy | "
            "test accuracy of the best |"
        )
        total = (
            f"* All {2 * TRIALS_EACH} trials: **{ours:.0f} s**, of which extraction "
            f"{extraction:.0f} s; that is {sum(sessions) / len(trained):.2f} s a trial after "
            "extraction, with start and compilation of the workers (asked: at most 2 s)."
        )
        by_fit = (
            "* The same by `keras.Model.fit`, extrapolated from one epoch each: "
            f"{theirs / 3600:.1f} hours."
        )
        ratio = f"* Ratio: **{theirs / ours:.0f}** (asked: at least 100)."
        title = "# Trials on a frozen backbone's cached features"
        lines = [title, "", setting, "", head, "| --- " * 7 + "|", *rows, "", total, by_fit, ratio]
        RESULTS.write_text("\n".join([*lines, ""]), encoding="utf-8")
        print(RESULTS.read_text(encoding="utf-8"))

    # --- what was found

    def keep(self, name: str, facts: dict[str, Any]) -> None:
        """Write results atomically."""
        writing = self.work / f"{name}.writing"
        writing.write_text(json.dumps(facts, indent=2))
        writing.replace(self.work / f"{name}.json")

    def found(self, name: str) -> dict[str, Any]:
        """Results of a part; empty if it has not run."""
        path = self.work / f"{name}.json"
        return dict(json.loads(path.read_text())) if path.exists() else {}

    def trained(self) -> list[dict[str, Any]]:
        """The finished trials."""
        return [self.found(path.stem) for path in sorted(self.work.glob("trial-*.json"))]


if __name__ == "__main__":
    main()
