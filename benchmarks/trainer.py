"""Measures what one compilation for all trials saves, and the speed of the training step.

    python benchmarks/trainer.py [PART ...] [--backend tensorflow|jax] [--tuner-trials 3]

Each part runs in its own process; by default all parts run, on TensorFlow:

* `twelve`: twelve short trials in one bucket (B0 at 32 px, 1,280 images, batch 128, 2 epochs)
  against the same trials in Keras Tuner, start-up and compilation included. Of Keras Tuner, only
  `--tuner-trials` are run and the rest is extrapolated: each of its trials builds and compiles
  anew, so they all cost the same (12 runs all).
* `step`: the steady step against a minimal hand-written loop below, and against
  `keras.Model.fit`, of the same network at the same size; alternating, medians.
* `resize`: 32 -> 224 px inside the step against Pillow on the host.
* `stream`: images streamed from host memory against images on the device.
* `augment`: a step with RandAugment, and one with random crops, against one with neither; images
  stored at 32 px, B0 at 32 px.
* `memory`: resident memory over 40 trials in one worker.

Writes benchmarks/results/trainer.md, or trainer_jax.md, when all parts are run.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from effv2_tune.data import Dataset, Split, load_dataset
from effv2_tune.host import probe_host
from effv2_tune.study.recipe import DataSpec, Recipe
from effv2_tune.workers.messages import Train

if TYPE_CHECKING:
    from collections.abc import Callable

    from effv2_tune.training.trainer import Trainer

RESULTS = {
    "tensorflow": Path(__file__).parent / "results" / "trainer.md",
    "jax": Path(__file__).parent / "results" / "trainer_jax.md",
}
PARTS = ("twelve", "step", "resize", "stream", "augment", "memory")
TRIALS = 12
IMAGES = 1280
BATCH = 128
SIDE = 32
ROUNDS = 7
RECIPE = Recipe(
    variant="b0",
    resolution=SIDE,
    epochs=2,
    batch_size=BATCH,
    optimizer="adamw",
    epsilon=1e-7,
    data=DataSpec(train=IMAGES, validation=128, test=300),
)

Row = tuple[str, str, str]


def main() -> None:
    """Run the parts, print them, and write them down."""
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="*", default=PARTS)
    parser.add_argument("--backend", choices=["tensorflow", "jax"], default="tensorflow")
    parser.add_argument("--tuner-trials", type=int, default=3)
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        print(json.dumps(_inside(options.inside, options.backend, options.tuner_trials)))
        return
    rows = [row for part in options.parts for row in _part(part, options)]
    table = "\n".join(["| | measured | bound |", "|---|---|---|", *map(_line, rows)])
    print(table)
    if tuple(options.parts) == PARTS:
        host = probe_host()
        command = f"python benchmarks/trainer.py --backend {options.backend}"
        heading = f"# The trainer\n\nWritten by `{command}`; its first lines say "
        machine = f"{host.cpu}, {host.cpu_count} cores, {options.backend}."
        text = f"{heading}what is measured.\n\n{machine}\n\n{table}\n"
        RESULTS[options.backend].write_text(text, encoding="utf-8")


def _line(row: Row) -> str:
    return "| " + " | ".join(row) + " |"


def _part(part: str, options: argparse.Namespace) -> list[Row]:
    """The rows of one part; `twelve` takes two processes, timed from outside."""
    if part != "twelve":
        said, _ = _process(part, options)
        return [tuple(row) for row in said]
    (traces, accuracy), ours = _process("twelve", options)
    (per_trial,), theirs = _process("tuner", options)
    estimate = theirs + per_trial * (TRIALS - options.tuner_trials)
    extrapolated = "" if options.tuner_trials == TRIALS else f" ({options.tuner_trials} trials run)"
    return [
        (f"{TRIALS} trials here", f"{ours:.1f} s, best accuracy {accuracy:.2f}", ""),
        (f"{TRIALS} trials in Keras Tuner", f"{estimate:.1f} s{extrapolated}", ""),
        ("ratio", f"{ours / estimate:.3f}", "0.17"),
        ("traces of the training step", str(traces), "1"),
    ]


def _process(part: str, options: argparse.Namespace) -> tuple[Any, float]:
    """The output of a part in a fresh process, and its wall time."""
    command = [sys.executable, __file__, "--inside", part, "--backend", options.backend]
    command += ["--tuner-trials", str(options.tuner_trials)]
    environment = os.environ | {"KERAS_BACKEND": options.backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    started = time.perf_counter()
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout.splitlines()[-1]), time.perf_counter() - started


def _inside(part: str, backend: str, tuner_trials: int) -> list[Any]:
    if part == "twelve":
        return twelve_trials(backend)
    if part == "tuner":
        return keras_tuner_trials(tuner_trials)
    parts = {
        "step": step,
        "resize": resize,
        "stream": stream,
        "augment": augment,
        "memory": memory,
    }
    return parts[part](backend)


# --- twelve trials --------------------------------------------------------------------------------


def make_trainer(backend: str, dataset: Dataset | None = None, **settings: Any) -> Trainer:
    """A trainer on this machine's CPU."""
    from effv2_tune.training.devices import open_device
    from effv2_tune.training.trainer import Trainer

    dataset = dataset or load_dataset(RECIPE.data, base=Path())
    return Trainer(dataset, open_device(backend, hardware="cpu"), **settings)


