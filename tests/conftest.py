"""Fixtures that many tests share."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from collections.abc import Callable

# Keras takes its backend from the environment, once, at import: the test process has this one.
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

# A shell that starts the tests in its background lets them, and all that they start, ignore Ctrl-C;
# some facts are about Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A law holds on a slow machine too: no example fails for the time that it took.
settings.register_profile("laws", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("laws")

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder `shared` beside the repository: reference values, images, benchmark data."""
    if not SHARED.is_dir():
        pytest.skip("needs the folder 'shared' beside the repository (reference values and images)")
    return SHARED


@pytest.fixture(scope="session")
def run_python() -> Callable[..., str]:
    """A function that runs code in a fresh interpreter and returns its stdout.

    The code runs with warnings as they come; `env` adds to the environment; a non-zero exit
    status fails the test with the process's stderr.
    """

    def run(code: str, *, timeout: float = 300, **env: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | env,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        return done.stdout

    return run
