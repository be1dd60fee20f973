"""Classifies the exit of a worker process: a crash, a kill, or a lack of host memory."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Literal

#: ``crash``: by itself, with an exit status or a signal of its own making; ``memory``: killed by
#: the kernel for lack of host memory; ``kill``: by anybody else, which is no fault of its trial.
ExitKind = Literal["crash", "memory", "kill"]

#: Signals that a process brings upon itself.
_CRASHES = frozenset(
    (
        *(signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL),
        *(signal.SIGFPE, signal.SIGTRAP, signal.SIGSYS),
    )
)
_REMARKS = {
    signal.SIGBUS: ", as when a disk is full or fails under a file that is mapped into memory"
}


def exit_kind(status: int | None, *, memory_ran_out: bool) -> ExitKind:
    """The kind of an exit.

    Args:
        status: Exit status, or a signal's number below zero; None of a process that did not exit
            by itself.
        memory_ran_out: Whether the kernel has meanwhile killed a process for lack of memory.
    """
    if status == -signal.SIGKILL and memory_ran_out:
        return "memory"
    # A worker exits with 0 where its pipe is broken, which is no fault of a trial.
    return "crash" if status is not None and (status > 0 or -status in _CRASHES) else "kill"


def describe_exit(status: int | None, *, memory_ran_out: bool = False) -> str:
    """The end of a process, in words; arguments as of :func:`exit_kind`."""
    if status is None:
        return "killed, as it did not exit"
    if status >= 0:
        return f"exit status {status}"
    if status == -signal.SIGKILL:
        return "killed (SIGKILL)" + (
            " by the kernel, as the host memory ran out" if memory_ran_out else ""
        )
    try:
        ended_by = signal.Signals(-status)
    except ValueError:
        return f"ended by signal {-status}"
    return f"ended by {ended_by.name}{_REMARKS.get(ended_by, '')}"


class OomCounter:
    """The kernel's count of processes that it killed for lack of memory.

    Args:
        file: With a line ``oom_kill N``; that of the cgroup of this process if left out, or that of
            the machine where the cgroup has none. Without any, as on macOS, no kill is ever
            attributed to a lack of memory.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._file = _counter_file() if file is None else file

    def read(self) -> int:
        """The count; 0 where the kernel has none."""
        return (None if self._file is None else _oom_kills(self._file)) or 0


def _counter_file(
    processes: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")
) -> Path | None:
    """The file that counts the OOM kills of the narrowest group that this process is in."""
    candidates = []
    try:
        lines = (processes / "self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    for line in lines:
        # https://docs.kernel.org/admin-guide/cgroup-v2.html: hierarchy:controllers:path, with no
        # controllers in version 2. A container may see its own group as the root of the mount.
        _, controllers, path = line.split(":", 2)
        path = path.lstrip("/")
        if "memory" in controllers.split(","):
            folder, name = cgroups / "memory", "memory.oom_control"
        elif not controllers:
            folder, name = cgroups, "memory.events"
        else:
            continue
        candidates += [folder / path / name, folder / name]
    candidates.append(processes / "vmstat")
    return next((file for file in candidates if _oom_kills(file) is not None), None)


def _oom_kills(file: Path) -> int | None:
    """The number in the line ``oom_kill N``; None where there is none."""
    try:
        lines = file.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    counts = [line.split()[1] for line in lines if line.startswith("oom_kill ")]
    return int(counts[0]) if counts else None
