"""Damages files of a study and of the caches, one at a time, and reads and runs on with them.

Each case damages one file of a copy of a small site, then gives the commands that read it. Each
either says what it says of the undamaged site, or ends with an error message and exit code 1 or 2.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import re
import shutil
import sqlite3
import subprocess
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.conftest import STUDY, script_workers
from tests.data.examples import ON_DISK, load, write_folder
from tests.data.test_published import with_remote, write_batches, write_tar
from tests.end_to_end.damages import BYTES, append, edit_database, swap_page
from tests.files.http_server import Server
from tests.training.features.test_cache import FACTS, _file, _fill

from effv2_tune import cli
from effv2_tune.data import load_dataset
from effv2_tune.data.registry import KNOWN
from effv2_tune.errors import TuneError
from effv2_tune.files.cache import CACHE_VARIABLE
from effv2_tune.files.checkpoint import Checkpoint, CheckpointFolder
from effv2_tune.search import read_study
from effv2_tune.session.known_times import keep_measured, known_times
from effv2_tune.study.recipe import DataSpec
from effv2_tune.study.training_run import load_training_run
from effv2_tune.training.features.cache import FeatureCache
from effv2_tune.workers.messages import Measured

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.end_to_end.damages import Damage

    from effv2_tune.data.registry import KnownDataset

SMALL = "runs/small"
READING: dict[str, tuple[str, ...]] = {
    "status": ("status", SMALL, "--json"),
    "trials": ("trials", SMALL, "--format", "json"),
    "export": ("export", SMALL, "-o", "exported.yaml"),
    "report": ("report", SMALL),
    "check": ("check", "study.yaml"),
}
RUN = ("run", "study.yaml", "--trials", "6")
CIFAR10 = DataSpec(name="cifar10", stratify=False)


@dataclass(frozen=True)
class Place:
    """A working directory with a site in it.

    Attributes:
        folder: Where it is.
        known: The published data sets, on a server of this process.
    """

    folder: Path
    known: dict[str, KnownDataset]


@dataclass(frozen=True)
class Reading:
    """What reading came to.

    Attributes:
        value: What was read; None for an error message.
        error: The error message.
    """

    value: Any = None
    error: str = ""


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        files: Pattern of its files, from the site's folder.
        read: What reads it, by name.
        runs_on: The share of cases that run the study to its end.
        weight: How many cases it has, relative to others.
        other: Where the same file of another study is; a prefix to replace.
        damages: What may happen to it.
        is_edited: Whether people write it, so that other valid contents are theirs.
        allowed: What else may be read, as an older checkpoint.
        prepare: Done to the site before.
    """

    files: str
    read: Sequence[Callable[[Place], Any]]
    runs_on: float = 0.0
    weight: int = 1
    other: tuple[str, str] | None = None
    damages: Sequence[Damage] = BYTES
    is_edited: bool = False
    allowed: tuple[Any, ...] = ()
    prepare: Callable[[Path], None] = lambda _: None


def command(name: str) -> Callable[[Place], Any]:
    """A command in this process; its output, or its error message as a TuneError."""

    def read(place: Place) -> Any:
        (place.folder / "exported.yaml").unlink(missing_ok=True)
        out = said(READING[name])
        if name == "export":
            return (place.folder / "exported.yaml").read_text()
        if name == "status":
            return json.loads(out) | {"contradictions": []}
        return out

    read.__name__ = name
    return read