def train(trainer: Trainer, recipe: Recipe, number: int = 0) -> Any:
    """One trial."""
    with tempfile.TemporaryDirectory() as folder:
        order = Train(
            trial=number, recipe=recipe, rungs=(), step_seconds=None, checkpoint=Path(folder)
        )
        return trainer.train_trial(order, on_event=lambda _: None, should_continue=lambda _: True)


def learning_rates() -> list[float]:
    """One for each trial."""
    return [float(rate) for rate in np.geomspace(1e-4, 1e-2, TRIALS)]


def twelve_trials(backend: str) -> list[Any]:
    """Traces, and the best validation accuracy."""
    trainer = make_trainer(backend)
    best = 0.0
    for number, rate in enumerate(learning_rates()):
        recipe = RECIPE.with_settings(
            initial_learning_rate=1e-5, maximal_learning_rate=rate, schedule="constant"
        )
        best = max(best, train(trainer, recipe, number).scores.accuracy)
    return [trainer.traces, best]


def keras_tuner_trials(trials: int) -> list[Any]:
    """Seconds of a trial: the network of keras.applications, and Keras' own AdamW and `fit`."""
    import keras
    import keras_tuner

    dataset = load_dataset(RECIPE.data, base=Path())
    train_images, validation_images = (
        enlarged(split.images, SIDE) for split in (dataset.train, dataset.validation)
    )

    def build(choose: Any) -> Any:
        model = keras.applications.EfficientNetV2B0(
            weights=None, classes=10, input_shape=(SIDE, SIDE, 3)
        )
        rate = choose.Float("learning_rate", 1e-4, 1e-2, sampling="log")
        decay = choose.Float("weight_decay", 1e-6, 1e-3, sampling="log")
        model.compile(
            keras.optimizers.AdamW(rate, weight_decay=decay),
            loss="sparse_categorical_crossentropy",
            metrics=["accuracy"],
        )
        return model

    class Search(keras_tuner.RandomSearch):  # type: ignore[misc]
        def _configure_tensorboard_dir(self, *_: Any, **__: Any) -> None:
            """Without it the search needs tensorboard, which TensorFlow no longer brings."""

    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        search = Search(build, objective="val_accuracy", max_trials=trials, directory=folder)
        search.search(
            train_images,
            dataset.train.labels,
            validation_data=(validation_images, dataset.validation.labels),
            epochs=RECIPE.epochs,
            batch_size=BATCH,
            verbose=0,
        )
    return [(time.perf_counter() - started) / trials]


# --- the step -------------------------------------------------------------------------------------


def step(backend: str) -> list[Row]:
    """The steady step, against a hand-written loop, and against `fit`."""
    trainer = make_trainer(backend)
    bucket = trainer.bucket(RECIPE)
    bucket.start(RECIPE)
    by_hand = (tensorflow_loop if backend == "tensorflow" else jax_loop)(trainer.dataset)
    candidates: dict[str, Callable[[int], Any]] = {
        "here": _runner(trainer),
        "by hand": by_hand,
        "fit": fit_loop(trainer.dataset),
    }
    seconds = in_turns(candidates, steps=4)
    ours = seconds["here"]
    return [
        ("step here", f"{1000 * ours:.0f} ms", ""),
        ("ratio to a minimal loop by hand", f"{ours / seconds['by hand']:.3f}", "1.05"),
        ("ratio to keras.Model.fit", f"{ours / seconds['fit']:.3f}", "1"),
    ]


