"""Disturbs studies as disks, kills and machines do, and compares them with undisturbed ones.

    python benchmarks/chaos.py                  # all parts: several hours
    python benchmarks/chaos.py kills disks      # some of them
    python benchmarks/chaos.py writes --every 20

Each part prints its rows and writes them into benchmarks/results/chaos.md, where the rows of other
parts stay. Workers are scripted, that is real processes that train nothing, but in `real-kills`.

* `kills`: SIGKILL of supervisors and workers at random moments, on the recorded clock.
* `real-kills`: the same with workers that train.
* `writes`: every single write, fsync, rename, unlink, mkdir and creation of a file in the study's
  folder fails in turn, SQLite's included, by a preloaded library.
* `disks`: the study's folder, and the cache, are memory file systems of 64 KB to 64 MB.
* `mirror`: the study's folder is deleted in mid-study, and restored from its mirror.
* `server`: the PostgreSQL server of two supervisors crashes 20 times, and is away for a minute.
* `damage`: a file of a study, its caches or data is truncated or changed. Here a case is as
  undisturbed if each command says what it said before, or ends with an error message.
"""

from __future__ import annotations

import argparse
import errno
import random
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.data.examples import write_folder  # noqa: E402
from tests.end_to_end import failing_calls  # noqa: E402 - found through the path above
from tests.end_to_end.damaged_files import run_cases  # noqa: E402
from tests.end_to_end.disturbed import PLAN, SPACE, DisturbedStudy  # noqa: E402
from tests.end_to_end.failing_calls import Fault  # noqa: E402
from tests.end_to_end.forking_cli import REAL_WORKER, ForkingCli  # noqa: E402
from tests.end_to_end.kills import KilledStudy  # noqa: E402
from tests.end_to_end.lost_folders import outcome, run_losing_folders  # noqa: E402
from tests.end_to_end.postgresql_server import running_server  # noqa: E402
from tests.end_to_end.server_restarts import Restarts, run_with_restarts  # noqa: E402
from tests.end_to_end.test_full_disk import small_disk  # noqa: E402
from tests.end_to_end.undisturbed import Problem  # noqa: E402

from effv2_tune.host import probe_host  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

RESULTS = ROOT / "benchmarks" / "results" / "chaos.md"
HEADINGS = ("part", "disturbance", "cases", "as undisturbed", "lost", "doubled", "tracebacks")

SCRIPTED = {
    "name": "scripted",
    "recipe": {"epochs": 6, "schedule": "constant"},
    "search_space": SPACE,
    "trials": 60,
    "keep": "all",
}
REAL = {
    "name": "real",
    "data": {"name": "digits", "train": 320, "validation": 128, "test": 100},
    "recipe": {"variant": "tiny", "batch_size": 64, "epochs": 4, "step_size_epochs": 1},
    "search_space": {
        "resolution": {"type": "choice", "values": [32, 40]},
        "maximal_learning_rate": {"type": "float", "low": 3e-3, "high": 3e-2, "scale": "log"},
    },
    "search": {"halving": {"rungs": [0.5]}},
    "trials": 12,
    "keep": "all",
}
#: Images of several sizes, which are decoded into the cache.
DECODING = {
    "name": "decoding",
    "data": {"name": "folder", "path": "images", "validation": 0.2, "test": 0.2},
    "recipe": {"variant": "tiny", "batch_size": 64, "resolution": 64, "epochs": 1},
    "search_space": {
        "maximal_learning_rate": {"type": "float", "low": 3e-3, "high": 3e-2, "scale": "log"},
    },
    "trials": 2,
    "keep": "all",
}
NO_PRUNING = {"halving": {"enabled": False}}
#: What is killed: changes of the plan, and supervisors at once. With several workers the order of
#: completion decides what TPE and pruning see, so that only these samplers give the same configs.
FLEETS = {
    "1 worker, TPE and pruning": ({}, 1),
    "2 workers, QMC": ({"workers": 2, "search": {"engine": "qmc", **NO_PRUNING}}, 1),
    "2 supervisors of 2 workers, random": (
        {"workers": 2, "search": {"engine": "random", **NO_PRUNING}},
        2,
    ),
}
FAULTS = {
    "fails once (ENOSPC)": Fault(at=0, error=errno.ENOSPC),
    "fails, as all after it (ENOSPC)": Fault(at=0, error=errno.ENOSPC, is_lasting=True),
    "fails once after half of its bytes (EIO)": Fault(at=0, error=errno.EIO, is_half=True),
}
KILOBYTES = (
    *(64, 72, 80, 88, 96, 112, 128, 144, 160, 176, 192, 208, 224, 240, 256, 288, 320, 384, 448),
    *(512, 640, 768, 1024, 1536, 2048, 3072, 4096, 5120, 6144, 8192, 10240, 12288, 16384, 20480),
    *(24576, 28672, 32768, 40960, 49152, 57344, 65536),
)


