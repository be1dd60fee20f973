"""Measures build time and first training step of the networks and of keras.applications'.

    python benchmarks/network.py [--repeats 3] [--variants b0 s] [--backends tensorflow jax]

Each network is built in a fresh process, with random weights and 10 classes, and trained on 8
images of 64 x 64 by plain gradient descent. Its first step is traced, compiled and run; a later
step is the median of five. Networks alternate, and medians are compared. Writes
benchmarks/results/network.md (a few minutes on two cores).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

RESULTS = Path(__file__).parent / "results" / "network.md"
BATCH, PIXELS, CLASSES = 8, 64, 10
QUANTITIES = ("build", "first step", "later step")


def build(maker: str, variant: str) -> Any:
    """The network of `variant` by `maker`: `ours` or `keras.applications`."""
    if maker == "ours":
        from effv2_tune.network import training_network

        return training_network(variant, classes=CLASSES, resolution=PIXELS)
    import keras

    return getattr(keras.applications, f"EfficientNetV2{variant.upper()}")(
        weights=None,
        classes=CLASSES,
        input_shape=(PIXELS, PIXELS, 3),
        include_preprocessing=False,
        classifier_activation=None,
    )


def make_step(network: Any, images: Any, labels: Any) -> Any:
    """A function that trains the network for one step, and returns when it is done."""
    import keras

    def loss_of(logits: Any) -> Any:
        losses = keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)
        return keras.ops.mean(losses)

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        @tf.function  # type: ignore[untyped-decorator]
        def step() -> Any:
            with tf.GradientTape() as tape:
                loss = loss_of(network(images, training=True))
            gradients = tape.gradient(loss, [v.value for v in network.trainable_variables])
            for variable, gradient in zip(network.trainable_variables, gradients, strict=True):
                variable.assign_sub(1e-3 * gradient)
            return loss

        return lambda: step().numpy()

    import jax

    def forward(trained: Any, other: Any) -> Any:
        logits, other = network.stateless_call(trained, other, images, training=True)
        return loss_of(logits), other

    @jax.jit
    def update(trained: Any, other: Any) -> Any:
        (_, other), gradients = jax.value_and_grad(forward, has_aux=True)(trained, other)
        return [w - 1e-3 * g for w, g in zip(trained, gradients, strict=True)], other

    state = (
        [v.value for v in network.trainable_variables],
        [v.value for v in network.non_trainable_variables],
    )

    def run() -> None:
        nonlocal state
        state = jax.block_until_ready(update(*state))

    return run


def measure(maker: str, variant: str) -> dict[str, float]:
    """Seconds of each quantity, in this process."""
    import keras
    import numpy as np

    keras.ops.convert_to_numpy(keras.ops.ones((2, 2)) @ keras.ops.ones((2, 2)))  # start the device
    start = time.perf_counter()
    network = build(maker, variant)
    built = time.perf_counter()
    rng = np.random.default_rng(0)
    images = keras.ops.convert_to_tensor(
        rng.standard_normal((BATCH, PIXELS, PIXELS, 3), dtype="float32")
    )
    step = make_step(network, images, rng.integers(0, CLASSES, BATCH))
    called = time.perf_counter()
    step()
    stepped = time.perf_counter()
    later = []
    for _ in range(5):
        before = time.perf_counter()
        step()
        later.append(time.perf_counter() - before)
    return dict(zip(QUANTITIES, (built - start, stepped - called, median(later)), strict=True))


def measure_apart(backend: str, maker: str, variant: str) -> dict[str, float]:
    """The same in a fresh process on `backend`."""
    done = subprocess.run(
        [sys.executable, __file__, "--measure", maker, variant],
        env=os.environ | {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def kept_rows() -> dict[tuple[str, ...], str]:
    """The rows of the table as it is, by (backend, network, quantity)."""
    lines = RESULTS.read_text().splitlines() if RESULTS.is_file() else []
    cells = {line: tuple(cell.strip() for cell in line.split("|")[1:4]) for line in lines}
    return {key: line for line, key in cells.items() if key[2:] and key[2] in QUANTITIES}


def write(rows: Iterable[str]) -> None:
    """Put the rows under a heading that says where they were measured."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("keras", "tensorflow", "jax"))
    place = f"on {os.cpu_count()} cores ({platform.machine()}), {versions}"
    work = f"{BATCH} images of {PIXELS} x {PIXELS}, float32, seconds (medians)"
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(
        "\n".join(
            [
                "# Build and first step of a network",
                "",
                f"`python benchmarks/network.py` {place}; {work}.",
                "",
                "| backend | network | quantity | ours | keras.applications | ratio |",
                "| --- | --- | --- | ---: | ---: | ---: |",
                *rows,
                "",
            ]
        )
    )


def main() -> None:
    """Measure every network in turn and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--variants", nargs="+", default=["b0", "s"])
    parser.add_argument("--backends", nargs="+", default=["tensorflow", "jax"])
    parser.add_argument("--measure", nargs=2, metavar=("MAKER", "VARIANT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(*options.measure)))
        return
    rows = kept_rows()
    for backend in options.backends:
        for variant in options.variants:
            runs: dict[str, list[dict[str, float]]] = {"ours": [], "keras.applications": []}
            for _ in range(options.repeats):
                for maker, kept in runs.items():
                    kept.append(measure_apart(backend, maker, variant))
            for quantity in QUANTITIES:
                ours, theirs = (median(run[quantity] for run in kept) for kept in runs.values())
                row = (
                    f"| {backend} | {variant} | {quantity} | {ours:.2f} | {theirs:.2f} "
                    f"| {ours / theirs:.2f} |"
                )
                rows[backend, variant, quantity] = row
                print(row, flush=True)
            write(rows.values())


if __name__ == "__main__":
    main()