def in_turns(candidates: dict[str, Callable[[int], Any]], steps: int) -> dict[str, float]:
    """Median seconds of a step of each; alternating, so that load slows all alike."""
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for turn in range(ROUNDS + 1):
        for name, run in candidates.items():
            started = time.perf_counter()
            run(steps)
            if turn:  # the first one compiles
                times[name].append((time.perf_counter() - started) / steps)
    return {name: statistics.median(taken) for name, taken in times.items()}


def _runner(trainer: Trainer, recipe: Recipe = RECIPE) -> Callable[[int], Any]:
    """The bucket's step, as a trial runs it."""
    from effv2_tune.training.inputs.shuffling import epoch_mixing, epoch_order

    bucket = trainer.bucket(recipe)
    bucket.start(recipe)
    batch = trainer.bucket_key(recipe).batch
    order = epoch_order(0, 0, images=len(trainer.dataset.train), batch=batch)
    mixing = epoch_mixing(0, 0, steps=len(order), mixup=0.0, cutmix=0.0)

    def run(steps: int) -> Any:
        bucket.steps.begin_epoch(order, mixing)
        return bucket.steps.run(0, steps)

    return run


def tensorflow_loop(dataset: Dataset) -> Callable[[int], Any]:
    """A hand-written step: gather, resize, forward, gradients, Keras' AdamW."""
    import keras
    import tensorflow as tf

    from effv2_tune.network import preprocess, training_network

    network = training_network("b0", classes=10, resolution=SIDE)
    optimizer = keras.optimizers.AdamW(1e-3, weight_decay=1e-5)
    optimizer.build(network.trainable_variables)
    pixels, truth = tf.constant(dataset.train.images), tf.constant(dataset.train.labels)
    loss_of = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    @tf.function(autograph=False)
    def train_step(indices: Any) -> Any:
        images = preprocess(tf.gather(pixels, indices), SIDE, scaling="tf")
        with tf.GradientTape() as tape:
            loss = loss_of(tf.gather(truth, indices), network(images, training=True))
        gradients = tape.gradient(loss, [v.value for v in network.trainable_variables])
        optimizer.apply(gradients)
        return loss

    rng = np.random.default_rng(0)

    def run(steps: int) -> Any:
        losses = [train_step(rng.integers(0, IMAGES, BATCH, np.int32)) for _ in range(steps)]
        return float(losses[-1])

    return run


def jax_loop(dataset: Dataset) -> Callable[[int], Any]:
    """A hand-written step: gather, resize, forward, gradients, Optax' AdamW."""
    import jax
    import jax.numpy as jnp
    import optax

    from effv2_tune.network import preprocess, training_network

    network = training_network("b0", classes=10, resolution=SIDE)
    optimizer = optax.adamw(1e-3, weight_decay=1e-5)
    pixels, truth = jnp.asarray(dataset.train.images), jnp.asarray(dataset.train.labels)

    def train_step(trained: Any, others: Any, moments: Any, data: Any, indices: Any) -> Any:
        pixels, truth = data
        images = preprocess(pixels[indices], SIDE, scaling="tf")

        def loss_of(trained: Any) -> Any:
            logits, new_others = network.stateless_call(trained, others, images, training=True)
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, truth[indices])
            return losses.mean(), new_others

        (loss, others), gradients = jax.value_and_grad(loss_of, has_aux=True)(trained)
        updates, moments = optimizer.update(gradients, moments, trained)
        return optax.apply_updates(trained, updates), others, moments, loss

    compiled = jax.jit(train_step, donate_argnums=(0, 1, 2))
    trained = [jnp.array(v) for v in network.trainable_variables]
    state = (trained, [jnp.array(v) for v in network.non_trainable_variables])
    carried: list[Any] = [*state, optimizer.init(trained)]
    rng = np.random.default_rng(0)

    def run(steps: int) -> Any:
        loss = None
        for _ in range(steps):
            indices = rng.integers(0, IMAGES, BATCH, np.int32)
            *updated, loss = compiled(*carried, (pixels, truth), indices)
            carried[:] = updated
        return float(loss)

    return run


