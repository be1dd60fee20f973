"""Times one update of all variables of EfficientNetV2-B0, relative to Keras' AdamW.

    python benchmarks/optimizers.py [--backends tensorflow jax] [--rounds 30]

Each backend runs in its own process, where the optimizers alternate after a few updates each, so
that other load on the machine affects all alike. A ratio is the median over the rounds of a round's
time over that of Keras' AdamW in the same round. "Start" is tracing and compiling the first update.
Writes benchmarks/results/optimizers.md; takes about two minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

RESULTS = Path(__file__).parent / "results" / "optimizers.md"
BACKENDS = ("tensorflow", "jax")
UPDATES_PER_ROUND = 5
CYCLE = {"initial_learning_rate": 1e-4, "maximal_learning_rate": 1e-3, "step_size": 100.0}
BASELINE = "Keras' AdamW"


@dataclass(frozen=True)
class Figures:
    """The measurements of one optimizer.

    Attributes:
        name: In the table.
        start_seconds: Tracing, compiling and running the first update.
        milliseconds: Median time of one update.
        ratio: Median ratio to the baseline.
        operations: In the TensorFlow graph of the update; 0 on JAX.
    """

    name: str
    start_seconds: float
    milliseconds: float
    ratio: float
    operations: int


def optimizers() -> dict[str, Callable[[], Any]]:
    """Every optimizer that is measured, with weight decay; ours with a cyclical learning rate."""
    import keras

    from effv2_tune.optimizers import (
        AdaBelief,
        AdamW,
        CyclicalLearningRate,
        StaticConfig,
        StepOptimizer,
    )

    def schedule() -> CyclicalLearningRate:
        return CyclicalLearningRate.triangular2(*CYCLE.values())

    return {
        BASELINE: lambda: keras.optimizers.AdamW(1e-3, weight_decay=1e-5),
        "Keras' AdamW, our schedule": lambda: keras.optimizers.AdamW(schedule(), weight_decay=1e-5),
        "AdamW": lambda: AdamW(schedule(), weight_decay=1e-5),
        "AdaBelief": lambda: AdaBelief(schedule(), weight_decay=1e-5),
        "StepOptimizer, AdaBelief": lambda: StepOptimizer(
            StaticConfig(schedule="triangular2"), CYCLE | {"weight_decay": 1e-5}
        ),
    }


def b0_arrays() -> list[np.ndarray[Any, Any]]:
    """Arrays in the shapes of B0's trainable variables, with a head of 10 classes."""
    import keras

    network = keras.applications.EfficientNetV2B0(weights=None, classes=10)
    draw = np.random.default_rng(0).standard_normal
    return [draw(tuple(v.shape)).astype("float32") * 0.05 for v in network.trainable_variables]


def tensorflow_update(optimizer: Any, arrays: list[Any]) -> tuple[Callable[[], None], Any]:
    """One update as a compiled call; and how to count the operations of its graph."""
    import keras
    import tensorflow as tf

    variables = [keras.Variable(array) for array in arrays]
    gradients = [tf.Variable(array / 5) for array in arrays]
    optimizer.build(variables)
    step = tf.function(
        lambda: optimizer.apply([g.read_value() for g in gradients], variables), autograph=False
    )
    return step, lambda: len(step.get_concrete_function().graph.get_operations())


def jax_update(optimizer: Any, arrays: list[Any]) -> tuple[Callable[[], None], Any]:
    """One update as a compiled call that waits for its end, weights and state donated."""
    import jax
    import keras

    optimizer.build([keras.Variable(array) for array in arrays])
    gradients = [jax.numpy.array(array / 5) for array in arrays]
    is_flat = hasattr(optimizer, "initial_state")
    state = optimizer.initial_state() if is_flat else [v.value for v in optimizer.variables]
    carried = [[jax.numpy.array(array) for array in arrays], state]
    step = jax.jit(
        lambda weights, state: optimizer.stateless_apply(state, gradients, weights),
        donate_argnums=(0, 1),
    )

    def update() -> None:
        carried[:] = step(*carried)
        jax.block_until_ready(carried)

    return update, lambda: 0


def measure(rounds: int) -> list[Figures]:
    """Measure every optimizer on the backend of this process."""
    import keras

    on_tensorflow = keras.backend.backend() == "tensorflow"
    prepare = tensorflow_update if on_tensorflow else jax_update
    arrays = b0_arrays()
    updates, starts, sizes = {}, {}, {}
    for name, make in optimizers().items():
        updates[name], count = prepare(make(), arrays)
        began = time.perf_counter()
        updates[name]()
        starts[name] = time.perf_counter() - began
        sizes[name] = count()
    seconds: dict[str, list[float]] = {name: [] for name in updates}
    for _ in range(rounds):
        for name, update in updates.items():
            update()  # brings its own weights and moments into the caches
            began = time.perf_counter()
            for _ in range(UPDATES_PER_ROUND):
                update()
            seconds[name].append((time.perf_counter() - began) / UPDATES_PER_ROUND)
    baseline = np.asarray(seconds[BASELINE])
    return [
        Figures(
            name,
            starts[name],
            1e3 * float(np.median(seconds[name])),
            float(np.median(np.asarray(seconds[name]) / baseline)),
            sizes[name],
        )
        for name in updates
    ]


def measured_apart(backend: str, rounds: int) -> list[Figures]:
    """Measure in a fresh process with this backend."""
    done = subprocess.run(
        [sys.executable, __file__, "--measure", "--rounds", str(rounds)],
        env=os.environ | {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=True,
    )
    return [Figures(**figures) for figures in json.loads(done.stdout.splitlines()[-1])]


def table(backend: str, figures: list[Figures]) -> str:
    """The figures of one backend as Markdown."""
    rows = [
        f"| {one.name} | {one.milliseconds:.1f} | {one.ratio:.2f} | {one.start_seconds:.1f} "
        f"| {f'{one.operations:,}' if one.operations else ''} |"
        for one in figures
    ]
    head = ["| | ms an update | ratio | start, s | graph operations |", "|---|---|---|---|---|"]
    return "\n".join([f"## {backend} {version(backend)}", "", *head, *rows])


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--backends", nargs="+", default=BACKENDS, choices=BACKENDS)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--measure", action="store_true", help="in this process, as JSON")
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps([asdict(figures) for figures in measure(arguments.rounds)]))
        return
    machine = (
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"Keras {version('keras')}, {arguments.rounds} rounds of {UPDATES_PER_ROUND} updates."
    )
    page = [
        "# One update of EfficientNetV2-B0's variables",
        "Written by `python benchmarks/optimizers.py`; see its first lines for what is measured.",
        "243 variables, 5,871,514 weights, weight decay on; ours with a triangular2 schedule.",
        machine,
        *(
            table(backend, measured_apart(backend, arguments.rounds))
            for backend in arguments.backends
        ),
    ]
    text = "\n\n".join(page) + "\n"
    print(text)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(text)


if __name__ == "__main__":
    main()
