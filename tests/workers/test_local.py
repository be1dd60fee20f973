"""Processes of this machine as workers."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from effv2_tune.workers.local import LocalProcess

if TYPE_CHECKING:
    from pathlib import Path

ECHO = """
import sys
from multiprocessing.connection import Connection
print("started", flush=True)
connection = Connection(int(sys.argv[sys.argv.index("--fd") + 1]))
while True:
    try:
        connection.send(connection.recv())
    except EOFError:
        sys.exit(3)
"""
DEAF = "import time; print('started', flush=True); time.sleep(600)"


def start(code: str, folder: Path) -> LocalProcess:
    return LocalProcess((sys.executable, "-c", code), environment={}, log=folder / "logs" / "log")


def test_messages_go_both_ways_until_the_process_exits(tmp_path: Path) -> None:
    process = start(ECHO, tmp_path)
    received = process.messages(timeout_seconds=60)

    process.connection.send({"a": 1})
    assert next(received) == {"a": 1}
    assert process.end(grace_seconds=60) == 3
    assert (tmp_path / "logs" / "log").read_text() == "started\n"


def test_a_process_that_does_not_exit_is_killed_after_the_grace(tmp_path: Path) -> None:
    process = start(DEAF, tmp_path)

    assert list(process.messages(timeout_seconds=0.1)) == []
    assert process.end(grace_seconds=0.1) is None


#: Prints "forked" for each fork, and the process of a worker that ends with this one.
STARTER = """
import os, sys
from pathlib import Path
from effv2_tune.workers.local import LocalProcess
os.register_at_fork(before=lambda: print("forked"))
process = LocalProcess((sys.executable, "-c", sys.argv[1]), environment={}, log=Path("log"),
    dies_with_starter=True)
process.connection.send("ready")
print(process.connection.recv())
"""


def test_a_process_that_ends_with_its_starter_is_started_without_a_fork(tmp_path: Path) -> None:
    shown = subprocess.run(
        [sys.executable, "-c", STARTER, ECHO], cwd=tmp_path, check=True, stdout=subprocess.PIPE
    )

    assert shown.stdout == b"ready\n"
