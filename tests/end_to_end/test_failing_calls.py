"""Each kind of write, fsync and rename of a study fails once: nothing is lost by it.

`benchmarks/chaos.py writes` lets every single one fail.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest
from tests.end_to_end.disturbed import DisturbedStudy
from tests.end_to_end.failing_calls import Fault, each, sample, why_not

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(why_not()), reason=why_not())]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DisturbedStudy]:
    with DisturbedStudy(tmp_path_factory.mktemp("failing")) as disturbed:
        yield disturbed


def test_a_write_that_fails_loses_nothing(study: DisturbedStudy) -> None:
    names = {call.name for call in study.calls}
    assert names >= {"write", "pwrite64", "fsync", "fdatasync", "rename", "unlink", "mkdir"}

    problems = {fault: study.problems_after(fault) for fault in sample(study.calls)}

    assert not {fault: found for fault, found in problems.items() if found}


def test_each_single_call_can_fail_alone(study: DisturbedStudy) -> None:
    faults = each(study.calls)
    assert len(set(faults)) == len(study.calls)

    problems = {fault: study.problems_after(fault) for fault in faults[60 :: len(faults) // 2]}

    assert not {fault: found for fault, found in problems.items() if found}


def test_commits_that_create_the_database_and_precede_the_workers_can_fail(
    study: DisturbedStudy,
) -> None:
    started = next(at for at, call in enumerate(study.calls) if "logs" in call.path)
    before_workers = [
        fault
        for fault in each(study.calls[:started])
        if (fault.call, fault.path) == ("fdatasync", "study/study.db")
    ]

    problems = {
        fault: study.problems_after(fault) for fault in before_workers[:3] + before_workers[-4:]
    }

    assert not {fault: found for fault, found in problems.items() if found}


@pytest.mark.long
def test_a_disk_that_stays_full_loses_nothing(study: DisturbedStudy) -> None:
    faults = [
        Fault(at=at, error=errno.ENOSPC, is_half=True, is_lasting=True)
        for at in range(400, len(study.calls), len(study.calls) // 3)
    ]

    problems = {fault: study.problems_after(fault) for fault in faults}

    assert not {fault: found for fault, found in problems.items() if found}
