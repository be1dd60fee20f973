"""Disturbs studies as disks, kills and machines do, and compares them with undisturbed ones.

    python benchmarks/chaos.py                  # all parts: several hours
    python benchmarks/chaos.py kills disks      # some of them
    python benchmarks/chaos.py writes --shard 1/2 & python benchmarks/chaos.py writes --shard 2/2
    python benchmarks/chaos.py writes --report

Each part prints its rows and writes them into benchmarks/results/chaos.md, where the rows of other
parts stay. Workers are scripted, that is real processes that train nothing, but in `real-kills` and
the last rows of `writes` and `disks`.

`writes` and `disks` record each case in the folder `--work`, and skip the cases that are there: the
same command continues, `--shard I/N` runs every N-th of them, and `--report` runs none and writes
the rows of what is there.

* `kills`: SIGKILL of supervisors and workers at random moments, on the recorded clock.
* `real-kills`: the same with workers that train.
* `writes`: every single write, fsync, rename, unlink, mkdir and creation of a file in the study's
  folder fails in turn, SQLite's included, by a preloaded library. The study is in memory (/dev/shm)
  where there is one: syncing to a disk would take most of the time.
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
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.data.examples import write_folder  # noqa: E402
from tests.end_to_end import failing_calls  # noqa: E402 - found through the path above
from tests.end_to_end.case_records import CaseRecords, counts_text, digest_of_code  # noqa: E402
from tests.end_to_end.damaged_files import damaged_sites  # noqa: E402
from tests.end_to_end.disturbed import PLAN, SPACE, DisturbedStudy  # noqa: E402
from tests.end_to_end.failing_calls import Call, Fault  # noqa: E402
from tests.end_to_end.forking_cli import REAL_WORKER, ForkingCli  # noqa: E402
from tests.end_to_end.kills import KilledStudy  # noqa: E402
from tests.end_to_end.lost_folders import outcome, run_losing_folders  # noqa: E402
from tests.end_to_end.postgresql_server import running_server  # noqa: E402
from tests.end_to_end.server_restarts import Restarts, run_with_restarts  # noqa: E402
from tests.end_to_end.test_full_disk import small_disk  # noqa: E402
from tests.end_to_end.undisturbed import Problem  # noqa: E402

from effv2_tune.host import probe_host  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

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
ONCE = "fails once (ENOSPC)"
LASTING = "fails, as all after it (ENOSPC)"
HALF = "fails once after half of its bytes (EIO)"
#: Where files are written to memory.
MEMORY = Path("/dev/shm")  # noqa: S108 - each run makes a folder of its own there
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
    records = _records("writes", options)
    with ExitStack() as stack:
        place = scratch
        if MEMORY.is_dir():
            place = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=MEMORY)))
        study = cache(lambda: stack.enter_context(DisturbedStudy(_new_folder(place))))
        calls = [Call(*call) for call in records.once("calls", lambda: study().calls)]
        strides = {ONCE: options.every, LASTING: options.sample, HALF: options.sample}
        for name, stride in strides.items():
            which = f"every {stride}th of {len(calls):,} calls"
            if stride == 1:
                kinds = counts_text([call.name for call in calls])
                which = f"each of {len(calls):,} calls ({kinds})"
            row, faults = Row("writes", f"{which} {name}"), _faults(name, calls)[::stride]
            yield _run_cases(row, name, _fault_cases(faults, study), records, options)
    with ExitStack() as stack:
        trained = cache(lambda: stack.enter_context(_decoding_study(scratch)))
        calls = [Call(*call) for call in records.once("trained", lambda: trained().calls)]
        row = Row("writes", "a call of each kind fails once, workers that train")
        cases = _fault_cases(failing_calls.sample(calls), trained)
        yield _run_cases(row, "trained", cases, records, options)


def _faults(name: str, calls: Sequence[Call]) -> list[Fault]:
    """One for each call."""
    if name == LASTING:
        return [Fault(at=at, is_lasting=True) for at in range(1, len(calls) + 1)]
    faults = failing_calls.each(calls)
    if name == HALF:
        return [replace(fault, error=errno.EIO, is_half=True) for fault in faults]
    return faults


def _fault_cases(
    faults: Sequence[Fault], study: Callable[[], DisturbedStudy]
) -> dict[str, Callable[[], list[Problem]]]:
    return {
        f"{fault.at} {fault.call} {fault.path}": lambda fault=fault: study().problems_after(fault)
        for fault in faults
    }


def _run_cases(
    row: Row,
    series: str,
    cases: Mapping[str, Callable[[], list[Problem]]],
    records: CaseRecords,
    options: argparse.Namespace,
) -> Row:
    """Run the cases of this shard that are not done yet; the row counts all that are."""
    first, step = options.shard
    done = records.of(series)
    for case in [] if options.report else list(cases)[first - 1 :: step]:
        if case not in done:
            started = time.monotonic()
            problems = cases[case]()
            seconds = time.monotonic() - started
            records.add(series, case, problems, seconds)
            print(f"  {series}: {case}: {len(problems)} problems, {seconds:.1f} s", flush=True)
    done = records.of(series)
    for case in cases:
        if case in done:
            row.add(done[case], where=case)
    if row.cases < len(cases):
        row.disturbance += f"; {row.cases:,} of {len(cases):,} so far"
    return row


def _records(part: str, options: argparse.Namespace) -> CaseRecords:
    """The cases of a part that were run with this code."""
    records = CaseRecords(options.work / part)
    code = digest_of_code()
    if records.once("code", lambda: code) != code and not options.report:
        sys.exit(
            f"chaos.py: {options.work / part} holds cases of other code: --report writes their "
            "rows; --work with another folder, or without this one, starts anew."
        )
    return records


def disks(scratch: Path, options: argparse.Namespace) -> Iterator[Row]:
    """Run on small disks, and continue with more room."""
    if not options.report:
        try:
            with small_disk(scratch / "trial", 64):
                pass
        except subprocess.CalledProcessError:
            print("disks: left out, as it mounts: run it by 'unshare --map-root-user --mount'")
            return
    records = _records("disks", options)

    def run_sizes(
        row: Row, series: str, sizes: Sequence[int], problems: Callable[[int], list[Problem]]
    ) -> Row:
        cases = {f"{kilobytes} KB": lambda size=kilobytes: problems(size) for kilobytes in sizes}
        return _run_cases(row, series, cases, records, options)

    with ExitStack() as stack:
        plan, large = PLAN | {"keep": "all"}, '{"checkpoint_bytes": 8000000}'
        study = cache(
            lambda: stack.enter_context(
                DisturbedStudy(_new_folder(scratch), plan=plan, script=large)
            )
        )
        row = Row("disks", "the study's folder on a tmpfs of 64 KB to 64 MB")
        yield run_sizes(
            row, "study", KILOBYTES, lambda size: study().problems_on_disk(study().out, size)
        )
    with ExitStack() as stack:
        trained = cache(lambda: stack.enter_context(_decoding_study(scratch)))
        row = Row("disks", "the cache of decoded images on a tmpfs of 64 KB to 64 MB")
        yield run_sizes(
            row,
            "cache",
            KILOBYTES[::3],
            lambda size: trained().problems_on_disk(trained().cache, size),
        )


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
    with damaged_sites(scratch / "damage") as sites:
        figures = sites.run_cases(options.damages)
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
    parser.add_argument("--every", type=int, default=1, help="let only every N-th call fail once")
    parser.add_argument("--sample", type=int, default=8, help="likewise in the other modes")
    parser.add_argument("--shard", type=_shard, default=(1, 1), metavar="I/N", help="of the cases")
    parser.add_argument("--work", type=Path, default=ROOT / "build/chaos", help="for the cases")
    parser.add_argument("--report", action="store_true", help="run none of these cases")
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
                if not row.cases:
                    continue
                rows.append(row)
                print("| " + " | ".join(row.cells()) + " |", flush=True)
                _write_down(part, rows)
        print(f"{part}: {(time.monotonic() - started) / 60:.0f} minutes")
        every += rows
    return int(any(row.cases != row.as_undisturbed for row in every))


def _shard(text: str) -> tuple[int, int]:
    """The I-th of N parts, from "I/N"."""
    index, count = map(int, text.split("/"))
    if not 1 <= index <= count:
        raise ValueError(text)
    return index, count


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
