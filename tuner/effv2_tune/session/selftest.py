"""The self-test of ``doctor``: in processes of its own, a device is held to the trainer's word."""

from __future__ import annotations

import getpass
import os
import platform
import re
import socket
import subprocess
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from effv2_tune.errors import EXIT_FAILED, TuneError
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
from effv2_tune.workers.local import (
    Job,
    ProcessPool,
    WorkerExited,
    describe_exit,
    worker_environment,
)
from effv2_tune.workers.messages import Check, EpochEnded, Finished, Prepare, Ready, Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from effv2_tune.host import Hardware
    from effv2_tune.study.recipe import Recipe
    from effv2_tune.workers.messages import CheckName, FromWorker

Message = TypeVar("Message")

SELFTEST_COMMAND = (sys.executable, "-m", "effv2_tune.training.device_checks")

#: A device that is silent for so long hangs: the largest compilation here takes a minute or two.
_PATIENCE_SECONDS = 300.0
_GRACE_SECONDS = 10.0
_IN_ONE_PROCESS: tuple[CheckName, ...] = (
    "dispatch",
    "devices",
    "precision",
    "evaluation",
    "step time",
)
_WHOLE, _CUT = 0, 1
#: Epochs after which the second trial is killed as soon as it has come a little further.
_EPOCHS_BEFORE = 2
#: So long that a window of 0.3 s has two steps, and a checkpoint lies inside every epoch.
_STEP_SECONDS = 0.2
_LOG_LINES = 15


