"""The scripted command line, many times: each command runs in a fork of a process that is warm.

Hundreds of commands cost seconds each where every one imports its packages anew. The server runs
one study in a temporary folder first; a fork then has all modules, templates and queries, and the
modules of Optuna's database migrations, which are otherwise loaded for every storage. Scripted
workers are forked likewise. Where PAUSES is set, every trial is paused at every rung.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: It trains, and writes a checkpoint after every epoch.
REAL_WORKER = (sys.executable, str(Path(__file__).resolve().with_name("real_worker.py")))
#: A process that has not ended by then is killed, and counts as hung.
TIMEOUT_SECONDS = 120

_WARM_UP = """\
name: warm
recipe: {epochs: 2, schedule: constant}
search: {halving: {rungs: [0.5]}}
search_space: {resolution: {type: choice, values: [32, 64]}}
trials: 2
"""


class Ended(NamedTuple):
    """What a command left: its exit code (negative for a signal), and its stderr."""

    code: int
    err: str


class ForkingCli:
    """A warm process that forks commands; a context manager that ends it.

    Args:
        scratch: Folder for the output of the commands.
        environment: Of all commands, in addition to that of this process.
        worker: The program of the workers; scripted ones if left out.
    """

    def __init__(
        self,
        scratch: Path,
        *,
        environment: Mapping[str, str] | None = None,
        worker: Sequence[str] = (),
    ) -> None:
        self._errors = scratch / f"stderr-{id(self)}"
        settings = {"PYTHONDONTWRITEBYTECODE": "1", "OPENBLAS_NUM_THREADS": "1"}
        self._server = subprocess.Popen(
            [sys.executable, __file__, json.dumps(worker)],
            env=os.environ | settings | dict(environment or {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.close()
        self._server.wait()
        self._server.stdout.close()

    def start(self, folder: Path, *arguments: str, **environment: str) -> int:
        """Start a command in a folder; its process id."""
        assert self._server.stdin is not None
        request = {
            "folder": str(folder),
            "arguments": arguments,
            "errors": str(self._errors),
            "environment": environment,
        }
        self._server.stdin.write(json.dumps(request) + "\n")
        return self._answer()

    def wait(self) -> Ended:
        """Wait for the command that was started last."""
        code = self._answer()
        return Ended(code, self._errors.read_text(errors="replace"))

    def run(self, folder: Path, *arguments: str, **environment: str) -> Ended:
        """Run a command in a folder."""
        self.start(folder, *arguments, **environment)
        return self.wait()

    def _answer(self) -> int:
        assert self._server.stdout is not None
        return int(self._server.stdout.readline())


def serve(worker: Sequence[str]) -> None:
    """Run the commands that arrive, one after another, with these workers."""
    from alembic.util import pyfiles
    from tests.end_to_end import scripted_worker  # noqa: F401 - so that forks have it
    from tests.search.pausing.pausing_policy import PauseAlways

    from effv2_tune import cli
    from effv2_tune.search.loop import run_study
    from effv2_tune.search.supervisor import OpenStudy
    from effv2_tune.workers import local

    popen = local.subprocess.Popen
    local.subprocess.Popen = ForkedWorker

    pyfiles.load_module_py = functools.cache(pyfiles.load_module_py)

    answers = os.fdopen(os.dup(1), "w", buffering=1)
    requests = os.fdopen(os.dup(0))
    _redirect(Path(os.devnull))
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        Path("study.yaml").write_text(_WARM_UP)
        assert cli.run(["run", "study.yaml"]) == 0
    if os.environ.get("PAUSES"):
        assert run_study.__kwdefaults__ is not None
        run_study.__kwdefaults__["policy"] = PauseAlways()
    if worker:
        local.subprocess.Popen = popen
        assert OpenStudy.run.__kwdefaults__ is not None
        OpenStudy.run.__kwdefaults__["worker_command"] = tuple(worker)
    # A fork has not to collect, and so to copy, what is here.
    gc.collect()
    gc.freeze()
    for line in requests:
        child = os.fork()
        if child == 0:
            _carry_out(json.loads(line))
        print(child, file=answers)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), file=answers)


def _carry_out(request: dict[str, Any]) -> None:
    """Run a command as a process of its own would, and exit."""
    from effv2_tune import cli

    signal.alarm(TIMEOUT_SECONDS)
    os.setsid()
    os.chdir(request["folder"])
    os.environ.update(request["environment"])
    _redirect(Path(request["errors"]))
    code = 1
    try:
        code = cli.run(request["arguments"])
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(ValueError):  # it was closed
                stream.flush()
        os._exit(code)


class ForkedWorker:
    """A scripted worker with the part of `subprocess.Popen` that the pool uses.

    Its process starts as a fork, where all that it imports is there.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        pass_fds: tuple[int],
        stdout: IO[bytes],
        **_: object,
    ) -> None:
        del command
        self.pid = os.fork()
        if self.pid == 0:
            _become_worker(pass_fds[0], stdout.fileno(), env)

    def kill(self) -> None:
        """End it with SIGKILL."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> int:
        """Its exit status, negative for a signal."""
        descriptor = os.pidfd_open(self.pid)
        ended, _, _ = select.select([descriptor], [], [], timeout)
        os.close(descriptor)
        if not ended:
            raise subprocess.TimeoutExpired("worker", timeout or 0.0)
        _, status = os.waitpid(self.pid, 0)
        return os.waitstatus_to_exitcode(status)


def _become_worker(descriptor: int, log: int, environment: Mapping[str, str]) -> None:
    """Be what a fresh worker process is, but for its memory, and exit."""
    from tests.end_to_end import scripted_worker

    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.dup2(descriptor, 3)
    # The database is the supervisor's.
    os.closerange(4, os.sysconf("SC_OPEN_MAX"))
    os.environ.update(environment)
    sys.argv = ["scripted_worker.py", "--fd", "3"]
    code = 1
    try:
        scripted_worker.main()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):  # the log may be on a full disk
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _redirect(errors: Path) -> None:
    """Let stdin and stdout be empty, and stderr a file."""
    null = os.open(os.devnull, os.O_RDWR)
    file = os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for source, target in ((null, 0), (null, 1), (file, 2)):
        os.dup2(source, target)
    os.close(null)
    os.close(file)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    serve(json.loads(sys.argv[1]))
