"""Requests to stop: how signals and sessions become one."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from effv2_tune.errors import EXIT_INTERRUPTED
from effv2_tune.interruption import GRACE_SECONDS, StopRequest, exits_at, signals_stop

if TYPE_CHECKING:
    from collections.abc import Callable

HOUR = 3600.0


def request_of(hours: float) -> StopRequest:
    stop = StopRequest()
    stop.limit_session(hours)
    return stop


def test_without_a_session_there_is_no_request() -> None:
    stop = StopRequest()

    assert not stop.is_due(1e9)
    assert stop.seconds_left(0.0) == stop.poll_seconds(0.0) == stop.ends_at == math.inf


def test_workers_are_asked_twice_their_longest_time_before_the_end() -> None:
    quick, slow = (request_of(9).seconds_left(seconds) for seconds in (1.0, 300.0))

    assert quick == pytest.approx(9 * HOUR - 10 - 10, abs=1)
    assert slow == pytest.approx(9 * HOUR - 10 - 600, abs=1)


def test_a_short_session_is_not_all_lead_time() -> None:
    stop = request_of(20 / HOUR)

    assert stop.seconds_left(300.0) == pytest.approx(20 - 2 - 5, abs=1)
    assert stop.grace_seconds() == pytest.approx(18, abs=1)


def test_a_session_that_is_over_is_due_and_has_no_grace() -> None:
    stop = request_of(1e-9)

    assert stop.is_due(0.0)
    assert stop.grace_seconds() == 0
    assert stop.reason == "The session is about to end"


def test_the_first_signal_is_a_request_and_the_next_one_an_exception() -> None:
    with signals_stop(StopRequest(), is_deferred=True) as stop:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGHUP)  # the same request
        assert stop.is_due(0.0)
        assert stop.reason == "SIGTERM was received"
        assert 0 < stop.grace_seconds() <= GRACE_SECONDS

        time.sleep(1.1)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)


def test_a_signal_that_nobody_polls_is_an_exception() -> None:
    with signals_stop(StopRequest()), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGHUP)


def test_ignored_signals_stay_ignored_and_others_are_restored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    other = signal.getsignal(signal.SIGTERM)
    try:
        with signals_stop(StopRequest(), is_deferred=True) as stop:
            assert signal.getsignal(signal.SIGTERM) == stop.receive
            signal.raise_signal(signal.SIGHUP)
            assert stop.signal is None
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGTERM) is other
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_third_signal_ends_the_process_without_a_traceback() -> None:
    code = (
        "import signal, time\n"
        "from effv2_tune.interruption import StopRequest, signals_stop\n"
        "with signals_stop(StopRequest()):\n"
        "    try:\n"
        "        signal.raise_signal(signal.SIGINT)\n"
        "    except KeyboardInterrupt:\n"
        "        time.sleep(1.1)\n"
        "        signal.raise_signal(signal.SIGINT)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)

    assert (done.returncode, done.stderr) == (-signal.SIGINT, b"")


def test_a_process_ends_at_a_moment_whatever_it_does(run_python: Callable[..., str]) -> None:
    run_python(
        "import time\n"
        "from effv2_tune.interruption import exits_at\n"
        "with exits_at(time.monotonic() + 0.2, 'over'):\n"
        "    time.sleep(600)\n"
    )


def test_a_process_that_is_done_before_goes_on() -> None:
    with exits_at(time.monotonic() + HOUR, "over"), exits_at(math.inf, "never"):
        assert os.getpid()


BUSY = """
import hashlib, os, signal, threading, time
from effv2_tune.interruption import StopRequest, exits_after_signals, signals_stop

threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM)).start()
if {again}:
    threading.Timer(1.6, os.kill, (os.getpid(), signal.SIGTERM)).start()
with signals_stop(StopRequest()), exits_after_signals({first_seconds}):
    # No instruction of Python is executed, as in a compilation.
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("first_seconds", "again"), [("0.5", False), ("", True)])
def test_signals_end_a_process_that_does_not_get_to_handle_them(
    first_seconds: str, *, again: bool
) -> None:
    code = BUSY.format(first_seconds=first_seconds, again=again)

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=False, timeout=60, text=True
    )

    assert done.returncode == EXIT_INTERRUPTED
    assert done.stderr == "Interrupted. Rerun the same command to resume.\n"


def test_a_handled_signal_ends_nothing(run_python: Callable[..., str]) -> None:
    run_python(
        "import signal\n"
        "from effv2_tune.interruption import StopRequest, exits_after_signals, signals_stop\n"
        "with signals_stop(StopRequest(), is_deferred=True) as stop, exits_after_signals(600):\n"
        "    signal.raise_signal(signal.SIGTERM)\n"
        "    assert stop.is_due(0.0)\n"
    )
