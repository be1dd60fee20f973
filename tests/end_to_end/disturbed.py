"""Runs one short study again and again, each time with another disturbance.

The command must survive each: end well, or with an error message and exit code 1. The same command
without the disturbance must then end with the result of the undisturbed study.
"""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

from tests.end_to_end.failing_calls import Call, FailingCalls, Fault
from tests.end_to_end.forking_cli import Ended, ForkingCli
from tests.end_to_end.test_full_disk import mount, small_disk
from tests.end_to_end.undisturbed import Problem, Result, differences, result_of, wrong_end

if TYPE_CHECKING:
    from pathlib import Path

STUDY = """\
name: small
recipe: {epochs: 2, schedule: constant}
search_space:
  weight_decay: {type: float, low: 1e-6, high: 1e-1, scale: log}
  resolution: {type: choice, values: [32, 64]}
search: {halving: {rungs: [0.5]}}
trials: 5
"""
_COMMAND = ("run", "study.yaml")


class DisturbedStudy:
    """The study, its undisturbed result, and the means to disturb it; a context manager.

    Args:
        scratch: An empty folder.
        script: What the scripted workers do; JSON.
        keep: The trials whose checkpoints are kept.

    Attributes:
        calls: The calls that can be made to fail, in the order of the undisturbed study.
        out: The study's folder.
    """

    def __init__(self, scratch: Path, *, script: str = "{}", keep: str = "front") -> None:
        self._folder = scratch / "study"
        self._folder.mkdir()
        (self._folder / "study.yaml").write_text(f"{STUDY}keep: {keep}\n")
        self.out = self._folder / "runs" / "small"
        self._failing = FailingCalls(scratch, under=self._folder / "runs")
        environment = self._failing.environment | {"SCRIPT": script}
        self._cli = ForkingCli(scratch, environment=environment)

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            undo.push(self._cli)
            self._failing.set(Fault(at=0), is_logged=True)
            ended = self._run()
            assert ended.code == 0, ended.err
            self.calls: list[Call] = self._failing.calls()
            self._expected: Result = result_of(self.out)
            assert differences(self.out, self._expected) == []
            undo.pop_all()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._cli.__exit__(*exc_info)

    def problems_after(self, fault: Fault) -> list[Problem]:
        """Run the study with a fault, and then without; what went wrong, nothing if all is well."""
        shutil.rmtree(self.out.parent)
        self._failing.set(fault)
        disturbed = self._run()
        happened = self._failing.failed > 0
        self._failing.clear()
        problems = [] if happened else [Problem("exit", "no call failed")]
        return problems + wrong_end(*disturbed) + self._problems_of_the_same_command()

    def problems_on_disk(self, kilobytes: int) -> list[Problem]:
        """Run the study on a disk of that size, and then with more room; what went wrong."""
        shutil.rmtree(self.out.parent)
        with small_disk(self.out.parent, kilobytes):
            problems = wrong_end(*self._run())
            mount("-o", "remount,size=1g", str(self.out.parent))
            problems += self._problems_of_the_same_command()
        # For the next case.
        self.out.parent.mkdir(exist_ok=True)
        return problems

    def _problems_of_the_same_command(self) -> list[Problem]:
        ended = self._run()
        if ended.code != 0:
            return [Problem("exit", f"the same command again: {ended}")]
        return differences(self.out, self._expected)

    def _run(self) -> Ended:
        return self._cli.run(self._folder, *_COMMAND)
