"""The log of a study, read while it grows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.session.live.logs import append, began, ended, started, trained

from effv2_tune.session.live.event_log import EventLog

if TYPE_CHECKING:
    from pathlib import Path


def names(log: EventLog) -> list[str]:
    return [type(logged.event).__name__ for logged in log.read()]


def test_each_event_is_read_once_with_its_time(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    log = EventLog(path)
    assert names(log) == []

    append(path, 1000.5, started(), began(0))
    first = list(log.read())
    append(path, 1002.0, trained(0, 1))

    assert [(one.at, type(one.event).__name__) for one in first] == [
        (1000.5, "StudyStarted"),
        (1000.5, "TrialStarted"),
    ]
    assert first[1].event == began(0)
    assert names(log) == ["EpochTrained"]
    assert names(log) == []


def test_a_line_that_is_being_written_is_read_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    append(path, 0, began(0))
    whole = path.read_bytes()
    path.write_bytes(whole[:40])
    log = EventLog(path)

    assert names(log) == []
    path.write_bytes(whole)
    assert names(log) == ["TrialStarted"]


def test_what_is_no_event_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('torn by a cra\n[]\n{"time": 3}\n{"time": "2026", "event": "Later"}\n')
    append(path, 0, ended(0))

    assert names(EventLog(path)) == ["TrialEnded"]


def test_a_log_that_is_replaced_by_a_shorter_one_is_read_from_its_beginning(
    tmp_path: Path,
) -> None:
    path = tmp_path / "events.jsonl"
    append(path, 0, started(), *(trained(0, epoch) for epoch in (1, 2, 3)))
    log = EventLog(path)
    assert len(names(log)) == 4

    path.unlink()
    assert names(log) == []
    append(path, 0, started(2))

    assert names(log) == ["StudyStarted"]


def test_earlier_runs_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    log = EventLog(path)
    log.skip_earlier_runs()
    append(path, 0, started(), began(0), ended(0))
    append(path, 9, started(1), began(1))

    log.skip_earlier_runs()

    assert [logged.at for logged in log.read()] == [9, 9]
