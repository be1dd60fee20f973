"""Records which entries of JAX's cache were compiled ahead of time, and whether a run uses them."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pydantic import Field, ValidationError

from effv2_tune.files.checked_json import read_checked, write_checked
from effv2_tune.host import installed_versions
from effv2_tune.study.base import Value
from effv2_tune.workers.compilations import CompiledProgram

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from effv2_tune.workers.topology import Topology

#: Beside the entries of one kind of device.
RECORD = "ahead-of-time.json"
#: Packages whose versions are part of the keys of JAX's cache, or decide what is lowered.
VERSIONS = ("jax", "jaxlib", "libtpu", "keras", "zstandard")
#: An entry's name is that of its program, and a checksum.
_ENTRY = re.compile(r"(jit_\w+)-[0-9a-f]{64}-cache")


class Entry(Value):
    """An entry of JAX's cache that was compiled ahead of time.

    Attributes:
        file: Its name.
        devices: How many the program runs on.
        versions: Of the packages that decide about its key.
        program: What was compiled.
    """

    file: str
    devices: int
    versions: dict[str, str]
    program: CompiledProgram


class Record(Value):
    """All entries of a folder that were compiled ahead of time, by :func:`program_key`."""

    entries: dict[str, Entry] = Field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Record:
        """Read the record of a folder; empty where there is none, or it is damaged."""
        try:
            return cls.from_plain(read_checked(folder / RECORD) or {})
        except ValidationError:
            return cls()

    def write(self, folder: Path) -> None:
        """Write the record of a folder."""
        write_checked(folder / RECORD, self.model_dump(mode="json"))


def program_key(text: str, topology: Topology) -> str:
    """The key of a program before it is compiled.

    JAX's own key is not public; it is made of the same facts.

    Args:
        text: The lowered program.
        topology: What it is compiled for.
    """
    versions = sorted(installed_versions(VERSIONS).items())
    flags = [os.environ.get(name, "") for name in ("XLA_FLAGS", "LIBTPU_INIT_ARGS")]
    facts = repr((topology.model_dump(), versions, flags))
    return hashlib.sha256(f"{facts}\n{text}".encode()).hexdigest()


def entries_in(folder: Path) -> dict[str, int]:
    """Names of the entries of a cache, and when each was written."""
    return {
        path.name: path.stat().st_mtime_ns
        for path in folder.iterdir()
        if _ENTRY.fullmatch(path.name)
    }


@dataclass
class Handover:
    """Compares the entries that a run needs with those that were compiled ahead of time.

    Attributes:
        folder: The cache of this process's kind of device.
        devices: How many it has.
    """

    folder: Path
    devices: int
    _known: set[str] = field(default_factory=set)
    _is_checked: bool = False

    def __post_init__(self) -> None:
        """Remember the entries that are there before anything is compiled."""
        self._known = set(entries_in(self.folder))

    def take_notes(self) -> tuple[str, ...]:
        """Remarks on entries that this process could not use, each once."""
        entries = list(Record.read(self.folder).entries.values())
        notes = [*self._misses(entries)]
        if not self._is_checked:
            notes = [*self._mismatches(entries), *notes]
        self._is_checked = True
        return tuple(notes)

    def _mismatches(self, entries: list[Entry]) -> Iterator[str]:
        if entries and all(entry.devices != self.devices for entry in entries):
            counts = ", ".join(str(count) for count in sorted({e.devices for e in entries}))
            yield (
                f"the programs in {self.folder} were compiled for {counts} devices, not for the "
                f"{self.devices} of this process: they are compiled again"
            )
        here = installed_versions(VERSIONS)
        for versions in _other_versions(self.folder, entries, here):
            yield (
                f"programs were compiled ahead of time with {versions}: this host has other "
                "versions, for which they are compiled again"
            )

    def _misses(self, entries: list[Entry]) -> Iterator[str]:
        """Entries written by this process, of programs that had been compiled ahead of time."""
        new = set(entries_in(self.folder)) - self._known
        self._known |= new
        programs = {_program_of(entry.file) for entry in entries if entry.devices == self.devices}
        missed = sorted(name for name in map(_program_of, new) if name in programs)
        if missed:
            yield (
                f"compiled again although compiled ahead of time: {', '.join(missed)}; no entry in "
                f"{self.folder} has the key that JAX computes here"
            )


def _other_versions(folder: Path, entries: list[Entry], here: dict[str, str]) -> Iterator[str]:
    """The versions of entries, of this kind of device, that differ from those of this host."""
    kind = folder.name.split("-", 1)[-1]
    if not entries:
        for other in sorted(folder.parent.glob(f"*-{kind}")):
            entries = [*entries, *Record.read(other).entries.values()]
    found = {tuple(sorted(entry.versions.items())) for entry in entries}
    if tuple(sorted(here.items())) not in found:
        for versions in sorted(found):
            differing = (f"{name} {v}" for name, v in versions if here.get(name) != v)
            yield ", ".join(differing) or "fewer packages"


def _program_of(file: str) -> str:
    found = _ENTRY.fullmatch(file)
    return file if found is None else found[1]
