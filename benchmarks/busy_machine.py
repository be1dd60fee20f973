"""Runs a study beside two busy processes, and compares its step times with a quiet machine's.

    python benchmarks/busy_machine.py --backend tensorflow --out runs/busy-machine

Four buckets, three trials each in turn, with equal seeds: on the quiet machine twice; while two
processes that compute begin and end at random moments; and likewise with the earlier method, the
median of windows in three seconds, which no later evidence corrects. What counts are the ratios
between step times, because they decide the Pareto front: the largest error of a ratio of two
buckets, and the front in the order of its times. Each part is kept under --out: the same command
resumes. Writes
benchmarks/results/busy_machine.md, one table for each backend.

The first part is as quiet as the machine: the table has its repetition, and the load averages.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import random
import statistics
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from effv2_tune.host import probe_host
from effv2_tune.search import loop, read_study
from effv2_tune.search.events import BucketTimeRestated
from effv2_tune.search.supervisor import open_study
from effv2_tune.study.plan import StudyPlan
from effv2_tune.study.step_time import StepTime
from effv2_tune.workers.launch import WORKER_COMMAND

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

RESULTS = Path(__file__).parent / "results" / "busy_machine.md"
BACKENDS = ("tensorflow", "jax")
#: Ratios between step times must be within this of the quiet machine's.
BOUND = 0.1
#: Of each part: whether neighbours are busy, and whether the step time is the old median.
PARTS = {
    "quiet": (False, False),
    "quiet again": (False, False),
    "busy": (True, False),
    "busy, median of windows": (True, True),
}
#: Variant, pixels, and so many epochs that trials train for ten to thirty seconds on two cores.
NETWORKS = (("tiny", 64, 11), ("tiny", 96, 8), ("b0", 32, 4), ("b0", 40, 5))
ROUNDS = 3
PLAN = {
    "name": "busy-machine",
    "data": {"name": "digits", "train": 640, "validation": 200, "test": 200},
    "recipe": {"batch_size": 32, "schedule": "constant"},
    "search_space": {
        "variant": {"type": "choice", "values": ["tiny", "b0"]},
        "resolution": {"type": "choice", "values": [32, 40, 64, 96]},
        "epochs": {"type": "int", "low": 1, "high": 30},
    },
    "enqueue": [
        {"variant": variant, "resolution": side, "epochs": epochs + number}
        for number in range(ROUNDS)
        for variant, side, epochs in NETWORKS
    ],
    "trials": ROUNDS * len(NETWORKS),
    "search": {"engine": "random", "halving": {"enabled": False}},
    "hardware": "cpu",
}


@contextmanager
def busy_neighbours(seed: int) -> Iterator[None]:
    """Two processes, each busy and idle in turns of random length."""
    ended = threading.Event()

    def neighbour(number: int) -> None:
        chance = random.Random(2 * seed + number)  # noqa: S311 - not for cryptography
        while not ended.wait(chance.uniform(0, 10)):
            # Its own session: the kernel shares processors between sessions.
            process = subprocess.Popen(
                [sys.executable, "-c", "while True: pass"], start_new_session=True
            )
            ended.wait(chance.uniform(5, 40))
            process.kill()
            process.wait()

    threads = [threading.Thread(target=neighbour, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def median_of_windows(
    run: Callable[[int], None], _reference: Callable[[], None], **_: Any
) -> StepTime:
    """The step time as it was measured before."""

    def window(steps: int) -> float:
        before = time.perf_counter()
        run(steps)
        return (time.perf_counter() - before) / steps

    started = time.perf_counter()
    window(1)
    steps = max(1, math.ceil(0.3 / window(1)))
    if steps > 1:
        window(steps)
    times = [window(steps) for _ in range(3)]
    most_windows, most_seconds = 15, 3.0
    while time.perf_counter() - started < most_seconds and len(times) < most_windows:
        times.append(window(steps))
    seconds = statistics.median(times)
    return StepTime(
        seconds=seconds, low=seconds, high=seconds, is_quiet=True, reference_seconds=1.0
    )


def run_old_worker(arguments: Sequence[str]) -> None:
    """A worker that measures with the earlier method."""
    from effv2_tune.training import compiled, worker

    compiled.measure_step = median_of_windows  # type: ignore[assignment]
    os._exit(worker.main(arguments))


def run_part(name: str, backend: str, out: Path, seed: int) -> dict[str, Any]:
    """The step time of each bucket, the order of times on the front, and the surroundings."""
    is_busy, is_old = PARTS[name]
    folder = out / backend / name.replace(", ", "-").replace(" ", "-")
    command = (sys.executable, __file__, "--old-worker") if is_old else WORKER_COMMAND
    is_doubtful, with_trials = loop.is_doubtful, loop.with_trials
    if is_old:
        loop.is_doubtful = lambda *_: False
        loop.with_trials = lambda known, *_: known
    started, restated = time.monotonic(), 0
    neighbours = busy_neighbours(seed) if is_busy else nobody()
    plan = StudyPlan.model_validate_json(json.dumps(PLAN | {"backend": backend}))
    with neighbours, open_study(plan, folder, base=Path.cwd()) as study:
        for event in study.run(hardware="cpu", backend=backend, worker_command=command):
            restated += isinstance(event, BucketTimeRestated)
            print(f"{name}: {type(event).__name__}", file=sys.stderr, flush=True)
    loop.is_doubtful, loop.with_trials = is_doubtful, with_trials
    record = read_study(folder)
    steps = {time.label: time.step_seconds for time in record.bucket_times.values()}
    return {
        "steps": steps,
        "errors": {
            time.label: (time.high - time.low) / 2 / time.step_seconds
            for time in record.bucket_times.values()
            if time.low is not None and time.high is not None
        },
        "busy": [time.label for time in record.bucket_times.values() if not time.is_quiet],
        "order": sorted(steps, key=lambda label: steps[label]),
        "front": record.front(),
        "restated": restated,
        "load": os.getloadavg()[1],
        "minutes": (time.monotonic() - started) / 60,
    }


@contextmanager
def nobody() -> Iterator[None]:
    """No neighbours but those of the machine."""
    yield


def worst_ratio(steps: dict[str, float], quiet: dict[str, float]) -> float:
    """The largest relative error of the ratio of two step times."""
    errors = [math.log(steps[label] / quiet[label]) for label in quiet]
    return max(math.exp(abs(a - b)) - 1 for a, b in itertools.combinations(errors, 2))


def table(backend: str, parts: dict[str, dict[str, Any]]) -> list[str]:
    """The lines about one backend."""
    quiet = parts["quiet"]
    labels = sorted(quiet["steps"], key=lambda label: quiet["steps"][label])
    heads = [f"{label}, ms" for label in labels]
    heads += ["worst ratio", "order of buckets", "front, fastest first", "restated", "load average"]
    sides = ["---:"] * (len(labels) + 1) + ["---", "---", "---:", "---:"]
    lines = [f"## {backend}", "", f"| | {' | '.join(heads)} |", f"|---|{'|'.join(sides)}|"]
    for name, part in parts.items():
        cells = [
            f"{1000 * part['steps'][label]:.1f} ± {part['errors'].get(label, 0):.0%}"
            + ("*" if label in part["busy"] else "")
            for label in labels
        ]
        worst = "" if part is quiet else f"{worst_ratio(part['steps'], quiet['steps']):.0%}"
        orders = [
            "the same" if part[key] == quiet[key] and part is not quiet else _listed(part[key])
            for key in ("order", "front")
        ]
        row = [name, *cells, worst, *orders, str(part["restated"]), f"{part['load']:.1f}"]
        lines.append(f"| {' | '.join(row)} |")
    return [*lines, ""]


def _listed(items: Sequence[object]) -> str:
    return ", ".join(map(str, items))


def main() -> None:
    """Run the missing parts, and write the table."""
    if sys.argv[1:2] == ["--old-worker"]:
        run_old_worker(sys.argv[2:])
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backend", choices=BACKENDS, default="tensorflow")
    parser.add_argument("--out", type=Path, default=Path("runs/busy-machine"))
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the neighbours")
    arguments = parser.parse_args()
    for name in PARTS:
        kept = (
            arguments.out / arguments.backend / f"{name.replace(', ', '-').replace(' ', '-')}.json"
        )
        if not kept.is_file():
            part = run_part(name, arguments.backend, arguments.out, arguments.seed)
            kept.write_text(json.dumps(part, indent=2))
    write(arguments.out)


def write(out: Path) -> None:
    """Write the tables of all backends that were measured."""
    introduction = (
        f"`python benchmarks/busy_machine.py --backend {'|'.join(BACKENDS)}` on "
        f"{probe_host().cpu}, {len(os.sched_getaffinity(0))} processors. Milliseconds of a step "
        "with half of the 90 % interval; * the machine was busy during every measurement. Worst "
        "ratio: the largest error of the ratio of two step times, compared with the first row; "
        f"bound: {BOUND:.0%}. Two processes were busy at random moments in the rows of that name."
    )
    lines = ["# Step times on a busy machine", "", introduction, ""]
    for backend in BACKENDS:
        folder = out / backend
        names = {name: f"{name.replace(', ', '-').replace(' ', '-')}.json" for name in PARTS}
        known = {name: folder / file for name, file in names.items() if (folder / file).is_file()}
        if {"quiet", "busy"} <= known.keys():
            lines += table(backend, {name: json.loads(f.read_text()) for name, f in known.items()})
    RESULTS.write_text("\n".join(lines))


if __name__ == "__main__":
    main()
