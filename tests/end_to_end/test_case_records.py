"""A long benchmark continues with the cases that were not run yet."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.end_to_end.case_records import CaseRecords, counts_text
from tests.end_to_end.failing_calls import Call, Fault, each
from tests.end_to_end.undisturbed import Problem

ROOT = Path(__file__).resolve().parents[2]
#: Adds 200 cases of a series.
ADD = """\
import sys
from pathlib import Path
from tests.end_to_end.case_records import CaseRecords
from tests.end_to_end.undisturbed import Problem
records = CaseRecords(Path(sys.argv[1]))
for case in range(200):
    records.add(sys.argv[2], str(case), [Problem("exit", sys.argv[2] * 500)], 0.1)
"""


def test_what_was_recorded_is_there_again_and_a_line_that_was_cut_short_is_not(
    tmp_path: Path,
) -> None:
    records = CaseRecords(tmp_path / "work")
    records.add("once", "1 write a", [], 1.0)
    records.add("once", "2 write a", [Problem("lost", "a trial")], 1.0)
    records.add("half", "1 write a", [], 1.0)
    with (tmp_path / "work" / "cases.jsonl").open("a") as file:
        file.write('{"series": "once", "case": "3 wri')

    found = CaseRecords(tmp_path / "work").of("once")

    assert found == {"1 write a": [], "2 write a": [Problem("lost", "a trial")]}


def test_processes_do_not_mix_their_lines(tmp_path: Path) -> None:
    command = [sys.executable, "-c", ADD, str(tmp_path)]
    processes = [subprocess.Popen([*command, series], cwd=ROOT) for series in "ab"]
    assert [process.wait(60) for process in processes] == [0, 0]

    for series in "ab":
        found = CaseRecords(tmp_path).of(series)
        assert len(found) == 200
        assert set(map(tuple, found.values())) == {(Problem("exit", series * 500),)}


def test_what_all_cases_have_in_common_is_made_once(tmp_path: Path) -> None:
    assert CaseRecords(tmp_path).once("calls", lambda: [["write", "a"]]) == [["write", "a"]]
    assert CaseRecords(tmp_path).once("calls", lambda: [["write", "b"]]) == [["write", "a"]]


def test_each_call_is_found_among_those_that_match_its_name_and_file() -> None:
    inner = Call("write", "checkpoints/trial-*/step-*")
    calls = [Call("write", "a"), Call("fsync", "a"), inner, Call("write", "checkpoints/trial-*")]

    faults = each([*calls, *calls])

    # "trial-*" matches what is in the folder, too.
    assert [fault.at for fault in faults] == [1, 1, 1, 2, 2, 2, 2, 4]
    assert faults[2] == Fault(at=1, call="write", path="checkpoints/trial-*/step-*")


def test_counts_are_shown_by_name() -> None:
    assert counts_text(["write", "fsync", *["write"] * 1000]) == "fsync 1, write 1,001"
