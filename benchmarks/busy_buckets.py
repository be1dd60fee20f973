"""Measures the step times of buckets beside busy processes, without a study.

    python benchmarks/busy_buckets.py --backend tensorflow

Four buckets in one process, measured with both methods, the present one and the median of windows
in three seconds: with whatever else runs on the machine, and then beside two processes that compute
all the time. In the first and the last row, the process has real-time priority, which
needs root (or CAP_SYS_NICE) and makes even a busy machine nearly quiet: short enough to disturb
nobody for long. Adds a table to benchmarks/results/busy_buckets.md.
"""

from __future__ import annotations

import argparse
import math
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from busy_machine import BACKENDS, median_of_windows

from effv2_tune.host import probe_host
from effv2_tune.study.recipe import DataSpec, Recipe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from effv2_tune.study.step_time import StepTime
    from effv2_tune.training.trainer import Trainer

RESULTS = Path(__file__).parent / "results" / "busy_buckets.md"
NETWORKS = (("tiny", 48), ("tiny", 96), ("b0", 32), ("b0", 40))
DATA = DataSpec(train=320, validation=128, test=100)
#: So long that measuring waits for a quiet moment as long as it ever does.
EPOCHS = 1000


class Buckets:
    """The compiled buckets of one backend, on the CPU.

    Args:
        trainer: On the device.
    """

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer
        self.recipes = {
            f"{variant}@{side}": Recipe(
                variant=variant, resolution=side, batch_size=32, epochs=EPOCHS, data=DATA
            )
            for variant, side in NETWORKS
        }
        self._scale: float | None = None
        self.labels = list(self.recipes)
        for recipe in self.recipes.values():
            trainer.bucket(recipe)

    def measure(self, *, waits: bool = True) -> dict[str, StepTime]:
        """Every step time by the present method; the first measurement sets the scale.

        Args:
            waits: Whether to wait for a quiet moment.
        """
        times = {}
        for label, recipe in self.recipes.items():
            bucket = self._trainer.bucket(recipe)
            times[label] = bucket.measure(
                recipe, NoLock(), scale=self._scale, should_stop=lambda: not waits
            )
            self._scale = self._scale or times[label].reference_seconds
        return times

    def measure_as_before(self) -> dict[str, float]:
        """Every step time by the median of windows, in seconds."""
        times = {}
        for label, recipe in self.recipes.items():
            bucket = self._trainer.bucket(recipe)
            epoch_steps = bucket.start_first_epoch(recipe)

            def run(steps: int, bucket: Any = bucket, most: int = epoch_steps) -> None:
                while steps > 0:
                    bucket.steps.run(0, min(steps, most))
                    steps -= most

            times[label] = median_of_windows(run, lambda: None).seconds
        return times


class NoLock:
    """In place of the lock of a machine, where nothing else of this user trains."""

    @contextmanager
    def measuring(self) -> Iterator[None]:
        """Lock nothing."""
        yield


@contextmanager
def real_time_priority() -> Iterator[None]:
    """Run the threads of this process before all others, if that is allowed."""

    def schedule(policy: int, priority: int) -> None:
        for thread in Path("/proc/self/task").iterdir():
            try:
                os.sched_setscheduler(int(thread.name), policy, os.sched_param(priority))
            except (PermissionError, ProcessLookupError):
                continue

    schedule(os.SCHED_FIFO, 1)
    try:
        yield
    finally:
        schedule(os.SCHED_OTHER, 0)


@contextmanager
def busy_processes() -> Iterator[None]:
    """Two processes that compute all the time, in sessions of their own."""
    command = [sys.executable, "-c", "while True: pass"]
    processes = [subprocess.Popen(command, start_new_session=True) for _ in range(2)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def worst_ratio(times: dict[str, float], quiet: dict[str, float]) -> str:
    """The largest relative error of the ratio of two step times."""
    errors = [math.log(times[label] / quiet[label]) for label in quiet]
    return f"{math.exp(max(errors) - min(errors)) - 1:.0%}"


def rows(buckets: Buckets) -> Iterator[list[str]]:
    """Measure under each condition; the cells of the table."""
    with real_time_priority():
        first = buckets.measure(waits=False)
    quiet = {label: time.seconds for label, time in first.items()}
    yield row("real-time priority", first, quiet, {})
    yield row("as it is", buckets.measure(), quiet, buckets.measure_as_before())
    with busy_processes():
        yield row("two busy processes", buckets.measure(), quiet, buckets.measure_as_before())
    with real_time_priority():
        yield row("real-time priority, again", buckets.measure(waits=False), quiet, {})


def row(
    name: str, times: dict[str, StepTime], quiet: dict[str, float], before: dict[str, float]
) -> list[str]:
    """The cells of one condition."""
    cells = [
        f"{1000 * time.seconds:.1f} ± {(time.high / time.low) ** 0.5 - 1:.0%}"
        + ("" if time.is_quiet else "*")
        + (f" ({1000 * before[label]:.0f})" if before else "")
        for label, time in times.items()
    ]
    now = worst_ratio({label: time.seconds for label, time in times.items()}, quiet)
    return [name, *cells, now, worst_ratio(before, quiet) if before else "", f"{load():.0f}"]


def load() -> float:
    """The load average of the last five minutes."""
    return os.getloadavg()[1]


def main() -> None:
    """Measure, and write the table of one backend."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backend", choices=BACKENDS, default="tensorflow")
    arguments = parser.parse_args()
    os.environ["KERAS_BACKEND"] = arguments.backend
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from effv2_tune.data import load_dataset
    from effv2_tune.training.devices import open_device
    from effv2_tune.training.trainer import Trainer

    device = open_device(arguments.backend, hardware="cpu")
    buckets = Buckets(Trainer(load_dataset(DATA, base=Path()), device))
    heads = ["", *(f"{label}, ms" for label in buckets.labels)]
    heads += ["worst ratio", "worst ratio before", "load average"]
    lines = [f"## {arguments.backend}", "", f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for cells in rows(buckets):
        lines.append(f"| {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    write(arguments.backend, [*lines, ""])


def write(backend: str, lines: list[str]) -> None:
    """Write the page, with the table of another backend as it is."""
    sections = RESULTS.read_text().split("\n## ")[1:] if RESULTS.is_file() else []
    others = [f"## {text.rstrip()}\n" for text in sections if not text.startswith(backend)]
    introduction = (
        f"`python benchmarks/busy_buckets.py --backend {'|'.join(BACKENDS)}` on "
        f"{probe_host().cpu}, {len(os.sched_getaffinity(0))} processors. Milliseconds of a step "
        "with half of the 90 % interval, and in brackets by the earlier method, the median of "
        "windows in three seconds; * no quiet moment was found. Worst ratio: the largest error of "
        "the ratio of two step times, compared with the first row, by the present method and by "
        "the earlier one."
    )
    page = ["# Step times beside busy processes", "", introduction, "", "\n".join(lines), *others]
    RESULTS.write_text("\n".join(page))


if __name__ == "__main__":
    main()
