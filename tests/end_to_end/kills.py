"""Kills supervisors and workers of a study at random moments until it has ended all the same."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psutil
from ruamel.yaml import YAML
from tests.end_to_end.undisturbed import Problem, Result, differences, result_of, wrong_end

from effv2_tune.errors import EXIT_FAILED

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence
    from pathlib import Path

    from tests.end_to_end.forking_cli import ForkingCli

_SEARCH = ("run", "study.yaml")
#: Share of the kills that end the supervisor; the others end one of its workers.
_SUPERVISORS = 0.45
#: An orphan is a worker that is alive this long after its supervisor.
_ORPHAN_SECONDS = 20


@dataclass
class Tally:
    """What happened to a study.

    Attributes:
        supervisors: Kills of supervisors.
        workers: Kills of workers.
        restarts: Commands that were needed.
        problems: What is not as in the undisturbed study.
    """

    supervisors: int = 0
    workers: int = 0
    restarts: int = 0
    problems: list[Problem] = field(default_factory=list)

    @property
    def kills(self) -> int:
        """Kills in all."""
        return self.supervisors + self.workers


class KilledStudy:
    """A study that is run once undisturbed, and then, on the recorded clock, under kills.

    Args:
        folder: An empty folder.
        plan: The keys of the study file.
        script: What the scripted workers do; JSON.
        confirm: The command that is run after the search, and alone is under kills; if left out,
            the search is.
    """

    def __init__(
        self,
        folder: Path,
        plan: dict[str, Any],
        *,
        script: str = "{}",
        confirm: tuple[str, ...] = (),
    ) -> None:
        self._folder = folder
        self._plan = plan
        self._environment = {"SCRIPT": script}
        self._before, self._command = ([_SEARCH], confirm) if confirm else ([], _SEARCH)
        self._seen: set[psutil.Process] = set()

    def run_undisturbed(self, cli: ForkingCli) -> Result:
        """The result of the undisturbed study."""
        folder = self._prepare("undisturbed", clock="measured")
        for command in (*self._before, self._command):
            self._run(cli, folder, command)
        return result_of(folder / "runs" / self._plan["name"])

    def run_killed(
        self,
        clis: Sequence[ForkingCli],
        expected: Result,
        random: random.Random,
        *,
        pause_seconds: float,
        most: int,
    ) -> Tally:
        """Run the study with kills, and compare.

        Args:
            clis: One supervisor each.
            expected: Result of the undisturbed study.
            random: Decides when and what is killed.
            pause_seconds: Longest pause between two kills.
            most: Kills after which the study is left alone.
        """
        name = self._plan["name"]
        clock = {"recorded": f"../undisturbed/runs/{name}"}
        folder = self._prepare("killed", clock=clock)
        for command in self._before:
            self._run(clis[0], folder, command)
        tally = Tally()
        alive: dict[ForkingCli, int] = {}
        pending = list(clis)
        while pending or alive:
            for cli in pending:
                alive[cli] = cli.start(folder, *self._command, **self._environment)
                tally.restarts += 1
            pause = random.uniform(0, pause_seconds) if tally.kills < most else None
            ended = _first_to_end(alive, pause)
            if ended is None:
                ended = self._kill_one(alive, random, tally)
            pending = []
            if ended is not None:
                del alive[ended]
                code, err = ended.wait()
                tally.supervisors += code == -signal.SIGKILL
                pending = [ended] if code in (EXIT_FAILED, -signal.SIGKILL) else []
                if code != -signal.SIGKILL:
                    tally.problems += wrong_end(code, err)
        out = folder / "runs" / name
        tally.problems += self._orphans() + differences(out, expected)
        return tally

    def _run(self, cli: ForkingCli, folder: Path, command: tuple[str, ...]) -> None:
        """Run a command that nothing disturbs."""
        ended = cli.run(folder, *command, **self._environment)
        assert ended.code == 0, ended.err

    def _prepare(self, name: str, **changes: Any) -> Path:
        folder = self._folder / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        with (folder / "study.yaml").open("w") as file:
            YAML().dump(self._plan | changes, file)
        return folder

    def _kill_one(
        self, alive: dict[ForkingCli, int], random: random.Random, tally: Tally
    ) -> ForkingCli | None:
        """Kill a supervisor, which is returned, or one of its workers."""
        cli, supervisor = random.choice(list(alive.items()))
        workers: list[psutil.Process] = []
        with contextlib.suppress(psutil.NoSuchProcess):
            workers = psutil.Process(supervisor).children()
        self._seen.update(workers)
        if workers and random.random() > _SUPERVISORS:
            with contextlib.suppress(psutil.NoSuchProcess):
                random.choice(workers).kill()
                tally.workers += 1
            return None
        with contextlib.suppress(ProcessLookupError):
            os.kill(supervisor, signal.SIGKILL)
        return cli

    def _orphans(self) -> list[Problem]:
        """Workers that outlived their supervisor."""
        _, alive = psutil.wait_procs(self._seen, timeout=_ORPHAN_SECONDS)
        return [
            Problem("exit", f"worker {process.pid} outlived its supervisor") for process in alive
        ]


def _first_to_end(alive: dict[ForkingCli, int], timeout: float | None) -> ForkingCli | None:
    """The first command that ends by itself within the timeout; None where none does."""
    with contextlib.ExitStack() as files:
        descriptors = {}
        for cli, pid in alive.items():
            try:
                descriptor = os.pidfd_open(pid)
            except ProcessLookupError:
                return cli
            files.callback(os.close, descriptor)
            descriptors[descriptor] = cli
        ready, _, _ = select.select(list(descriptors), [], [], timeout)
        return descriptors[ready[0]] if ready else None
