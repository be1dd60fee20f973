"""Runs the self-test of ``doctor``: checks a device in separate processes."""

from __future__ import annotations

import getpass
import platform
import re
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from effv2_tune.errors import TuneError
from effv2_tune.files.checkpoint import CheckpointFolder
from effv2_tune.study.trial import Environment, Trial
from effv2_tune.training.device_checks import (
    EPOCH_STEPS,
    TOLERANCE,
    format_distance,
    relative_distance,
    selftest_recipe,
    trained_weights,
)
from effv2_tune.workers.exits import describe_exit
from effv2_tune.workers.launch import WorkerSpec, worker_environment
from effv2_tune.workers.local import LocalProcess, local_pool
from effv2_tune.workers.messages import Check, EpochEnded, Finished, Prepare, Ready, Refused
from effv2_tune.workers.pool import Job, WorkerExited, messages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from effv2_tune.host import Hardware
    from effv2_tune.study.recipe import Recipe
    from effv2_tune.workers.messages import CheckName, FromWorker
    from effv2_tune.workers.supervised_pool import SupervisedPool

Message = TypeVar("Message")

SELFTEST_COMMAND = (sys.executable, "-m", "effv2_tune.training.device_checks")

#: A process without messages for so long hangs: compiling takes a minute or two at most.
_TIMEOUT_SECONDS = 300.0
_GRACE_SECONDS = 10.0
_IN_ONE_PROCESS: tuple[CheckName, ...] = (
    "dispatch",
    "devices",
    "precision",
    "evaluation",
    "step time",
)
_WHOLE, _CUT = 0, 1
#: The second trial is killed at the first checkpoint after so many epochs.
_EPOCHS_BEFORE = 2
#: So long that a window of 0.3 s has two steps, and every epoch has a checkpoint inside.
_STEP_SECONDS = 0.2
_LOG_LINES = 15


class SelfTest:
    """One self-test of one device.

    Args:
        hardware: The device.
        folder: An empty folder for logs and checkpoints.
        on_step: Called with a message at each step.
        command: The command that checks the device; ``--fd N --backend B --hardware H`` is added.

    Attributes:
        environment: Of the process that uses the device; None before it has started.
        checks: The results so far.
        seconds: Duration; 0 before the end.
    """

    def __init__(
        self,
        hardware: Hardware,
        *,
        folder: Path,
        on_step: Callable[[str], None],
        command: Sequence[str] = SELFTEST_COMMAND,
    ) -> None:
        self._command = command
        self._hardware = hardware
        self._folder = folder
        self._log = folder / "selftest.log"
        self._on_step = on_step
        self.environment: Environment | None = None
        self.checks: list[Check] = []
        self.seconds = 0.0

    @property
    def passed(self) -> bool:
        """Whether all checks passed."""
        return bool(self.checks) and all(check.passed for check in self.checks)

    def run(self) -> Iterator[Check]:
        """Yield each check when it is done; the crash of a process is a failed check, not an error.

        Raises:
            TuneError: There is no such device.
        """
        started = time.monotonic()
        for check in self._all():
            self.checks.append(check)
            yield check
        self.seconds = time.monotonic() - started

    def log_tail(self) -> list[str]:
        """The end of the last process's log; empty if all checks passed."""
        logs = [self._log, *sorted(self._folder.glob("logs/*.log"))]
        written = [log for log in logs if log.is_file() and log.stat().st_size]
        if self.passed or not written:
            return []
        text = written[-1].read_text(encoding="utf-8", errors="replace")
        return text.splitlines()[-_LOG_LINES:]

    def _all(self) -> Iterator[Check]:
        self._on_step(f"starting {self._hardware.backend}, and compiling a small network")
        yield from self._on_the_device()
        if self.environment is None:
            return
        recipe = selftest_recipe(
            self.environment.device_count, precision=self.environment.precision
        )
        try:
            yield self._resume(recipe)
        except TuneError as error:
            yield _failed("resume", error.message)

    def _on_the_device(self) -> Iterator[Check]:
        """The checks that one process runs, any of which may crash it."""
        pending = list(_IN_ONE_PROCESS)
        backend, kind = self._hardware.backend, self._hardware.kind
        process = LocalProcess(
            [*self._command, "--backend", backend, "--hardware", kind],
            environment=worker_environment(backend, kind, workers=1, cpu_count=1),
            log=self._log,
        )
        try:
            for message in process.messages(timeout_seconds=_TIMEOUT_SECONDS):
                if isinstance(message, Environment):
                    self.environment = message
                elif isinstance(message, Refused):
                    raise message.error()
                elif isinstance(message, Check):
                    pending.remove(message.name)
                    yield message
            status = process.end(grace_seconds=_GRACE_SECONDS)
        finally:
            process.end(grace_seconds=0.0)
        silent = f"no message for {_TIMEOUT_SECONDS:.0f} seconds"
        ended = silent if status is None else describe_exit(status)
        for name in pending:
            yield _failed(name, ended if name == pending[0] else "not reached")

    def _resume(self, recipe: Recipe) -> Check:
        """Check that a trial whose worker is killed ends with the weights of an undisturbed one."""
        prepare = Prepare(
            data=recipe.data,
            base=self._folder,
            backend=self._hardware.backend,
            hardware=self._hardware.kind,
            precision="auto",
            checkpoint_seconds=0.0,
        )
        with local_pool(WorkerSpec(prepare), count=1, out=self._folder) as pool:
            pool.start()
            received = messages(pool, timeout_seconds=_TIMEOUT_SECONDS)
            _await(Ready, received)
            self._on_step("training in a worker")
            pool.assign(0, _job(_WHOLE, recipe))
            _await(Finished, received)
            self._on_step("training again, and killing the worker in mid-training")
            pool.assign(0, _job(_CUT, recipe))
            killed_after = _kill_in_mid_training(pool, received)
            self._on_step("resuming in a new worker")
            pool.assign(0, _job(_CUT, recipe))
            resumed_in = _await(EpochEnded, received).epoch.epoch
            finished = _await(Finished, received)
        kept = [CheckpointFolder(pool.checkpoint(trial)).latest() for trial in (_WHOLE, _CUT)]
        ends = [{} if one is None else trained_weights(one.arrays) for one in kept]
        distance = relative_distance(*ends)
        has_resumed = resumed_in > _EPOCHS_BEFORE and finished.outcome == "complete"
        return Check(
            name="resume",
            passed=has_resumed and distance <= TOLERANCE[self._hardware.kind],
            figure=f"killed after step {killed_after}, resumed in epoch {resumed_in} of "
            f"{recipe.epochs}: {format_distance(distance)}",
        )


