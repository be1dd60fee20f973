"""Recognizes failures of the machine: full disks, missing permissions, lost networks."""

from __future__ import annotations

import errno
import os
import re
import socket
from typing import TYPE_CHECKING

from effv2_tune.errors import RESUME_HINT, TuneError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Errors of the operating system that are no fault of a trial and no bug of this package.
ENVIRONMENT_ERRNOS = frozenset(
    (
        # The disk is full or over its quota, a file is too large, too many are open.
        *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EMFILE, errno.ENFILE),
        # The disk fails or has been removed. A missing file may be a bug.
        *(errno.EIO, errno.ENODEV, errno.ENXIO),
        # Missing permissions.
        *(errno.EROFS, errno.EACCES, errno.EPERM),
        # The network, and file systems on it.
        *(errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT, errno.ECONNREFUSED),
        *(errno.ECONNRESET, errno.ECONNABORTED, errno.ENETDOWN, errno.ENETUNREACH),
        *(errno.EHOSTDOWN, errno.EHOSTUNREACH, getattr(errno, "EREMOTEIO", errno.EIO)),
    )
)
#: Network errors by class, as not all of them have an errno.
_NETWORK_ERRORS = (ConnectionError, TimeoutError, socket.gaierror)
#: The errno in the text of an exception of a Rust extension, such as safetensors'.
_RUST_ERRNO = re.compile(r"\(os error ([0-9]+)\)")


def environment_error(error: BaseException) -> UnavailableError | None:
    """The failure of the machine that caused an error; None where there is none."""
    for cause in _causes(error):
        if isinstance(cause, UnavailableError):
            return cause
        if reason := _reason(cause):
            # The message of the outermost error names what was being done.
            if isinstance(error, TuneError):
                return UnavailableError(error.message, hint=error.hint)
            return UnavailableError(f"{reason}.", hint=RESUME_HINT)
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and its explicit causes: one that was merely being handled may be unrelated."""
    while error is not None:
        yield error
        error = error.__cause__


def _reason(error: BaseException) -> str:
    """The failure of the machine in words, with the file that it concerns; empty for others."""
    number = _errno(error)
    if number not in ENVIRONMENT_ERRNOS and not isinstance(error, _NETWORK_ERRORS):
        return ""
    text = getattr(error, "strerror", None) or (
        str(error) if number is None else os.strerror(number)
    )
    file = getattr(error, "filename", None)
    place = "" if file is None else f" ({file})"
    return f"{text or type(error).__name__}{place}"


def _errno(error: BaseException) -> int | None:
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    found = _RUST_ERRNO.search(str(error))
    return None if found is None else int(found[1])
