"""Commands in this process or in one of their own, with workers that train nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from effv2_tune import cli
from effv2_tune.search.supervisor import OpenStudy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).resolve().parent
SCRIPTED_CLI = (sys.executable, str(HERE / "scripted_cli.py"))
SCRIPTED_WORKER = (sys.executable, str(next(HERE.parent.rglob("scripted_worker.py"))))

STUDY = """\
name: small
recipe: {epochs: 4, schedule: constant}
search_space:
  weight_decay: {type: float, low: 1e-6, high: 1e-1, scale: log}
  resolution: {type: choice, values: [32, 64]}
search: {halving: {enabled: false}}
trials: 4
"""


@dataclass(frozen=True)
class Outcome:
    """What a command left: its exit code, and what it said."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study of four scripted trials that has ended."""
    base = tmp_path_factory.mktemp("ended")
    (base / "study.yaml").write_text(STUDY)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(base)
        patch.delenv("SCRIPT", raising=False)
        defaults = OpenStudy.run.__kwdefaults__
        assert defaults is not None
        patch.setitem(defaults, "worker_command", SCRIPTED_WORKER)
        assert cli.run(["run", "study.yaml"]) == 0
    return base / "runs" / "small"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory with `study.yaml`, whose workers are scripted."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SCRIPT", raising=False)
    defaults = OpenStudy.run.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "worker_command", SCRIPTED_WORKER)
    (tmp_path / "study.yaml").write_text(STUDY)
    return tmp_path


@pytest.fixture
def tune(folder: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """A function that carries out a command line in this process."""
    del folder

    def carry_out(*arguments: str) -> Outcome:
        capfd.readouterr()
        code = cli.run(arguments)
        said = capfd.readouterr()
        return Outcome(code, said.out, said.err)

    return carry_out


@pytest.fixture
def study(folder: Path, ended: Path) -> Path:
    """A copy of the ended study, where `run study.yaml` put it."""
    shutil.copytree(ended, folder / "runs" / "small")
    return Path("runs/small")


@pytest.fixture
def start(folder: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """A function that starts a command line in a process of its own."""
    started: list[subprocess.Popen[str]] = []

    def begin(*arguments: str, **env: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*SCRIPTED_CLI, *arguments],
            cwd=folder,
            env=os.environ | env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()