class SelfTest:
    """One self-test of one device.

    Args:
        hardware: What is tested.
        folder: An empty one, for logs and checkpoints.
        tell: Hears what is being done, in sentences.
        command: What checks the device; ``--fd N --backend B --hardware H`` is added.

    Attributes:
        environment: What the device's process runs on; None before it has started.
        checks: What has been found so far.
        seconds: How long it took; 0 before the end.
    """

    def __init__(
        self,
        hardware: Hardware,
        *,
        folder: Path,
        tell: Callable[[str], None],
        command: Sequence[str] = SELFTEST_COMMAND,
    ) -> None:
        self._command = command
        self._hardware = hardware
        self._folder = folder
        self._tell = tell
        self._worker_environment = worker_environment(
            hardware.backend,
            hardware.kind,
            workers=1,
            cpu_count=len(os.sched_getaffinity(0)),
        )
        self.environment: Environment | None = None
        self.checks: list[Check] = []
        self.seconds = 0.0

    @property
    def passed(self) -> bool:
        """Whether everything is as promised."""
        return bool(self.checks) and all(check.passed for check in self.checks)

    def run(self) -> Iterator[Check]:
        """Yield each check when it is done. What a process dies of is a failed check, no error.

        Raises:
            TuneError: There is no such device.
        """
        started = time.monotonic()
        for check in self._all():
            self.checks.append(check)
            yield check
        self.seconds = time.monotonic() - started

    def last_words(self) -> list[str]:
        """The end of what the processes wrote, the last one's; nothing where all is well."""
        logs = [self._log, *sorted(self._folder.glob("logs/*.log"))]
        written = [log for log in logs if log.is_file() and log.stat().st_size]
        if self.passed or not written:
            return []
        text = written[-1].read_text(encoding="utf-8", errors="replace")
        return text.splitlines()[-_LOG_LINES:]

    @property
    def _log(self) -> Path:
        return self._folder / "selftest.log"

    def _all(self) -> Iterator[Check]:
        self._tell(f"starting {self._hardware.backend}, and compiling a small network")
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
        """The checks of one process, which may die of any of them."""
        awaited = list(_IN_ONE_PROCESS)
        connection, process = self._start()
        with connection, process:
            for message in _said(connection):
                if isinstance(message, Environment):
                    self.environment = message
                elif isinstance(message, Refused):
                    raise TuneError(message.message, hint=message.hint, exit_code=EXIT_FAILED)
                elif isinstance(message, Check):
                    awaited.remove(message.name)
                    yield message
            ended = _end(process)
        for name in awaited:
            yield _failed(name, ended if name == awaited[0] else "not reached")

    def _start(self) -> tuple[Connection, subprocess.Popen[bytes]]:
        """A process that checks, and the end of the pipe that it speaks into."""
        ours, theirs = os.pipe()
        command = [
            *(*self._command, "--fd", str(theirs)),
            *("--backend", self._hardware.backend, "--hardware", self._hardware.kind),
        ]
        with os.fdopen(theirs, "wb"), self._log.open("wb") as log:
            process = subprocess.Popen(
                command,
                env=os.environ | self._worker_environment,
                pass_fds=(theirs,),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        return Connection(ours, writable=False), process

    def _resume(self, recipe: Recipe) -> Check:
        """A trial whose worker is killed ends as one that is left alone."""
        prepare = Prepare(
            data=recipe.data,
            base=self._folder,
            backend=self._hardware.backend,
            hardware=self._hardware.kind,
            precision="auto",
            checkpoint_seconds=0.0,
        )
        with ProcessPool(
            prepare, count=1, out=self._folder, environment=self._worker_environment
        ) as pool:
            pool.start()
            story = _story(pool)
            _await(Ready, story)
            self._tell("training in a worker")
            pool.assign(0, _job(_WHOLE, recipe))
            _await(Finished, story)
            self._tell("training again, and killing the worker in mid-training")
            pool.assign(0, _job(_CUT, recipe))
            killed_after = _kill_in_mid_training(pool, story)
            self._tell("going on in a new worker")
            pool.assign(0, _job(_CUT, recipe))
            went_on = _await(EpochEnded, story).epoch.epoch
            finished = _await(Finished, story)
        kept = [CheckpointFolder(pool.checkpoint(trial)).latest() for trial in (_WHOLE, _CUT)]
        ends = [{} if one is None else trained_weights(one.arrays) for one in kept]
        distance = relative_distance(*ends)
        is_on = went_on > _EPOCHS_BEFORE and finished.outcome == "complete"
        return Check(
            name="resume",
            passed=is_on and distance <= TOLERANCE[self._hardware.kind],
            figure=f"killed after step {killed_after}, went on in epoch {went_on} of "
            f"{recipe.epochs}: {format_distance(distance)}",
        )


def report_lines(test: SelfTest) -> list[str]:
    """What to paste into a bug report: versions, device, figures; nothing of the person.

    Args:
        test: It has been run.
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
    lines += [f"| {line}" for line in test.last_words()]
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
        text: Of any kind.
        home: In place of this user's home folder.
        user: In place of this user's name.
        host: In place of this machine's name.
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


def _said(connection: Connection) -> Iterator[object]:
    """What comes, until the other end is closed or silent for long."""
    while connection.poll(_PATIENCE_SECONDS):
        try:
            yield connection.recv()
        except EOFError:
            return


def _end(process: subprocess.Popen[bytes]) -> str:
    """End a process that has nothing more to say; how it did, in words."""
    try:
        return describe_exit(process.wait(_GRACE_SECONDS))
    except subprocess.TimeoutExpired:
        process.kill()
        return f"silent for {_PATIENCE_SECONDS:.0f} seconds"


def _story(pool: ProcessPool) -> Iterator[FromWorker | WorkerExited]:
    """What the only worker of a pool says.

    Raises:
        TuneError: It refuses to work, or is silent for long.
    """
    while heard := pool.wait(_PATIENCE_SECONDS):
        for _, message in heard:
            if isinstance(message, Refused):
                raise TuneError(message.message, hint=message.hint, exit_code=EXIT_FAILED)
            yield message
    raise TuneError(f"the worker was silent for {_PATIENCE_SECONDS:.0f} seconds")


def _await(kind: type[Message], story: Iterator[FromWorker | WorkerExited]) -> Message:
    """The next message of a kind; those of others are passed over, but for a death."""
    for message in story:
        if isinstance(message, kind):
            return message
        if isinstance(message, WorkerExited):
            raise TuneError(f"the worker ended: {message.cause}")
        if isinstance(message, Finished):
            raise TuneError(f"the trial was over too soon: {message.reason or message.outcome}")
    raise AssertionError("a story never ends by itself")


def _kill_in_mid_training(pool: ProcessPool, story: Iterator[FromWorker | WorkerExited]) -> int:
    """Kill the worker inside an epoch; returns the step of the newest checkpoint."""
    while _await(EpochEnded, story).epoch.epoch < _EPOCHS_BEFORE:
        pass
    folder = CheckpointFolder(pool.checkpoint(_CUT))
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while folder.newest_step() <= _EPOCHS_BEFORE * EPOCH_STEPS and time.monotonic() < deadline:
        time.sleep(0.002)
    pool.kill(0)
    _await(WorkerExited, story)
    newest = folder.newest_step()
    _await(Ready, story)
    return newest


def _job(number: int, recipe: Recipe) -> Job:
    trial = Trial(number=number, state="running", config={}, recipe=recipe)
    return Job(trial, recipe.epochs, (), _STEP_SECONDS)


def _failed(name: CheckName, why: str) -> Check:
    return Check(name=name, passed=False, figure=why)
