"""How processes exit, and what the kernel says about it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from effv2_tune.workers.exits import OomCounter, _counter_file, describe_exit, exit_kind

if TYPE_CHECKING:
    from collections.abc import Iterator

CGROUPS = Path("/sys/fs/cgroup")
#: Starts a worker that takes memory without end, and prints how it exited.
HUNGRY = """
import sys
from pathlib import Path
from effv2_tune.workers.exits import OomCounter
from effv2_tune.workers.launch import WorkerSpec
from effv2_tune.workers.local import LocalLauncher
from effv2_tune.workers.messages import Prepare
from effv2_tune.study.recipe import DataSpec
prepare = Prepare(data=DataSpec(), base=Path(), backend="jax", hardware="cpu", precision="auto")
code = "x = []\\nwhile True: x.append(bytearray(1 << 20))"
launcher = LocalLauncher(
    WorkerSpec(prepare, (sys.executable, "-c", code)),
    logs=Path(sys.argv[1]),
    oom_counter=OomCounter(),
)
launcher.start(0)
launcher.receive(60)
print(launcher.end(0, grace_seconds=60))
"""


def test_an_exit_is_described_in_words() -> None:
    assert describe_exit(1) == "exit status 1"
    assert describe_exit(-15) == "ended by SIGTERM"
    assert describe_exit(-9) == "killed (SIGKILL)"
    assert describe_exit(-9, memory_ran_out=True).endswith("as the host memory ran out")
    assert describe_exit(-7).startswith("ended by SIGBUS, as when a disk is full")
    assert describe_exit(-99) == "ended by signal 99"
    assert describe_exit(None) == "killed, as it did not exit"


def test_only_a_sigkill_that_the_kernel_counted_is_for_lack_of_memory() -> None:
    assert exit_kind(-signal.SIGKILL, memory_ran_out=True) == "memory"
    assert exit_kind(-signal.SIGKILL, memory_ran_out=False) == "kill"
    assert exit_kind(-signal.SIGTERM, memory_ran_out=True) == "kill"
    assert exit_kind(-signal.SIGSEGV, memory_ran_out=True) == "crash"
    assert exit_kind(1, memory_ran_out=True) == "crash"
    assert exit_kind(0, memory_ran_out=False) == "kill"
    assert exit_kind(None, memory_ran_out=False) == "kill"


@pytest.mark.parametrize(
    ("group", "file"),
    [
        ("0::/user.slice/run.scope\n", "cgroup/user.slice/run.scope/memory.events"),
        ("0::/../elsewhere\n", "cgroup/memory.events"),
        ("9:cpu,memory:/job\n0::/\n", "cgroup/memory/job/memory.oom_control"),
        ("4:memory:/docker/1234\n", "cgroup/memory/memory.oom_control"),
        ("0::/\n", "proc/vmstat"),
    ],
)
def test_the_narrowest_counter_of_the_kernel_is_read(tmp_path: Path, group: str, file: str) -> None:
    texts = {"proc/self/cgroup": group, "proc/vmstat": "nr_free_pages 5\noom_kill 1\n"}
    for name, text in (texts | {file: "oom 9\noom_kill 3\noom_group_kill 0\n"}).items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    found = _counter_file(tmp_path / "proc", tmp_path / "cgroup")

    assert found == tmp_path / file
    assert OomCounter(found).read() == 3


def test_without_a_counter_no_kill_is_for_lack_of_memory(tmp_path: Path) -> None:
    assert _counter_file(tmp_path, tmp_path) is None
    assert OomCounter(tmp_path / "missing").read() == 0


@contextlib.contextmanager
def small_group() -> Iterator[Path]:
    """A cgroup of 150 MB of memory, as a child of this process's own."""
    version_1 = (CGROUPS / "memory").is_dir()
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    mine = next(
        (line.split(":", 2)[2] for line in lines if line.split(":")[1] == "memory" * version_1), ""
    )
    folder = CGROUPS / ("memory" * version_1) / mine.lstrip("/") / f"effv2-tune-{os.getpid()}"
    limit = "memory.limit_in_bytes" if version_1 else "memory.max"
    try:
        folder.mkdir()
        (folder / limit).write_text("150000000")
    except OSError as error:
        with contextlib.suppress(OSError):
            folder.rmdir()
        pytest.skip(f"needs a cgroup with a limit of memory: {error}")
    try:
        yield folder
    finally:
        folder.rmdir()


def test_a_worker_that_the_kernel_kills_for_its_memory_is_known_as_such(tmp_path: Path) -> None:
    with small_group() as group:
        enter = f"import os; open({str(group / 'cgroup.procs')!r}, 'w').write(str(os.getpid()))"
        done = subprocess.run(
            [sys.executable, "-c", f"{enter}\n{HUNGRY}", str(tmp_path)],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    assert "kind='memory'" in done.stdout, done.stderr
    assert "as the host memory ran out" in done.stdout
