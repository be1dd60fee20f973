"""Lets the n-th write, fsync or rename of a study's processes fail, through a preloaded library."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import re
import shutil
import struct
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

_SOURCE = Path(__file__).with_suffix(".c")
_COUNTERS = struct.Struct("=2q")
#: As in the C source: what fails, after the counters.
_PLAN = struct.Struct("=4q1024s32s256s1024s")


def why_not() -> str:
    """Why calls cannot be made to fail on this machine; empty where they can."""
    if sys.platform != "linux":
        return "LD_PRELOAD and /proc are needed, which Linux has"
    return "" if shutil.which("cc") else "there is no C compiler (cc)"


@dataclass(frozen=True)
class Fault:
    """What fails.

    Attributes:
        at: The matching call that fails, from 1; 0 for none.
        error: The errno.
        is_lasting: Whether all matching calls from then on fail, too.
        is_half: Whether a write that is to fail writes half of its bytes first.
        call: Glob of the names of the calls that match.
        path: Glob of their files, below the folder.
    """

    at: int
    error: int = errno.ENOSPC
    is_lasting: bool = False
    is_half: bool = False
    call: str = "*"
    path: str = "*"


class Call(NamedTuple):
    """A call that was seen: its name, and its file with wildcards for what differs between runs."""

    name: str
    path: str


class FailingCalls:
    """The plan that the preloaded library follows.

    Args:
        scratch: Folder for the library and the plan; outside of the folder that is watched.
        under: The folder whose files count.

    Attributes:
        environment: Of the processes whose calls count.
    """

    def __init__(self, scratch: Path, *, under: Path) -> None:
        library, plan = scratch / "failing_calls.so", scratch / "failing_calls.plan"
        self._log = scratch / "failing_calls.log"
        self._under = under
        compiler = shutil.which("cc")
        assert compiler is not None, why_not()
        options = ("-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-ldl")
        subprocess.run([compiler, "-o", str(library), str(_SOURCE), *options], check=True)
        plan.write_bytes(bytes(_COUNTERS.size + _PLAN.size))
        with plan.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), 0)
        self.environment = {"LD_PRELOAD": str(library), "FAILING_CALLS": str(plan)}

    def set(self, fault: Fault, *, is_logged: bool = False) -> None:
        """Count from zero, and let calls fail from now on."""
        self._log.unlink(missing_ok=True)
        self._memory[:] = _COUNTERS.pack(0, 0) + _PLAN.pack(
            fault.at,
            fault.is_lasting,
            fault.is_half,
            fault.error,
            os.fsencode(self._under),
            fault.call.encode(),
            fault.path.encode(),
            os.fsencode(self._log) if is_logged else b"",
        )

    def clear(self) -> None:
        """Let nothing fail."""
        self.set(Fault(at=0))

    @property
    def matching(self) -> int:
        """Matching calls since :meth:`set`."""
        return int(_COUNTERS.unpack_from(self._memory)[0])

    @property
    def failed(self) -> int:
        """Calls that were made to fail since :meth:`set`."""
        return int(_COUNTERS.unpack_from(self._memory)[1])

    def calls(self) -> list[Call]:
        """The calls that were logged."""
        with contextlib.suppress(FileNotFoundError):
            lines = (line.split(" ", 2) for line in self._log.read_text().splitlines())
            return [Call(name, as_glob(path)) for _, name, path in lines]
        return []


def as_glob(path: str) -> str:
    """A path with wildcards for process numbers, random parts, trials and steps."""
    path = re.sub(r"\.[0-9]+-[0-9a-f]{8}\.writing", ".*.writing", path)
    # Digests of the folder that the images are in.
    path = re.sub(r"[0-9a-f]{32}", "?" * 32, path)
    return re.sub(r"(trial|step|worker)-[0-9]+", r"\1-*", path)


def sample(calls: Iterable[Call]) -> list[Fault]:
    """Of each kind of call on each kind of file the one in the middle."""
    return [
        Fault(at=(count + 1) // 2, call=call.name, path=call.path)
        for call, count in sorted(Counter(calls).items())
    ]


def each(calls: Iterable[Call]) -> list[Fault]:
    """Of every call a fault that hits it alone.

    It is found by its place among the calls that match its own name and file: how the calls of
    several processes follow each other differs from run to run.
    """
    counts: Counter[Call] = Counter()
    faults = []
    for call in calls:
        counts[call] += 1
        at = sum(count for other, count in counts.items() if _matches(other, call))
        faults.append(Fault(at=at, call=call.name, path=call.path))
    return faults


def _matches(call: Call, fault: Call) -> bool:
    return call.name == fault.name and fnmatchcase(call.path, fault.path)
