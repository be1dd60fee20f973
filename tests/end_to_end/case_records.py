"""Records the cases of a long benchmark one by one, so that it can be interrupted and continued."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.end_to_end.undisturbed import Problem

from effv2_tune.files.locks import exclusive_lock

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

_ROOT = Path(__file__).resolve().parents[2]
#: What the outcome of a case depends on.
_CODE = ("tuner/effv2_tune", "tests/end_to_end", "benchmarks/chaos.py")


def digest_of_code() -> str:
    """The checksum of the code that is tested, and of that which tests it."""
    digest = hashlib.sha256()
    for place in map(_ROOT.joinpath, _CODE):
        for path in sorted([place] if place.is_file() else place.rglob("*.*")):
            if path.suffix in {".py", ".c", ".csv", ".j2", ".css", ".js"}:
                digest.update(path.read_bytes())
    return digest.hexdigest()


class CaseRecords:
    """The cases that were run, one JSON object a line; several processes may add to them.

    Args:
        folder: Created if there is none.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._cases = folder / "cases.jsonl"

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """A JSON value that is made once, by whichever process asks first, and then kept."""
        path = self._folder / f"{name}.json"
        with exclusive_lock(path.with_suffix(".lock")):
            if not path.exists():
                path.write_text(json.dumps(make()), encoding="utf-8")
            return json.loads(path.read_text(encoding="utf-8"))

    def add(self, series: str, case: str, problems: Collection[Problem], seconds: float) -> None:
        """Record a case, what was wrong with it, and how long it took."""
        entry = {"series": series, "case": case, "problems": list(problems), "seconds": seconds}
        # One write at the end of the file, so that the lines of several processes do not mix.
        descriptor = os.open(self._cases, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(descriptor, json.dumps(entry).encode() + b"\n")
        finally:
            os.close(descriptor)

    def of(self, series: str) -> dict[str, list[Problem]]:
        """What was wrong with each case of a series; a line that was cut short does not count."""
        if not self._cases.is_file():
            return {}
        found = {}
        for line in self._cases.read_bytes().splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if entry["series"] == series:
                found[entry["case"]] = [Problem(*problem) for problem in entry["problems"]]
        return found


def counts_text(names: Collection[str]) -> str:
    """How often each name is there: "fsync 3, write 12"."""
    return ", ".join(f"{name} {count:,}" for name, count in sorted(Counter(names).items()))
