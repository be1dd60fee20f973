"""A process that holds the lock of a file."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_HOLD = """\
import fcntl, sys
file = open(sys.argv[1], "w")
{call}
print("held", flush=True)
sys.stdin.read()
"""
SHARED = "fcntl.flock(file, fcntl.LOCK_SH)"
#: As libtpu takes its lock.
BY_LOCKF = "fcntl.lockf(file, fcntl.LOCK_EX)"


@contextmanager
def held_lock(path: Path, call: str) -> Iterator[subprocess.Popen[str]]:
    """Hold it from the beginning, until the process is killed or its stdin is closed.

    Args:
        path: Of the file.
        call: That takes the lock of ``file``.
    """
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD.format(call=call), str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()