def report_lines(test: SelfTest) -> list[str]:
    """The text for a bug report: versions, device and figures; nothing that identifies the user.

    Args:
        test: A test that has been run.
    """
    where = test.environment
    lines = ["--- effv2-tune self-test: paste from here ---", platform.platform()]
    if where is not None:
        versions = ", ".join(f"{name} {found}" for name, found in where.versions.items())
        device = f"{where.device_count} x {where.device_kind}"
        lines += [
            versions,
            f"{device}, {where.backend}, {where.precision}, {where.threads} threads",
        ]
    verdict = "passed" if test.passed else "FAILED"
    lines += [*map(check_line, test.checks), f"{verdict} in {test.seconds:.0f} s"]
    lines += [f"| {line}" for line in test.log_tail()]
    return [*map(without_names, lines), "--- to here ---"]


def check_line(check: Check) -> str:
    """A check as a line of text."""
    return f"{check.name:<11} {'ok' if check.passed else 'FAILED':<7} {check.figure}"


def without_names(
    text: str,
    *,
    home: Path | None = None,
    user: str | None = None,
    host: str | None = None,
) -> str:
    """A text without home folders, the user's name and the machine's.

    Args:
        text: Any text.
        home: Instead of this user's home folder.
        user: Instead of this user's name.
        host: Instead of this machine's name.
    """
    text = text.replace(str(Path.home() if home is None else home), "~")
    text = re.sub(r"/(home|Users)/[^/\s:]+", "~", text)
    for name, word in (
        (_user() if user is None else user, "USER"),
        (socket.gethostname() if host is None else host, "HOST"),
    ):
        if name:
            text = re.sub(rf"(?<![\w-]){re.escape(name)}(?![\w-])", word, text)
    return text


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""  # some containers run under a number that has no name


def _await(kind: type[Message], received: Iterator[FromWorker | WorkerExited]) -> Message:
    """The next message of a kind; others are skipped, except the exit of the worker."""
    for message in received:
        if isinstance(message, kind):
            return message
        if isinstance(message, WorkerExited):
            raise TuneError(f"the worker ended: {message.cause}")
        if isinstance(message, Finished):
            raise TuneError(f"the trial ended too early: {message.reason or message.outcome}")
    raise AssertionError("the messages of a worker never end")


def _kill_in_mid_training(
    pool: SupervisedPool, received: Iterator[FromWorker | WorkerExited]
) -> int:
    """Kill the worker inside an epoch; returns the step of the newest checkpoint."""
    while _await(EpochEnded, received).epoch.epoch < _EPOCHS_BEFORE:
        pass
    folder = CheckpointFolder(pool.checkpoint(_CUT))
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    while folder.newest_step() <= _EPOCHS_BEFORE * EPOCH_STEPS and time.monotonic() < deadline:
        time.sleep(0.002)
    pool.kill(0)
    _await(WorkerExited, received)
    newest = folder.newest_step()
    _await(Ready, received)
    return newest


def _job(number: int, recipe: Recipe) -> Job:
    trial = Trial(number=number, state="running", config={}, recipe=recipe)
    return Job(trial, recipe.epochs, (), _STEP_SECONDS)


def _failed(name: CheckName, why: str) -> Check:
    return Check(name=name, passed=False, figure=why)
