"""Each kind of write, fsync and rename of a study fails once: nothing is lost by it.

`benchmarks/chaos.py writes` lets every single one fail.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest
from tests.end_to_end.disturbed import DisturbedStudy
from tests.end_to_end.failing_calls import Fault, sample, why_not

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(why_not()), reason=why_not())]


def test_a_write_that_fails_loses_nothing(tmp_path: Path) -> None:
    problems = {}
    with DisturbedStudy(tmp_path) as study:
        names = {call.name for call in study.calls}
        assert names >= {"write", "pwrite64", "fsync", "fdatasync", "rename", "unlink", "mkdir"}
        for fault in sample(study.calls):
            if found := study.problems_after(fault):
                problems[fault] = found

    assert not problems


def test_a_disk_that_stays_full_loses_nothing(tmp_path: Path) -> None:
    problems = {}
    with DisturbedStudy(tmp_path) as study:
        for at in range(400, len(study.calls), len(study.calls) // 3):
            fault = Fault(at=at, error=errno.ENOSPC, is_half=True, is_lasting=True)
            if found := study.problems_after(fault):
                problems[fault] = found

    assert not problems
