"""Compares another checkout with this one: trainer, search loop and network.

    git worktree add ../before REVISION
    python benchmarks/before_after.py --before ../before [PART ...] [--rounds 15]

Both checkouts run in processes of their own that take turns, so that load on the machine slows
both. A figure is the median over the rounds of this checkout's seconds (bytes, for memory) divided
by the other's in the same round, with the quartiles of those ratios; below 1, this checkout is
better. The seconds of the processor are compared likewise, as load bends them less. Each checkout
runs its own `benchmarks/trainer.py`, `driver_overhead.py` and `network.py`. Prints a Markdown
table; takes about an hour on two cores.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).resolve().parents[1]
#: Training steps of one turn.
STEPS = 4
#: Trials of one turn of the search loop.
TRIALS = 150


def training_step(backend: str) -> Callable[[], Any]:
    """Prepare turns of the compiled training step of B0 at 32 px."""
    return trainer_step(backend, STEPS)


def augmented_step(backend: str) -> Callable[[], Any]:
    """Prepare turns of the step with RandAugment."""
    return trainer_step(backend, STEPS, {"rand_augment": 9.0})


def resized_step(backend: str) -> Callable[[], Any]:
    """Prepare turns of a step at 224 px of images stored at 32 px."""
    return photo_step(backend, stored_at=32)


def streamed_step(backend: str) -> Callable[[], Any]:
    """Prepare turns of a step at 224 px of images in host memory."""
    return photo_step(backend, stored_at=224, resident_bytes=0)


def trainer_step(backend: str, steps: int, changes: dict[str, Any] | None = None) -> Any:
    """Prepare `steps` compiled steps of the benchmark's recipe with some changes."""
    trainer = import_module("trainer")
    recipe = trainer.RECIPE.model_copy(update=changes)
    return compiled(trainer, trainer.make_trainer(backend), recipe, steps)


def photo_step(backend: str, *, stored_at: int, **settings: Any) -> Any:
    """Prepare a compiled step at 224 px."""
    trainer = import_module("trainer")
    digits = trainer.load_dataset(trainer.RECIPE.data, base=Path())
    images = trainer._at(digits, stored_at, 64)  # noqa: SLF001 - a benchmark of this project
    own = trainer.make_trainer(backend, images, **settings)
    return compiled(trainer, own, trainer.PHOTO_RECIPE, 1)


def compiled(trainer: Any, own: Any, recipe: Any, steps: int) -> Callable[[], Any]:
    """Compile a step; each turn runs it a number of times."""
    run = trainer._runner(own, recipe)  # noqa: SLF001 - a benchmark of this project
    run(steps)
    return lambda: run(steps)


def twelve_trials(backend: str) -> Callable[[], Any]:
    """Prepare twelve trials in one bucket, its compilation included, imports excluded."""
    trainer = import_module("trainer")
    trainer.make_trainer(backend)
    return lambda: trainer.twelve_trials(backend)


def memory(backend: str) -> Callable[[], Any]:
    """Prepare ten trials of a tiny network; their figure is the bytes of the process after them."""
    trainer = import_module("trainer")
    own = trainer.make_trainer(backend)

    def run() -> Figure:
        for seed in range(10):
            recipe = trainer.RECIPE.model_copy(
                update={"variant": "tiny", "epochs": 1, "seed": seed}
            )
            finished = trainer.train(own, recipe, seed)
        return Figure(finished.memory_bytes)

    return run


def first_step(_: str) -> Callable[[], Any]:
    """Prepare a build of B0; the figure is the seconds of its first step."""
    module = import_module("network")
    return lambda: Figure(module.measure("ours", "b0")["first step"])


def start_up(backend: str) -> Callable[[], Any]:
    """Prepare one build and compilation of a bucket, imports excluded."""
    trainer = import_module("trainer")
    own = trainer.make_trainer(backend)
    return lambda: own.bucket(trainer.RECIPE)


def search_loop(_: str) -> Callable[[], Any]:
    """Prepare turns of the search loop with trials that take no time."""
    overhead = import_module("driver_overhead")

    def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            for _ in overhead.our_loop(Path(folder), TRIALS):
                pass

    return run


def network(_: str) -> Callable[[], Any]:
    """Prepare one build of B0 as the trainer builds it."""
    module = import_module("network")
    return lambda: module.build("ours", "b0")


class Figure(float):
    """The result of a turn, where that is not its seconds."""


