"""Turns signals and the end of a session into one request to stop."""

from __future__ import annotations

import math
import os
import select
import signal
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

#: Ctrl-C, the notice of a scheduler or a reclaimed machine, and a closed terminal.
INTERRUPTING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: What an interrupted command says.
INTERRUPTED = "Interrupted. Rerun the same command to resume."
#: Seconds that running trials have for a checkpoint after a signal. Spot machines end 25 to 30
#: seconds after their notice, and the report is still to be written:
#: https://cloud.google.com/compute/docs/instances/spot#preemption-process
GRACE_SECONDS = 20.0
#: The least time before the end of a session at which running trials are asked to stop.
_MIN_STOP_SECONDS = 10.0
#: Seconds at the end of a session for the front, the report and the backup of the database.
_ENDING_SECONDS = 10.0
#: Signals that follow the first one so soon are the same request: a closed terminal sends SIGHUP
#: from the kernel and from its shell, and launchers pass on a Ctrl-C that was received already.
_SAME_REQUEST_SECONDS = 1.0
#: Seconds for the cleanup after a second signal: more than workers have that do not exit.
_CLEANUP_SECONDS = 10.0
#: The longest time that a signal waits for a loop that polls.
_POLL_SECONDS = 0.5


class StudyInterrupt(KeyboardInterrupt):
    """A signal has ended a study in an orderly way: its running trials have been saved."""


class StopRequest:
    """A request to stop, by the first signal or by the end of a session, which starts now.

    Attributes:
        signal: The first signal; None before.
        is_deferred: Whether somebody polls for the first signal, which otherwise raises
            KeyboardInterrupt.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self.is_deferred = False
        self._started = time.monotonic()
        self._session_seconds = math.inf
        self._signalled_at = math.inf
        self._is_raised = False

    def limit_session(self, hours: float | None) -> None:
        """Set the length of the session; None for no limit."""
        self._session_seconds = math.inf if hours is None else 3600 * hours

    @property
    def ends_at(self) -> float:
        """End of the session, on :func:`time.monotonic`; infinite where there is none."""
        return self._started + self._session_seconds

    @property
    def reason(self) -> str:
        """The cause, as the beginning of a sentence."""
        if self.signal is not None:
            return f"{self.signal.name} was received"
        return "The session is about to end"

    def seconds_left(self, stop_seconds: float) -> float:
        """Seconds until running trials have to be asked to stop; 0 after a signal.

        Args:
            stop_seconds: The longest time that a worker has taken to stop so far.
        """
        if self.signal is not None:
            return 0.0
        # A short session, as in a trial run of the command, is not all lead time.
        lead = min(max(_MIN_STOP_SECONDS, 2 * stop_seconds), self._session_seconds / 4)
        return max(0.0, self._limit - lead - time.monotonic())

    def is_due(self, stop_seconds: float) -> bool:
        """Whether running trials have to be asked to stop; see :meth:`seconds_left`."""
        return self.seconds_left(stop_seconds) <= 0

    def poll_seconds(self, stop_seconds: float) -> float:
        """How long a loop may wait before it polls again."""
        return min(_POLL_SECONDS if self.is_deferred else math.inf, self.seconds_left(stop_seconds))

    def grace_seconds(self) -> float:
        """Seconds until workers that have not stopped are ended."""
        limit = min(self._limit, self._signalled_at + GRACE_SECONDS)
        return max(0.0, limit - time.monotonic())

    @property
    def _limit(self) -> float:
        """When the workers of a session have to have stopped."""
        return self.ends_at - min(_ENDING_SECONDS, self._session_seconds / 10)

    def receive(self, number: int, _frame: FrameType | None = None) -> None:
        """Handle a signal: the first one stops, the second one interrupts, the third one kills."""
        now = time.monotonic()
        if self._signalled_at <= now < self._signalled_at + _SAME_REQUEST_SECONDS:
            return
        if self.signal is None:
            self.signal, self._signalled_at = signal.Signals(number), now
            if number == signal.SIGHUP:
                _leave_terminals()
            if self.is_deferred:
                return
        if self._is_raised:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self._is_raised, self._signalled_at = True, now
        raise KeyboardInterrupt


@contextmanager
def signals_stop(request: StopRequest, *, is_deferred: bool = False) -> Iterator[StopRequest]:
    """Let signals make a request; outside of the main thread nothing changes.

    A signal that is ignored, such as SIGHUP under nohup, stays ignored.

    Args:
        request: To stop.
        is_deferred: Whether the caller polls it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    handlers = {number: signal.getsignal(number) for number in INTERRUPTING}
    # None: installed by a library in C.
    handlers = {n: known for n, known in handlers.items() if known not in (signal.SIG_IGN, None)}
    was_deferred, request.is_deferred = request.is_deferred, is_deferred
    try:
        for number in handlers:
            signal.signal(number, request.receive)
        yield request
    finally:
        request.is_deferred = was_deferred
        for number, handler in handlers.items():
            signal.signal(number, handler)