def fit_loop(dataset: Dataset) -> Callable[[int], Any]:
    """`keras.Model.fit` of the same network, on images that are resized already."""
    import keras

    from effv2_tune.network import training_network

    network = training_network("b0", classes=10, resolution=SIDE)
    network.compile(
        keras.optimizers.AdamW(1e-3, weight_decay=1e-5),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    images = enlarged(dataset.train.images, SIDE).astype("float32") / 128 - 1

    def run(steps: int) -> Any:
        wanted = steps * BATCH
        network.fit(images[:wanted], dataset.train.labels[:wanted], batch_size=BATCH, verbose=0)

    return run


def enlarged(images: np.ndarray, side: int) -> np.ndarray:
    """Images resized by Pillow, as one would before training."""
    from PIL import Image

    size = (side, side)
    resized = [Image.fromarray(one).resize(size, Image.Resampling.BILINEAR) for one in images]
    return np.stack([np.asarray(one) for one in resized])


# --- resize, stream, augment, memory ------------------------------------------------------------

PHOTO = 224
PHOTO_BATCH = 16
PHOTO_RECIPE = RECIPE.with_settings(resolution=PHOTO, batch_size=PHOTO_BATCH, variant="b0")


def _at(dataset: Dataset, side: int, count: int) -> Dataset:
    """The first images of each split, stored at another size."""

    def split(one: Split) -> Split:
        return Split(enlarged(one.images[:count], side), one.labels[:count])

    return replace(
        dataset,
        train=split(dataset.train),
        validation=split(dataset.validation),
        test=split(dataset.test),
    )


def resize(backend: str) -> list[Row]:
    """Resize inside the step against resize on the host, 32 -> 224."""
    digits = load_dataset(RECIPE.data, base=Path())
    small, large = _at(digits, SIDE, 64), _at(digits, PHOTO, 64)
    inside = _runner(make_trainer(backend, small), PHOTO_RECIPE)
    stored = _runner(make_trainer(backend, large), PHOTO_RECIPE)

    def on_host(steps: int) -> Any:
        for _ in range(steps):
            enlarged(small.train.images[:PHOTO_BATCH], PHOTO)
        return stored(steps)

    seconds = in_turns({"inside": inside, "host": on_host, "none": stored}, steps=1)
    return [
        (
            "32 -> 224 px inside the step, against Pillow on the host",
            f"{seconds['inside'] / seconds['host']:.3f}",
            "",
        ),
        ("... against no resizing at all", f"{seconds['inside'] / seconds['none']:.3f}", ""),
    ]


def stream(backend: str) -> list[Row]:
    """Images from host memory against images on the device."""
    digits = _at(load_dataset(RECIPE.data, base=Path()), PHOTO, 64)
    resident = _runner(make_trainer(backend, digits), PHOTO_RECIPE)
    streamed = _runner(make_trainer(backend, digits, resident_bytes=0), PHOTO_RECIPE)
    seconds = in_turns({"resident": resident, "streamed": streamed}, steps=2)
    ratio = seconds["streamed"] / seconds["resident"]
    return [("streamed against resident, 224 px", f"{ratio:.3f}", "1.05")]


def augment(backend: str) -> list[Row]:
    """A step with RandAugment, or random crops, against one without."""
    digits = _at(load_dataset(RECIPE.data, base=Path()), SIDE, IMAGES)
    changes: dict[str, dict[str, Any]] = {
        "none": {},
        "RandAugment, two changes": {"rand_augment": 9.0},
        "random crops": {"random_crop": 0.5},
    }
    trainer = make_trainer(backend, digits)
    runners = {name: _runner(trainer, RECIPE.with_settings(**c)) for name, c in changes.items()}
    seconds = in_turns(runners, steps=4)
    return [
        (f"step with {name}, against none", f"{seconds[name] / seconds['none']:.3f}", "")
        for name in changes
        if name != "none"
    ]


def memory(backend: str) -> list[Row]:
    """Resident memory after 40 trials against that after 8."""
    trainer = make_trainer(backend)
    sizes = []
    for number in range(40):
        recipe = RECIPE.with_settings(variant="tiny", epochs=1, seed=number)
        sizes.append(train(trainer, recipe, number).memory_bytes)
    ratio = sizes[-1] / sizes[7]
    return [("resident memory after 40 trials, against that after 8", f"{ratio:.3f}", "1.05")]


if __name__ == "__main__":
    main()
