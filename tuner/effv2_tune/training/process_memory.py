"""Measures the memory of this process, and recognizes out-of-memory errors."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
from pathlib import Path

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_FULL_MESSAGES = ("RESOURCE_EXHAUSTED", "OUT_OF_MEMORY", "out of memory", "Out of memory")
#: Errors of the backends that may be about memory: TensorFlow's, and JAX's old and new name.
_BACKEND_ERRORS = ("ResourceExhaustedError", "JaxRuntimeError", "XlaRuntimeError", "InternalError")


def resident_bytes() -> int:
    """Resident memory of this process, without the pages of files that it has mapped.

    The kernel can reclaim those of an image store or of cached features.
    """
    resident, of_files = Path("/proc/self/statm").read_text(encoding="ascii").split()[1:3]
    return (int(resident) - int(of_files)) * _PAGE_BYTES


def return_freed_memory() -> None:
    """Collect garbage, and return to the kernel what the allocator keeps free.

    After many trials, glibc's arenas hold tens of megabytes of freed memory between blocks in use.
    """
    gc.collect()
    # Of glibc only; elsewhere there is nothing to ask for it.
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def forget_peak() -> None:
    """Reset :func:`peak_resident_bytes`, where the kernel allows it."""
    with contextlib.suppress(OSError):
        # proc_pid_clear_refs(5): 5 resets the peak resident set size, and nothing else.
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_resident_bytes() -> int:
    """The peak resident memory of this process."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return resident_bytes()


def out_of_memory_reason(error: Exception) -> str:
    """Summarize an out-of-memory error in one line; raises any other error."""
    if not is_out_of_memory(error):
        raise error
    return f"{type(error).__name__}: {str(error).splitlines()[0][:300]}"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` means that the device or the host ran out of memory."""
    if isinstance(error, MemoryError):
        return True
    kind = type(error).__name__
    if kind == "ResourceExhaustedError":
        return True
    return kind in _BACKEND_ERRORS and any(message in str(error) for message in _FULL_MESSAGES)