@dataclass
class Row:
    """A line of the table: what was done, how often, and what came of it."""

    part: str
    disturbance: str
    cases: int = 0
    as_undisturbed: int = 0
    kinds: dict[str, int] = field(default_factory=dict)

    def add(self, problems: Sequence[Problem], *, cases: int = 1, where: str = "") -> None:
        """Count a case, or several that one study has met."""
        self.cases += cases
        self.as_undisturbed += 0 if problems else cases
        for kind in {problem.kind for problem in problems}:
            self.kinds[kind] = self.kinds.get(kind, 0) + 1
        for problem in problems:
            print(f"  {self.disturbance} {where}: {problem.kind}: {problem.text}", flush=True)

    def cells(self) -> tuple[str, ...]:
        """As in HEADINGS."""
        counts = [self.cases, self.as_undisturbed]
        counts += [self.kinds.get(kind, 0) for kind in ("lost", "doubled", "traceback")]
        return (self.part, self.disturbance, *(f"{count:,}" for count in counts))


def kills(scratch: Path, options: argparse.Namespace) -> Iterator[Row]:
    """Kill scripted supervisors and workers; studies one after another, until there were enough."""
    each = -(-options.kills // len(FLEETS))
    script = '{"epoch_seconds": 0.03}'
    for name, (changes, supervisors) in FLEETS.items():
        yield _kill(
            Row("kills", f"SIGKILL: {name}"),
            scratch,
            SCRIPTED | changes,
            worker=(),
            script=script,
            supervisors=supervisors,
            pause_seconds=1.5,
            kills=each,
        )


def real_kills(scratch: Path, options: argparse.Namespace) -> Iterator[Row]:
    """Kill supervisors and workers that train on TensorFlow."""
    yield _kill(
        Row("real-kills", "SIGKILL: 1 worker that trains, TPE and pruning"),
        scratch,
        REAL,
        worker=REAL_WORKER,
        script="{}",
        supervisors=1,
        pause_seconds=20.0,
        kills=options.real_kills,
    )


def _kill(
    row: Row,
    scratch: Path,
    plan: dict[str, Any],
    *,
    worker: Sequence[str],
    script: str,
    supervisors: int,
    pause_seconds: float,
    kills: int,
) -> Row:
    folder = _new_folder(scratch)
    with ExitStack() as servers:
        clis = [
            servers.enter_context(ForkingCli(folder, worker=worker)) for _ in range(supervisors)
        ]
        study = KilledStudy(folder, plan, script=script)
        expected = study.run_undisturbed(clis[0])
        for seed in range(1000):
            if row.cases >= kills:
                break
            tally = study.run_killed(
                clis,
                expected,
                random.Random(seed),  # noqa: S311 - not for cryptography
                pause_seconds=pause_seconds,
                most=kills - row.cases,
            )
            ended = f"seed {seed}, {tally.supervisors} + {tally.workers}"
            row.add(tally.problems, cases=tally.kills, where=ended)
    return row


def writes(scratch: Path, options: argparse.Namespace) -> Iterator[Row]:
    """Let each call fail in turn; with workers that train, one of each kind."""
    if reason := failing_calls.why_not():
        print(f"writes: left out, as {reason}")
        return
    with DisturbedStudy(_new_folder(scratch)) as study:
        for name, fault in FAULTS.items():
            row = Row("writes", f"each of {len(study.calls):,} calls {name}")
            if options.every > 1:
                row.disturbance = f"every {options.every}th of {len(study.calls):,} calls {name}"
            for at in range(1, len(study.calls) + 1, options.every):
                call = study.calls[at - 1]
                problems = study.problems_after(replace(fault, at=at))
                row.add(problems, where=f"{at}, {call.name} {call.path}")
            yield row
    with _decoding_study(scratch) as study:
        row = Row("writes", "a call of each kind fails once, workers that train")
        for fault in failing_calls.sample(study.calls):
            row.add(study.problems_after(fault), where=f"{fault.at}, {fault.call} {fault.path}")
    yield row


def disks(scratch: Path, options: argparse.Namespace) -> Iterator[Row]:
    """Run on small disks, and continue with more room."""
    del options
    try:
        with small_disk(scratch / "trial", 64):
            pass
    except subprocess.CalledProcessError:
        print("disks: left out, as it mounts: run it by 'unshare --map-root-user --mount'")
        return
    row = Row("disks", "the study's folder on a tmpfs of 64 KB to 64 MB")
    large = '{"checkpoint_bytes": 8000000}'
    with DisturbedStudy(_new_folder(scratch), plan=PLAN | {"keep": "all"}, script=large) as study:
        for kilobytes in KILOBYTES:
            row.add(study.problems_on_disk(study.out, kilobytes), where=f"{kilobytes} KB")
    yield row
    row = Row("disks", "the cache of decoded images on a tmpfs of 64 KB to 64 MB")
    with _decoding_study(scratch) as study:
        for kilobytes in KILOBYTES[::3]:
            row.add(study.problems_on_disk(study.cache, kilobytes), where=f"{kilobytes} KB")
    yield row


def _decoding_study(scratch: Path) -> DisturbedStudy:
    """A study with workers that train, on images that are decoded into the cache."""
    folder = _new_folder(scratch)
    write_folder(folder / "images", {"a": 150, "b": 150}, [(64, 64), (80, 64)])
    return DisturbedStudy(folder, plan=DECODING, worker=REAL_WORKER)


def _new_folder(scratch: Path) -> Path:
    return Path(tempfile.mkdtemp(dir=scratch))


def mirror(scratch: Path, options: argparse.Namespace) -> Iterator[Row]:
    """Delete the study's folder in mid-study, and restore it from its mirror."""
    del options
    undisturbed, disturbed = scratch / "undisturbed", scratch / "disturbed"
    undisturbed.mkdir()
    disturbed.mkdir()
    run_losing_folders(undisturbed, trials=40, losses=0, epoch_seconds=0.0)
    row = Row("mirror", "the study's folder deleted, and restored from the mirror")
    for number, loss in enumerate(run_losing_folders(disturbed, trials=40, losses=10)):
        problems = []
        if loss.restored != loss.ended:
            problems.append(Problem("lost", f"{loss.restored} of {loss.ended} ended trials"))
        if not loss.epochs.items() <= loss.resumed.items():
            text = f"trials resumed after epochs {loss.resumed}, mirrored at {loss.epochs}"
            problems.append(Problem("lost", text))
        row.add(problems, where=f"loss {number}")
    if outcome(disturbed / "runs/lost") != outcome(undisturbed / "runs/lost"):
        row.as_undisturbed = 0
    yield row


def server(scratch: Path, options: argparse.Namespace) -> Iterator[Row]:
    """Crash the PostgreSQL server under two supervisors of two workers each."""
    del options
    folder = scratch / "server"
    folder.mkdir()
    restarts = Restarts(count=20, absent_seconds=60.0, pause_seconds=4.0)
    with running_server() as started:
        figures = run_with_restarts(
            started, folder, trials=200, epoch_seconds=0.5, restarts=restarts
        )
    row = Row("server", "PostgreSQL crashed 20 times, and away once for a minute (200 trials)")
    counts = {
        "lost": figures.lost,
        "doubled": figures.doubled,
        "death": figures.deaths,
        "traceback": sum("Traceback" in text for text in figures.errors),
        "restarts": restarts.count + 1 - figures.restarts,
    }
    problems = [Problem(kind, f"{count} of them") for kind, count in counts.items() if count]
    row.add(problems, cases=figures.restarts, where=f"after {figures.seconds:.0f} s")
    yield row


def damage(scratch: Path, options: argparse.Namespace) -> Iterator[Row]:
    """Truncate and change files of a study, its caches and data, one at a time."""
    figures = run_cases(scratch / "damage", options.damages)
    row = Row("damage", "a file of a study, cache or data set truncated or changed")
    for defect in figures.defects:
        row.add([Problem("traceback" if "Traceback" in defect else "differs", defect)])
    row.add([], cases=figures.unaffected.total() + figures.messages.total() - row.cases)
    yield row


PARTS: dict[str, Callable[[Path, argparse.Namespace], Iterator[Row]]] = {
    "kills": kills,
    "real-kills": real_kills,
    "writes": writes,
    "disks": disks,
    "mirror": mirror,
    "server": server,
    "damage": damage,
}


def main() -> int:
    """Run parts, print and write down their rows; exit code 1 if any case differed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of: {', '.join(PARTS)}")
    parser.add_argument("--every", type=int, default=1, help="let only every N-th call fail")
    parser.add_argument("--kills", type=int, default=440, help="of scripted processes")
    parser.add_argument("--damages", type=int, default=1000, help="damaged files")
    parser.add_argument("--real-kills", type=int, default=60, help="of processes that train")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no part is called {', '.join(sorted(unknown))}")
    every: list[Row] = []
    for part in options.parts or PARTS:
        with tempfile.TemporaryDirectory() as scratch:
            started = time.monotonic()
            rows: list[Row] = []
            for row in PARTS[part](Path(scratch), options):
                rows.append(row)
                print("| " + " | ".join(row.cells()) + " |", flush=True)
                _write_down(part, rows)
        print(f"{part}: {(time.monotonic() - started) / 60:.0f} minutes")
        every += rows
    return int(any(row.cases != row.as_undisturbed for row in every))


def _write_down(part: str, rows: Sequence[Row]) -> None:
    """Put the rows of a part in the place of its earlier ones."""
    old = RESULTS.read_text(encoding="utf-8").splitlines() if RESULTS.is_file() else []
    kept = {name: [line for line in old if line.startswith(f"| {name} |")] for name in PARTS}
    kept[part] = ["| " + " | ".join(row.cells()) + " |" for row in rows]
    host = probe_host()
    lines = [
        "# Studies under faults",
        "",
        "Written by `python benchmarks/chaos.py`; its first lines say what a part does. In a case",
        "*as undisturbed* the command ended well or with an error message, and the same command",
        "then ended with the same configs, qualities, curves, states and checkpoint arrays.",
        "",
        f"{host.cpu}, {host.cpu_count} cores.",
        "",
        "| " + " | ".join(HEADINGS) + " |",
        "|---|---|" + "---:|" * (len(HEADINGS) - 2),
        *(line for name in PARTS for line in kept[name]),
        "",
    ]
    RESULTS.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
