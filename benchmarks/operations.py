"""Times the layers that are faster in training than Keras' own, forward pass and gradients.

    python benchmarks/operations.py

Depthwise convolutions and batch normalizations of the shapes that B0 has, each compiled by itself
and alternating with the stock layer, medians; then the whole training step of B0 with all stock
layers and with these. One process for each backend. Writes benchmarks/results/operations.md.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from effv2_tune.host import probe_host

if TYPE_CHECKING:
    from collections.abc import Callable

RESULTS = Path(__file__).parent / "results" / "operations.md"
ROUNDS = 7
#: Images, side, channels, stride: from B0 at 32, 64, 128 and 224 px.
DEPTHWISE = [
    (128, 4, 192, 2),
    (128, 2, 480, 1),
    (128, 1, 1152, 1),
    (64, 4, 480, 1),
    (64, 2, 1152, 1),
    (32, 8, 480, 1),
    (32, 4, 1152, 1),
    (16, 14, 480, 1),
    (16, 7, 1152, 1),
]
BATCH_NORM = [(128, 16, 32), (128, 2, 480), (16, 56, 128), (16, 14, 480)]
STEPS = [(32, 128), (96, 32)]

Row = tuple[str, float, float]


def main() -> None:
    """Run both backends, print, and write down."""
    rows = []
    for backend in ("tensorflow", "jax"):
        environment = os.environ | {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
        command = [sys.executable, __file__, "inside"]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
        rows += [
            f"| {backend} | {name} | {1000 * stock:.2f} ms | {1000 * here:.2f} ms | "
            f"{here / stock:.2f} |"
            for name, stock, here in json.loads(done.stdout.splitlines()[-1])
        ]
    table = "\n".join(
        ["| backend | forward and gradients of | stock | here | ratio |", "|" + "---|" * 5, *rows]
    )
    print(table)
    host = probe_host()
    heading = (
        "# Layers that compute faster in training\n\nWritten by `python benchmarks/operations.py`"
    )
    machine = f"{host.cpu}, {host.cpu_count} cores."
    text = f"{heading}; its first lines say what is measured.\n\n{machine}\n\n{table}\n"
    RESULTS.write_text(text, encoding="utf-8")


def inside() -> list[Row]:
    """All rows of this process's backend."""
    import keras

    from effv2_tune.catalog import find_variant
    from effv2_tune.network.layers import LayerKinds, LayerMaker

    def both(make_layer: Callable[[LayerMaker], Any], shape: tuple[int, ...]) -> tuple[float, ...]:
        calls = []
        for kinds in (LayerKinds(), quick_kinds()):
            make = LayerMaker(
                find_variant("b0"),
                dtype="float32",
                batch_norm_momentum=0.9,
                batch_norm_epsilon=1e-3,
                kinds=kinds,
            )
            calls.append(compiled(keras.backend.backend(), make_layer(make), shape))
        return in_turns(calls)

    rows: list[Row] = []
    for images, side, width, stride in DEPTHWISE:
        name = f"depthwise, {images} of {side}x{side}x{width}, stride {stride}"
        shape = (images, side, side, width)
        rows.append(
            (name, *both(lambda make, w=width, s=stride: make.depthwise("one", w, stride=s), shape))
        )
    for images, side, width in BATCH_NORM:
        name = f"batch normalization, {images} of {side}x{side}x{width}"
        shape = (images, side, side, width)
        rows.append((name, *both(lambda make, w=width: make.batch_norm("one", w), shape)))
    return rows + [whole_step(side, batch) for side, batch in STEPS]


def quick_kinds() -> Any:
    """The layers of the networks here."""
    from effv2_tune.network.fast_layers import FastBatchNormalization, FastDepthwiseConv2D
    from effv2_tune.network.layers import LayerKinds

    return LayerKinds(FastDepthwiseConv2D, FastBatchNormalization)


def compiled(backend: str, layer: Any, shape: tuple[int, ...]) -> Callable[[], None]:
    """Forward and gradients of one layer, as a training step has them."""
    images = np.random.default_rng(0).normal(size=shape).astype("float32")
    said = {"training": True} if "Normalization" in type(layer).__name__ else {}
    if backend == "tensorflow":
        import tensorflow as tf

        @tf.function(autograph=False)
        def step(images: Any) -> Any:
            with tf.GradientTape() as tape:
                tape.watch(images)
                result = layer(images, **said)
            weights = [v.value for v in layer.trainable_variables]
            return tape.gradient(result, [images, *weights], result)

        given = tf.constant(images)

        def run() -> None:
            for gradient in step(given):
                gradient.numpy()

        return run
    import jax

    trained, others = (
        [v.value for v in variables]
        for variables in (layer.trainable_variables, layer.non_trainable_variables)
    )

    @jax.jit
    def jax_step(images: Any, trained: Any) -> Any:
        def forward(images: Any, trained: Any) -> Any:
            return layer.stateless_call(trained, others, images, **said)

        result, back, _ = jax.vjp(forward, images, trained, has_aux=True)
        return back(result)

    placed = jax.numpy.asarray(images)
    return lambda: jax.block_until_ready(jax_step(placed, trained))


def in_turns(calls: list[Callable[[], None]], repeats: int = 3) -> tuple[float, ...]:
    """Median seconds of a call of each; the first two turns compile and warm up."""
    times: list[list[float]] = [[] for _ in calls]
    for turn in range(ROUNDS + 2):
        for call, taken in zip(calls, times, strict=True):
            started = time.perf_counter()
            for _ in range(repeats):
                call()
            if turn > 1:
                taken.append((time.perf_counter() - started) / repeats)
    return tuple(statistics.median(taken) for taken in times)


def whole_step(side: int, batch: int) -> Row:
    """A training step of B0, of stock layers and of these."""
    import keras

    from effv2_tune.data import load_dataset
    from effv2_tune.network import model
    from effv2_tune.network.layers import LayerKinds
    from effv2_tune.study.recipe import DataSpec, Recipe
    from effv2_tune.training.compiled import CompiledBucket
    from effv2_tune.training.devices import open_device
    from effv2_tune.training.inputs.pipeline import image_sources
    from effv2_tune.training.trainer import Trainer

    spec = DataSpec(train=256, validation=128, test=300)
    recipe = Recipe(variant="b0", resolution=side, batch_size=batch, data=spec)
    dataset = load_dataset(spec, base=Path())
    backend = keras.backend.backend()
    device = open_device(backend, hardware="cpu")
    trainer = Trainer(dataset, device)
    data = device.backend.place(image_sources(dataset), 1 << 30)
    calls = []
    for kinds in (LayerKinds(), quick_kinds()):
        model.LayerKinds = lambda *_, kinds=kinds: kinds  # type: ignore[assignment,misc]
        key = trainer.bucket_key(recipe)
        bucket = CompiledBucket(recipe, key, dataset, data, backend=device.backend, base=Path())
        bucket.compile(recipe)
        bucket.start_first_epoch(recipe)
        calls.append(lambda bucket=bucket: bucket.steps.run(0, 1))
    stock, here = in_turns(calls, repeats=1)
    return f"training step of B0 at {side} px, batch {batch}", stock, here


if __name__ == "__main__":
    if sys.argv[1:] == ["inside"]:
        print(json.dumps(inside()))
    else:
        main()
