"""Runs a program that the kernel kills when the thread that started this process ends.

Run as a script by path, with the process ID of the starter and the program. A function that the
child runs before its program (``preexec_fn``) would do the same, but it makes Python fork, which
is not safe beside the threads of JAX; a script is started without.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

#: https://man7.org/linux/man-pages/man2/PR_SET_PDEATHSIG.2const.html; it outlives `exec`.
_PR_SET_PDEATHSIG = 1


def main(starter: int, program: list[str]) -> None:
    """Become the program.

    Args:
        starter: The process that started this one, which may have ended meanwhile.
        program: Path of the program and its arguments.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != starter:
        os.kill(os.getpid(), signal.SIGKILL)
    try:
        os.execvp(program[0], program)  # noqa: S606 - the program of this package
    except OSError as error:
        sys.exit(f"{program[0]} could not be started: {error}")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
