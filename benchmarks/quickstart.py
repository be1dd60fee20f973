"""Runs the study that the README shows, and puts its front there.

    python benchmarks/quickstart.py [--work runs/benchmark-quickstart]

A run of `studies/quickstart.yaml` from an empty folder, about eight minutes on two CPU cores.
Writes the row of the table and the output in README.md, and docs/front.png. The seconds are to be
those of a quiet machine, so a busy one is refused. The same command continues an interrupted run,
and writes the figures of a finished one again.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from effv2_tune.report.analysis import network_of, seconds_of
from effv2_tune.report.quantities import human_seconds
from effv2_tune.session.results import Results

if TYPE_CHECKING:
    from effv2_tune.report.analysis import DeviceAnalysis
    from effv2_tune.study import Trial

ROOT = Path(__file__).resolve().parents[1]
README, PICTURE = ROOT / "README.md", ROOT / "docs" / "front.png"
#: More processes that want a core than this share of the cores: the step times would not be true.
MOST_LOAD = 0.25


def main() -> None:
    """Run the study, and write its figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("runs/benchmark-quickstart"))
    work = parser.parse_args().work
    if not (work / "report.html").exists():
        refuse_a_busy_machine()
    tune = (sys.executable, "-m", "effv2_tune")
    ran = subprocess.run(
        [*tune, "run", "quickstart", "--out", str(work)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    subprocess.run([*tune, "report", str(work), "--picture", str(PICTURE)], check=True)
    text = README.read_text(encoding="utf-8")
    text, rows = re.subn(r"^\| \[quickstart\].*$", lambda _: row(work), text, flags=re.MULTILINE)
    text, outputs = re.subn(
        r"(report\.html`:\n\n```\n).*?(?=```)",
        lambda found: found[1] + ran.stdout,
        text,
        flags=re.DOTALL,
    )
    if (rows, outputs) != (1, 1):
        sys.exit("README.md has no row of the quickstart, or no output of it.")
    README.write_text(text, encoding="utf-8")
    print(row(work), ran.stdout, sep="\n")


def refuse_a_busy_machine() -> None:
    """End the program if other processes are running."""
    cores = len(os.sched_getaffinity(0))
    load = os.getloadavg()[0]
    if load > MOST_LOAD * cores:
        sys.exit(f"The machine is busy: load {load:.2f} on {cores} cores. Wait until it is quiet.")


def row(work: Path) -> str:
    """The study's row in the table."""
    results = Results(work)
    (device,) = results.analysis.devices
    cells = [
        "[quickstart](studies/quickstart.yaml)",
        "1,797 digits",
        f"{len(os.sched_getaffinity(0))} CPU cores",
        str(len(device.trials)),
        human_seconds(results.record.seconds),
        f"{point(device, device.front[0])} to {point(device, device.front[-1])}",
    ]
    return f"| {' | '.join(cells)} |"


def point(device: DeviceAnalysis, trial: Trial) -> str:
    """The 90 % interval of a trial's accuracy, and its time."""
    estimate = device.expected[trial.number].estimate
    return (
        f"{estimate.quality:.3f} [{estimate.low:.3f}, {estimate.high:.3f}] in "
        f"{human_seconds(seconds_of(trial))} ({network_of(trial)})"
    )


if __name__ == "__main__":
    main()
