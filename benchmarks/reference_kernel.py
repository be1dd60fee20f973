"""Compares reference kernels: how closely they follow the steps of networks on a CPU.

    python benchmarks/reference_kernel.py --backend tensorflow [--minutes 2]

The speed of a processor is not constant: clocks, other guests of the host, caches. A measured step
time is that of steps divided by that of a reference kernel beside, so what counts is how much this
quotient varies. Windows of four buckets alternate with each kernel; a figure is the standard
deviation of the medians of ten windows, of the logarithm, as a percentage: about what repeated
measurements of a bucket differ by. The process has real-time priority where that is allowed. Adds
a table to benchmarks/results/reference_kernel.md.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from busy_buckets import DATA, Buckets, real_time_priority
from busy_machine import BACKENDS

from effv2_tune.host import probe_host
from effv2_tune.training.backends import reference

if TYPE_CHECKING:
    from collections.abc import Callable

    from effv2_tune.training.devices import Device
    from effv2_tune.training.trainer import Trainer

RESULTS = Path(__file__).parent / "results" / "reference_kernel.md"
WINDOW_SECONDS = 0.12
BLOCK = 10
#: Images, their side, channels, and convolutions.
SIZES = ((16, 16, 32, 3), (16, 16, 32, 12), (8, 32, 64, 3), (32, 32, 32, 3), (32, 64, 32, 1))


def kernels(device: Device) -> dict[str, Callable[[], None]]:
    """A window of each kernel."""
    windows = {}
    for batch, side, channels, convolutions in SIZES:
        reference.SIZES["cpu"] = reference.KernelSize(batch, side, channels, convolutions)
        run = device.backend.reference_kernel().run
        megabytes = 4 * batch * side**2 * channels / 2**20
        name = f"{convolutions} convolutions of {megabytes:.1f} MB"
        windows[name] = repeated(run, seconds_of(run))
    return windows


def steps(trainer: Trainer) -> dict[str, Callable[[], None]]:
    """A window of steps of each bucket."""
    buckets, windows = Buckets(trainer), {}
    for label, recipe in buckets.recipes.items():
        bucket = trainer.bucket(recipe)
        most = bucket.start_first_epoch(recipe)

        def run(bucket: Any = bucket) -> None:
            bucket.steps.run(0, 1)

        run()
        count = min(most, max(1, round(WINDOW_SECONDS / seconds_of(run))))

        def window(bucket: Any = bucket, count: int = count) -> None:
            bucket.steps.run(0, count)

        windows[label] = window
    return windows


def seconds_of(run: Callable[[], None]) -> float:
    """The time of the second call."""
    run()
    before = time.perf_counter()
    run()
    return time.perf_counter() - before


def repeated(run: Callable[[], None], seconds: float) -> Callable[[], None]:
    """As many calls as fill a window."""
    count = math.ceil(WINDOW_SECONDS / seconds)

    def window() -> None:
        for _ in range(count):
            run()

    return window


def processor_seconds(window: Callable[[], None]) -> float:
    """The processor time of a window."""
    before = time.process_time()
    window()
    return time.process_time() - before


def spread(values: np.ndarray[Any, Any]) -> float:
    """The standard deviation of the medians of ten windows, in percent."""
    blocks = len(values) // BLOCK
    medians = np.median(values[: blocks * BLOCK].reshape(blocks, BLOCK), axis=1)
    return 100 * float(np.std(np.log(medians), ddof=1))


def measured(backend: str, minutes: float) -> list[str]:
    """The lines about one backend."""
    from effv2_tune.data import load_dataset
    from effv2_tune.training.devices import open_device
    from effv2_tune.training.trainer import Trainer

    device = open_device(backend, hardware="cpu")
    beside = kernels(device)
    buckets = steps(Trainer(load_dataset(DATA, base=Path()), device))
    times: dict[str, list[list[float]]] = {label: [] for label in buckets}
    with real_time_priority():
        end = time.monotonic() + 60 * minutes
        while time.monotonic() < end:
            for label, window in buckets.items():
                row = [processor_seconds(one) for one in (window, *beside.values())]
                times[label].append(row)
    tables = {label: np.array(rows) for label, rows in times.items()}
    heads = ["beside", *tables, "mean"]
    lines = [f"| {' | '.join(heads)} |", "|---" + "|---:" * (len(heads) - 1) + "|"]
    for position, name in enumerate(["nothing", *beside]):
        cells = [
            spread(table[:, 0] / (table[:, position] if position else 1))
            for table in tables.values()
        ]
        texts = [f"{cell:.1f} %" for cell in (*cells, sum(cells) / len(cells))]
        lines.append(f"| {name} | {' | '.join(texts)} |")
    windows = min(map(len, tables.values()))
    return [f"## {backend}, {windows} windows of each bucket", "", *lines, ""]


def main() -> None:
    """Measure, and write the table of one backend."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backend", choices=BACKENDS, default="tensorflow")
    parser.add_argument("--minutes", type=float, default=2.0)
    arguments = parser.parse_args()
    os.environ["KERAS_BACKEND"] = arguments.backend
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    lines = measured(arguments.backend, arguments.minutes)
    print("\n".join(lines))
    write(arguments.backend, lines)


def write(backend: str, lines: list[str]) -> None:
    """Write the page, with the table of another backend as it is."""
    sections = RESULTS.read_text().split("\n## ")[1:] if RESULTS.is_file() else []
    others = [f"## {text.rstrip()}\n" for text in sections if not text.startswith(backend)]
    introduction = (
        f"`python benchmarks/reference_kernel.py --backend {'|'.join(BACKENDS)}` on "
        f"{probe_host().cpu}, {len(os.sched_getaffinity(0))} processors. Standard deviation of "
        f"the medians of {BLOCK} windows of {WINDOW_SECONDS} s: of the processor time of a step, "
        "divided by that of the kernel beside it."
    )
    page = ["# Reference kernels", "", introduction, "", "\n".join(lines), *others]
    RESULTS.write_text("\n".join(page))


if __name__ == "__main__":
    main()
