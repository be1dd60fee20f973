"""Fixtures that many tests share."""

from __future__ import annotations

import atexit
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Keras takes its backend from the environment, once, at import: the test process has this one.
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# Tests compile much and train little: half of the time to compile tiny networks on JAX, and steps
# that take hardly longer. What one process has compiled, all others of these tests have.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    _compiled = tempfile.mkdtemp(prefix="effv2-tune-tests-")
    atexit.register(shutil.rmtree, _compiled, ignore_errors=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _compiled
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"

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


# Commands in this process or in one of their own, with workers that train nothing.

TESTS = Path(__file__).resolve().parent
SCRIPTED_CLI = (sys.executable, str(TESTS / "end_to_end" / "scripted_cli.py"))
SCRIPTED_WORKER = (sys.executable, str(TESTS / "end_to_end" / "scripted_worker.py"))

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


def script_workers(patch: pytest.MonkeyPatch) -> None:
    """Replace the worker processes of all studies by scripted ones."""
    from effv2_tune.search.supervisor import OpenStudy

    defaults = OpenStudy.run.__kwdefaults__
    assert defaults is not None
    patch.setitem(defaults, "worker_command", SCRIPTED_WORKER)


@pytest.fixture(scope="session")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study of four scripted trials that has ended."""
    from effv2_tune import cli

    base = tmp_path_factory.mktemp("ended")
    (base / "study.yaml").write_text(STUDY)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(base)
        patch.delenv("SCRIPT", raising=False)
        script_workers(patch)
        assert cli.run(["run", "study.yaml"]) == 0
    return base / "runs" / "small"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory with `study.yaml`, whose workers are scripted."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SCRIPT", raising=False)
    script_workers(monkeypatch)
    (tmp_path / "study.yaml").write_text(STUDY)
    return tmp_path


@pytest.fixture
def tune(folder: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """A function that carries out a command line in this process."""
    del folder
    from effv2_tune import cli

    def carry_out(*arguments: str) -> Outcome:
        capfd.readouterr()
        code = cli.run(arguments)
        said = capfd.readouterr()
        return Outcome(code, said.out, said.err)

    return carry_out


@pytest.fixture
def full_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with every released weight file and every known dataset: empty files, and fitting
    checksums."""
    from effv2_tune import catalog
    from effv2_tune.data.registry import KNOWN

    cache = tmp_path_factory.mktemp("cache")
    md5 = hashlib.md5(b"").hexdigest()  # noqa: S324 - the digest that releases have
    sha256 = hashlib.sha256(b"").hexdigest()
    files = {key: replace(file, md5=md5) for key, file in catalog.WEIGHT_FILES.items()}
    paths = [cache / "weights" / file.file_name for file in files.values()]
    for name, known in KNOWN.items():
        remote = tuple(replace(file, sha256=sha256) for file in known.remote)
        monkeypatch.setitem(KNOWN, name, replace(known, remote=remote))
        paths += [cache / "datasets" / name / file.name for file in remote]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.setattr(catalog, "WEIGHT_FILES", files)
    monkeypatch.setenv("EFFV2_TUNE_CACHE", str(cache))
    return cache


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