class Turn(NamedTuple):
    """What a turn took: seconds (or its figure), and seconds of the processor."""

    seconds: float
    processor: float


#: By name: what is prepared, the Keras backend, and whether each turn needs a new process.
PARTS: dict[str, tuple[Callable[[str], Callable[[], Any]], str, bool]] = {
    "training step, TensorFlow": (training_step, "tensorflow", False),
    "training step, JAX": (training_step, "jax", False),
    "start-up of a bucket, TensorFlow": (start_up, "tensorflow", True),
    "start-up of a bucket, JAX": (start_up, "jax", True),
    "twelve trials, TensorFlow": (twelve_trials, "tensorflow", True),
    "twelve trials, JAX": (twelve_trials, "jax", True),
    "step with RandAugment, TensorFlow": (augmented_step, "tensorflow", False),
    "step with RandAugment, JAX": (augmented_step, "jax", False),
    "step that resizes 32 to 224 px, TensorFlow": (resized_step, "tensorflow", False),
    "step that resizes 32 to 224 px, JAX": (resized_step, "jax", False),
    "step with streamed images, TensorFlow": (streamed_step, "tensorflow", False),
    "step with streamed images, JAX": (streamed_step, "jax", False),
    "memory after ten trials, TensorFlow": (memory, "tensorflow", True),
    "memory after ten trials, JAX": (memory, "jax", True),
    "search loop": (search_loop, "tensorflow", False),
    "network build, TensorFlow": (network, "tensorflow", True),
    "network build, JAX": (network, "jax", True),
    "first step of a network, TensorFlow": (first_step, "tensorflow", True),
    "first step of a network, JAX": (first_step, "jax", True),
}


def serve(part: str) -> None:
    """Run a turn for each line of stdin, and print its seconds."""
    prepare, backend, _ = PARTS[part]
    run = prepare(backend)
    print("ready", flush=True)
    for _ in sys.stdin:
        started, used = time.perf_counter(), time.process_time()
        result = run()
        seconds, processor = time.perf_counter() - started, time.process_time() - used
        print(float(result) if isinstance(result, Figure) else seconds, processor, flush=True)


def turns(checkout: Path, part: str) -> Iterator[Turn]:
    """Yield one turn after another, each run when it is asked for."""
    _, backend, fresh = PARTS[part]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(checkout / "tuner"), str(checkout / "benchmarks")]),
        "KERAS_BACKEND": backend,
        "TF_CPP_MIN_LOG_LEVEL": "2",
    }
    while True:
        with subprocess.Popen(
            [sys.executable, "-P", __file__, "--serve", part],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            if process.stdin is None or process.stdout is None:
                raise AssertionError("both are pipes")
            while process.stdout.readline().strip() != "ready":
                if process.poll() is not None:
                    raise SystemExit(f"{part}: the process of {checkout} ended")
            while True:
                process.stdin.write("\n")
                process.stdin.flush()
                yield Turn(*map(float, process.stdout.readline().split()))
                if fresh:
                    process.stdin.close()
                    break


def compare(part: str, before: Path, rounds: int) -> str:
    """Return a row of the table: medians and quartiles of the ratios over the rounds."""
    pairs = zip(turns(before, part), turns(HERE, part), strict=False)
    taken = [pair for _, pair in zip(range(rounds), pairs, strict=False)]
    cells = [
        quartiles([getattr(now, name) / getattr(then, name) for then, now in taken])
        for name in Turn._fields
    ]
    return f"| {part} | {' | '.join(cells)} | {rounds} |"


def quartiles(ratios: list[float]) -> str:
    """Return two cells of the table: the median, and the quartiles."""
    low, middle, high = statistics.quantiles(ratios, n=4)
    return f"{middle:.3f} | {low:.3f} to {high:.3f}"


def main() -> None:
    """Compare the parts that are named, or all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("parts", nargs="*", default=list(PARTS))
    parser.add_argument("--before", type=Path)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--serve")
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return
    if options.before is None:
        parser.error("--before CHECKOUT is required")
    print("| part | now / before | quartiles | processor | quartiles | rounds |", flush=True)
    print("|---|---:|---|---:|---|---:|", flush=True)
    for part in options.parts:
        rounds = max(5, options.rounds // 3) if PARTS[part][2] else options.rounds
        print(compare(part, options.before.resolve(), rounds), flush=True)


if __name__ == "__main__":
    main()
