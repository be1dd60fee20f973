"""Compares another checkout with this one: training step, start-up, search loop, network.

    git worktree add ../before REVISION
    python benchmarks/before_after.py --before ../before [PART ...] [--rounds 15]

Both checkouts run in processes of their own that take turns, so that load on the machine slows
both. A figure is the median over the rounds of this checkout's seconds divided by the other's in
the same round, with the quartiles of those ratios; below 1, this checkout is faster. Each checkout
runs its own `benchmarks/trainer.py`, `driver_overhead.py` and `network.py`. Prints a Markdown
table; takes about 15 minutes on two cores.
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
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).resolve().parents[1]
#: Training steps of one turn.
STEPS = 4
#: Trials of one turn of the search loop.
TRIALS = 150


def training_step(backend: str) -> Callable[[], Any]:
    """Prepare turns of the compiled training step of B0 at 32 px."""
    trainer = import_module("trainer")
    run = trainer._runner(trainer.make_trainer(backend))  # noqa: SLF001 - a benchmark of this project
    run(STEPS)
    return lambda: run(STEPS)


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


#: By name: what is prepared, the Keras backend, and whether each turn needs a new process.
PARTS: dict[str, tuple[Callable[[str], Callable[[], Any]], str, bool]] = {
    "training step, TensorFlow": (training_step, "tensorflow", False),
    "training step, JAX": (training_step, "jax", False),
    "start-up of a bucket, TensorFlow": (start_up, "tensorflow", True),
    "start-up of a bucket, JAX": (start_up, "jax", True),
    "search loop": (search_loop, "tensorflow", False),
    "network build, TensorFlow": (network, "tensorflow", True),
    "network build, JAX": (network, "jax", True),
}


def serve(part: str) -> None:
    """Run a turn for each line of stdin, and print its seconds."""
    prepare, backend, _ = PARTS[part]
    run = prepare(backend)
    print("ready", flush=True)
    for _ in sys.stdin:
        started = time.perf_counter()
        run()
        print(time.perf_counter() - started, flush=True)


def turns(checkout: Path, part: str) -> Iterator[float]:
    """Yield the seconds of one turn after another, each run when it is asked for."""
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
                yield float(process.stdout.readline())
                if fresh:
                    process.stdin.close()
                    break


def compare(part: str, before: Path, rounds: int) -> str:
    """Return a row of the table: ratio of medians, and the quartiles over the rounds."""
    pairs = zip(turns(before, part), turns(HERE, part), strict=False)
    ratios = [now / then for _, (then, now) in zip(range(rounds), pairs, strict=False)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    return f"| {part} | {middle:.3f} | {low:.3f} to {high:.3f} | {rounds} |"


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
    print("| part | now / before | quartiles | rounds |\n|---|---:|---|---:|", flush=True)
    for part in options.parts:
        rounds = max(5, options.rounds // 3) if PARTS[part][2] else options.rounds
        print(compare(part, options.before.resolve(), rounds), flush=True)


if __name__ == "__main__":
    main()
