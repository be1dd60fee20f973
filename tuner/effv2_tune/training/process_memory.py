"""How much memory this process has, and whether an error says that there was too little."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_SAYS_FULL = ("RESOURCE_EXHAUSTED", "OUT_OF_MEMORY", "out of memory", "Out of memory")
#: Errors of the backends that may tell of memory: TensorFlow's, and JAX' old and new name.
_BACKEND_ERRORS = ("ResourceExhaustedError", "JaxRuntimeError", "XlaRuntimeError", "InternalError")


def resident_bytes() -> int:
    """Resident memory of this process, without the pages of files that it has mapped.

    Those of a store of images, or of cached features, are the kernel's to take back.
    """
    resident, of_files = Path("/proc/self/statm").read_text(encoding="ascii").split()[1:3]
    return (int(resident) - int(of_files)) * _PAGE_BYTES


def forget_peak() -> None:
    """Let :func:`peak_resident_bytes` begin anew, where the kernel allows it."""
    with contextlib.suppress(OSError):
        # proc_pid_clear_refs(5): 5 resets the peak resident set size, and nothing else.
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_resident_bytes() -> int:
    """The most resident memory that this process has had."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return resident_bytes()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` says that memory, of the device or the host, did not suffice."""
    if isinstance(error, MemoryError):
        return True
    kind = type(error).__name__
    if kind == "ResourceExhaustedError":
        return True
    return kind in _BACKEND_ERRORS and any(words in str(error) for words in _SAYS_FULL)
