"""Reports of the main thread that its work advances."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from effv2_tune import heartbeat
from effv2_tune.files.locks import lock, locked, unlock

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def reports(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    monkeypatch.setattr(heartbeat, "_HEART", heartbeat._Heart())
    reported: list[bool] = []
    heartbeat.listen(reported.append)
    return reported


def test_reports_are_rare_and_come_from_the_main_thread_alone(
    reports: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 1000.0)
    thread = threading.Thread(target=heartbeat.advance)
    thread.start()
    thread.join()
    assert reports == []

    for _ in range(1000):
        heartbeat.advance()

    assert reports == [False]


def test_a_wait_for_the_lock_of_another_is_reported_and_no_other_lock_is(
    reports: list[bool], tmp_path: Path
) -> None:
    with (tmp_path / "lock").open("w") as mine, (tmp_path / "lock").open("w") as other:
        with locked(mine):
            assert reports == []
        lock(other)
        release = threading.Timer(0.1, unlock, [other])
        release.start()
        with locked(mine):
            assert reports == [True, False]
        release.join()


def test_a_listener_has_the_notes_of_its_block_only() -> None:
    outer: list[str] = []
    inner: list[str] = []

    with heartbeat.notes_shown(outer.append):
        with heartbeat.notes_shown(inner.append):
            heartbeat.note("first")
        heartbeat.note("second")

    assert (inner, outer) == (["first"], ["second"])