def signals_kill() -> None:
    """Let signals end the process without a traceback, before and after all that handles them."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def exits_at(moment: float, message: str) -> Iterator[None]:
    """End the process with exit code 0 at a moment, whatever it is doing by then.

    Args:
        moment: On :func:`time.monotonic`; infinite for never.
        message: Written to stderr before.
    """
    if math.isinf(moment):
        yield
        return
    with _kept_stderr() as stderr:
        seconds = max(0.0, moment - time.monotonic())
        timer = threading.Timer(seconds, _exit, args=(0, message, stderr))
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()


@contextmanager
def exits_after_signals(first_seconds: float = math.inf) -> Iterator[None]:
    """End the process with exit code 130 after signals that the main thread cannot handle.

    Python calls signal handlers between its own instructions: not during a compilation, and not
    while a database waits for its lock.

    Args:
        first_seconds: How long after the first signal. After a second one, it is a few seconds.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with _kept_stderr() as stderr:
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        watch = threading.Thread(
            target=_watch_signals, args=(reading, first_seconds, stderr), daemon=True
        )
        watch.start()
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)
            os.close(writing)
            watch.join()
            os.close(reading)


def _watch_signals(reading: int, first_seconds: float, stderr: int) -> None:
    """Exit some time after signals, whose numbers can be read from a pipe until it is closed."""
    first = limit = math.inf
    while True:
        now = time.monotonic()
        wait = None if math.isinf(limit) else max(0.0, limit - now)
        if not select.select([reading], [], [], wait)[0]:
            _exit(130, INTERRUPTED, stderr)
        received = os.read(reading, 64)
        if not received:
            return
        if set(received).isdisjoint(INTERRUPTING):
            continue
        now = time.monotonic()
        if math.isinf(first):
            first, limit = now, now + first_seconds
        elif now >= first + _SAME_REQUEST_SECONDS:
            limit = min(limit, now + _CLEANUP_SECONDS)


@contextmanager
def _kept_stderr() -> Iterator[int]:
    """A copy of the descriptor, as training redirects the output of its frameworks."""
    stderr = os.dup(2)
    try:
        yield stderr
    finally:
        os.close(stderr)


def _exit(code: int, message: str, stderr: int) -> NoReturn:
    """End the process at once, also where the main thread is in code that no exception reaches."""
    with suppress(OSError):
        # Progress bars hide the cursor.
        shown = "\x1b[?25h" if os.isatty(stderr) else ""
        os.write(stderr, f"{shown}{message}\n".encode())
    os._exit(code)


def _leave_terminals() -> None:
    """Drop what is written to terminals from now on: theirs has closed, and writing would fail."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    # Also copies of 1 and 2, which are kept while these are redirected.
    for descriptor in (int(path.name) for path in Path("/proc/self/fd").iterdir()):
        if _is_terminal(descriptor):
            os.dup2(nowhere, descriptor)
    os.close(nowhere)


def _is_terminal(descriptor: int) -> bool:
    # os.isatty is False once the terminal has closed; its device remains one of the kernel's
    # terminals: https://www.kernel.org/doc/Documentation/admin-guide/devices.txt
    try:
        major = os.major(os.fstat(descriptor).st_rdev)
    except OSError:
        return False
    return major in (4, 5, *range(136, 144))
