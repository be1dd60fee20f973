"""Runs one short study again and again, each time with another disturbance.

The command must survive each: end well, or with an error message and exit code 1. The same command
without the disturbance must then end with the result of the undisturbed study.
"""

from __future__ import annotations

import json
import shutil
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Self

from tests.end_to_end.failing_calls import Call, FailingCalls, Fault
from tests.end_to_end.forking_cli import Ended, ForkingCli
from tests.end_to_end.test_full_disk import mount, small_disk
from tests.end_to_end.undisturbed import Problem, Result, differences, result_of, wrong_end

from effv2_tune.files.cache import CACHE_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

SPACE = {
    "weight_decay": {"type": "float", "low": 1e-6, "high": 1e-1, "scale": "log"},
    "resolution": {"type": "choice", "values": [32, 64]},
}
PLAN = {
    "name": "small",
    "recipe": {"epochs": 2, "schedule": "constant"},
    "search_space": SPACE,
    "search": {"halving": {"rungs": [0.5]}},
    "trials": 5,
}


class DisturbedStudy:
    """The study, its undisturbed result, and the means to disturb it; a context manager.

    Args:
        folder: The working directory, with what the study needs.
        plan: The keys of the study file.
        worker: The program of workers that train, with the step times of an undisturbed study;
            scripted ones if left out.
        script: What scripted workers do; JSON.

    Attributes:
        calls: The calls that can be made to fail, in the order of the undisturbed study.
        out: The study's folder.
        cache: The cache folder.
    """

    def __init__(
        self,
        folder: Path,
        *,
        plan: Mapping[str, Any] = PLAN,
        worker: Sequence[str] = (),
        script: str = "{}",
    ) -> None:
        self._folder = folder
        self._disturbed = folder / "disturbed"
        self.out, self.cache = self._disturbed / "study", self._disturbed / "cache"
        clock = {"clock": {"recorded": "recorded"}} if worker else {}
        (folder / "study.yaml").write_text(json.dumps({**plan, **clock}))
        (folder / "recorded.yaml").write_text(json.dumps(plan))
        self._failing = FailingCalls(folder, under=self._disturbed)
        environment = {"SCRIPT": script, CACHE_VARIABLE: str(self.cache)}
        self._cli = ForkingCli(
            folder, environment=self._failing.environment | environment, worker=worker
        )
        self._is_recorded = bool(worker)

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            undo.push(self._cli)
            if self._is_recorded:
                ended = self._cli.run(self._folder, "run", "recorded.yaml", "--out", "recorded")
                assert ended.code == 0, ended.err
                shutil.rmtree(self._disturbed, ignore_errors=True)
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
        shutil.rmtree(self._disturbed)
        self._failing.set(fault)
        disturbed = self._run()
        happened = self._failing.failed > 0
        self._failing.clear()
        problems = [] if happened else [Problem("exit", "no call failed")]
        return problems + wrong_end(*disturbed) + self._problems_of_the_same_command()

    def problems_on_disk(self, place: Path, kilobytes: int) -> list[Problem]:
        """Run the study with a folder on a disk of that size, and then with more room."""
        shutil.rmtree(self._disturbed)
        with small_disk(place, kilobytes):
            problems = wrong_end(*self._run())
            mount("-o", "remount,size=1g", str(place))
            return problems + self._problems_of_the_same_command()

    def _problems_of_the_same_command(self) -> list[Problem]:
        ended = self._run()
        if ended.code != 0:
            return [Problem("exit", f"the same command again: {ended}")]
        return differences(self.out, self._expected)

    def _run(self) -> Ended:
        return self._cli.run(self._folder, "run", "study.yaml", "--out", str(self.out))