def said(arguments: Sequence[str]) -> str:
    """Stdout of a command; its error message is raised."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.run(arguments)
    if code == 0:
        return out.getvalue()
    assert code in (1, 2), code
    message = err.getvalue()
    assert "Error: " in message, message
    assert "Traceback" not in message, message
    raise TuneError(message.partition("Error: ")[2])


def run_on(place: Place) -> Any:
    """The trials of the study, run to its end."""
    said(RUN)
    return [
        (trial.number, trial.state, trial.config, trial.measurement)
        for trial in read_study(place.folder / SMALL).trials
    ]


def latest_checkpoint(place: Place) -> Any:
    return as_read(CheckpointFolder(place.folder / "checkpoints").latest())


def as_read(checkpoint: Checkpoint | None) -> Any:
    if checkpoint is None:
        return None
    return {name: array.tolist() for name, array in checkpoint.arrays.items()}, checkpoint.facts


def features(place: Place) -> Any:
    del place
    FeatureCache().entries()
    with FeatureCache().exclusive(FACTS, on_wait=lambda: None) as folder:
        file = _file(folder)
        found = file.read()
        if found is None:
            _fill(file)
            found = file.read()
        return None if found is None else np.asarray(found).tolist()


def images(place: Place) -> Any:
    return load(place.folder, memory_limit=ON_DISK).digest


def published(place: Place) -> Any:
    folder = place.folder
    return load_dataset(CIFAR10, base=folder, cache=folder / "published", known=place.known).digest


def measured_times(place: Place) -> Any:
    found = known_times("tensorflow", threads=1, out=place.folder / "none")
    # A time that is lost is measured again.
    return [known.step_seconds for known in found.values()] or [MEASURED_SECONDS]


def training_run(place: Place) -> Any:
    return load_training_run(place.folder / "train.yaml").run


def leave_journal(folder: Path) -> None:
    """Leave database and journal as a supervisor does that is killed in the middle of a write."""
    database = folder / SMALL / "study.db"
    journal = database.with_name("study.db-journal")
    with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("PRAGMA cache_size = 1")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("UPDATE trial_user_attributes SET value_json = value_json || ' x'")
        half_written, old = database.read_bytes(), journal.read_bytes()
        connection.execute("ROLLBACK")
    database.write_bytes(half_written)
    journal.write_bytes(old)


STORED = tuple(command(name) for name in ("status", "trials", "export", "report"))
SELDOM = tuple(command(name) for name in ("status", "report"))
MEASURED_SECONDS = 0.125
CHECKPOINTS = [
    Checkpoint({"weights": np.arange(200, dtype=np.float32) + step}, {"step": step})
    for step in (1, 2)
]
OTHER = ("runs/small/", "runs/other/")
OLDER = ("study.db", "study.db.backup-older")

#: Every kind of file; a new kind is a line here, and its files in :func:`make_site`.
KINDS: dict[str, Kind] = {
    "database, bytes": Kind(
        f"{SMALL}/study.db", STORED, runs_on=0.25, weight=24, other=OTHER, damages=BYTES[:-1]
    ),
    "database, pages of another study": Kind(
        f"{SMALL}/study.db", STORED, 0.25, 4, OTHER, (swap_page,)
    ),
    "database, pages of before": Kind(f"{SMALL}/study.db", STORED, 0.25, 4, OLDER, (swap_page,)),
    "database, rows": Kind(
        f"{SMALL}/study.db", STORED, runs_on=0.4, weight=32, damages=(edit_database,)
    ),
    "backups": Kind(f"{SMALL}/study.db.backup*", SELDOM, runs_on=0.3, weight=3, other=OTHER),
    "journal": Kind(
        f"{SMALL}/study.db-journal", STORED, runs_on=0.5, weight=4, prepare=leave_journal
    ),
    "events": Kind(f"{SMALL}/events.jsonl", SELDOM, runs_on=0.3, weight=2, other=OTHER),
    "logs": Kind(f"{SMALL}/logs/*", SELDOM, runs_on=0.3, other=OTHER),
    "report": Kind(f"{SMALL}/report.html", SELDOM, runs_on=0.3, other=OTHER),
    "checkpoints of the study": Kind(f"{SMALL}/checkpoints/*/*", SELDOM, runs_on=0.5),
    "study file": Kind("study.yaml", (command("check"),), 0.1, 3, is_edited=True),
    "training run": Kind("train.yaml", (training_run,), weight=3, is_edited=True),
    "checkpoints": Kind(
        "checkpoints/*", (latest_checkpoint,), weight=6, allowed=(as_read(CHECKPOINTS[0]),)
    ),
    "features": Kind("cache/features/*/*", (features,), weight=6),
    "decoded images": Kind("cache/decoded/*.npy", (images,), weight=3),
    "manifest of images": Kind("cache/decoded/*.json", (images,), weight=4),
    "archive": Kind("published/*/*", (published,), weight=3),
    "measured times": Kind("cache/measured/*", (measured_times,), weight=2),
}


def make_site(folder: Path, server: Server) -> Place:
    """Write every kind of file once. The working directory is ``folder``."""
    for name, seed in (("small", 0), ("other", 7)):
        text = STUDY.replace("name: small", f"name: {name}").replace(
            "search: {", f"search: {{seed: {seed}, "
        )
        (folder / f"{name}.yaml").write_text(text)
        for trials in ("2", "4"):
            said(("run", f"{name}.yaml", "--trials", trials))
    (folder / "small.yaml").rename("study.yaml")
    said(("export", SMALL, "-o", "train.yaml"))
    checkpoints = CheckpointFolder(folder / "checkpoints")
    for step, checkpoint in enumerate(CHECKPOINTS, start=1):
        checkpoints.save(step, checkpoint)
    write_folder(folder / "photos", {"cat": 12, "dog": 13}, [(16, 16), (24, 16)])
    write_batches(folder / "cifar-10-batches-py")
    packed = write_tar(folder / "cifar-10-batches-py", folder / "all.tar.gz")
    place = Place(folder, {"cifar10": with_remote(KNOWN["cifar10"], server, [packed])})
    shutil.rmtree("cifar-10-batches-py")
    Path("all.tar.gz").unlink()
    images(place)
    features(place)
    published(place)
    bucket = read_study(folder / SMALL).trials[0].bucket
    assert bucket is not None
    keep_measured(Measured(bucket=bucket, step_seconds=MEASURED_SECONDS), threads=1)
    return place


@dataclass
class Figures:
    """What became of the cases, by kind.

    Attributes:
        unaffected: Everything was read as before.
        messages: Something ended with an error message.
        restored: The command in the message restored the study.
        defects: Wrong values, tracebacks, and commands that restored nothing; a text each.
    """

    unaffected: Counter[str] = field(default_factory=Counter)
    messages: Counter[str] = field(default_factory=Counter)
    restored: int = 0
    defects: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        kinds = [
            f"{kind}: {self.unaffected[kind]} as before, {self.messages[kind]} messages"
            for kind in KINDS
        ]
        count, messages = self.unaffected.total(), self.messages.total()
        total = (
            f"{count + messages} cases: {messages} error messages, {self.restored} restored by the "
            f"command in the message, {len(self.defects)} defects"
        )
        return "\n".join([*kinds, total, *self.defects])


@dataclass
class DamagedSites:
    """A site, of which each case damages one file of a new copy.

    Attributes:
        place: Of the copies.
        pristine: The undamaged site.
        expected: What is read from it, by the name of what reads.
        figures: Of the last cases.
    """

    place: Place
    pristine: Path
    expected: dict[str, Any] = field(default_factory=dict)
    figures: Figures = field(default_factory=Figures)

    def renew(self) -> None:
        """Make a new copy, and the working directory."""
        os.chdir(self.pristine)
        shutil.rmtree(self.place.folder, ignore_errors=True)
        shutil.copytree(self.pristine, self.place.folder)
        os.chdir(self.place.folder)

    def run_cases(self, count: int, *, seed: str = "") -> Figures:
        """Damage a file ``count`` times, each time of a new copy, and read it; their figures."""
        self.figures = Figures()
        for case in range(count):
            self.run_case(f"{seed}{case}")
        return self.figures

    def run_case(self, seed: str) -> None:
        """Damage a file, and read it."""
        rng = random.Random(seed)  # noqa: S311 - cases, not keys
        (name,) = rng.choices(list(KINDS), [kind.weight for kind in KINDS.values()])
        kind = KINDS[name]
        self.renew()
        kind.prepare(self.place.folder)
        files = sorted(path for path in self.place.folder.glob(kind.files) if path.is_file())
        path = rng.choice(files)
        relative = str(path.relative_to(self.place.folder))
        other = None if kind.other is None else self.place.folder / relative.replace(*kind.other)
        damage = rng.choice(kind.damages)
        how = (damage if path.stat().st_size else append)(path, other, rng)
        reads = [*kind.read, *([run_on] if rng.random() < kind.runs_on else [])]
        label = f"[{seed}] {name}: {relative}, {how}"
        errors = [error for read in reads for error in self._errors(label, kind, read)]
        (self.figures.messages if errors else self.figures.unaffected)[name] += 1
        for line in _restoring(errors):
            self._restore(label, line)

    def _errors(self, label: str, kind: Kind, read: Callable[[Place], Any]) -> Iterator[str]:
        """The error message of a reading, if it ends with one."""
        try:
            value = read(self.place)
        except TuneError as error:
            yield str(error)
        except Exception:
            text = traceback.format_exc(limit=-8)
            self.figures.defects.append(f"{label}; {read.__name__}: {text}")
        else:
            expected = self.expected[read.__name__]
            if not kind.is_edited and value not in (expected, *kind.allowed):
                text = f"{value!r}, and was {expected!r}"
                self.figures.defects.append(f"{label}; {read.__name__}: {text}")

    def _restore(self, label: str, line: str) -> None:
        """Do what an error message advises."""
        subprocess.run(["/bin/sh", "-c", line], check=True)
        try:
            said(READING["status"])
            self.figures.restored += 1
        except Exception:
            self.figures.defects.append(f"{label}; after {line}: {traceback.format_exc(limit=-4)}")


@contextlib.contextmanager
def damaged_sites(folder: Path) -> Iterator[DamagedSites]:
    """Make a site, and read it undamaged."""
    pristine, copy = folder.resolve() / "pristine", folder.resolve() / "site"
    copy.mkdir(parents=True)
    server = Server()
    with contextlib.closing(server), pytest.MonkeyPatch.context() as patch:
        patch.delenv("SCRIPT", raising=False)
        script_workers(patch)
        # At the same path as the copies: the caches know their images by path and date.
        patch.chdir(copy)
        patch.setenv(CACHE_VARIABLE, str(copy / "cache"))
        sites = DamagedSites(make_site(copy, server), pristine)
        copy.rename(pristine)
        sites.renew()
        reads = {read for kind in KINDS.values() for read in kind.read}
        sites.expected |= {read.__name__: read(sites.place) for read in (*reads, run_on)}
        yield sites


def _restoring(errors: Sequence[str]) -> list[str]:
    """The command of an error message that restores a database."""
    found = (re.search(r"^cp .*$", error, re.MULTILINE) for error in errors)
    return [match[0] for match in found if match][:1]
