"""The holders of a lock are named, so that a suspended one can be resumed."""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
from typing import TYPE_CHECKING

import pytest
from tests.files.held_lock import BY_LOCKF, SHARED, held_lock

from effv2_tune import heartbeat
from effv2_tune.files import locks
from effv2_tune.files.lock_holders import lock_holders
from effv2_tune.files.locks import lock, locked, unlock

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the shared lock of the file ``lock`` until its stdin is closed."""
    with held_lock(tmp_path / "lock", SHARED) as process:
        yield process


def test_a_suspended_holder_is_named_to_whoever_waits_and_the_wait_goes_on(
    tmp_path: Path, holder: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    notes: queue.SimpleQueue[str] = queue.SimpleQueue()
    monkeypatch.setattr(heartbeat, "_HEART", heartbeat._Heart())
    monkeypatch.setattr(locks, "NOTE_SECONDS", 0.0)
    heartbeat.listen_to_notes(notes.put)
    holder.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, holder.pid, os.WSTOPPED)
    with (tmp_path / "lock").open("w") as file:
        waits = threading.Thread(target=lock, args=(file,))
        waits.start()

        note = notes.get(timeout=60)

        assert waits.is_alive()
        assert note.startswith(f"waiting for the lock {tmp_path}/lock of process {holder.pid} (")
        assert sys.executable[:40] in note
        assert note.endswith(f", suspended: 'kill -CONT {holder.pid}' resumes it")
        holder.send_signal(signal.SIGCONT)
        assert holder.stdin is not None
        holder.stdin.close()
        waits.join(60)
        assert not waits.is_alive()


def test_all_holders_are_named_and_nobody_who_waits(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    with (tmp_path / "lock").open("w") as mine, (tmp_path / "lock").open("w") as other:
        lock(mine, shared=True)
        waits = threading.Thread(target=lock, args=(other,))
        waits.start()

        holders = lock_holders(mine.fileno())

        assert {one.pid for one in holders} == {os.getpid(), holder.pid}
        # Of a process of its own, which has the same clock.
        assert all(one.state in "RSD" for one in holders)
        unlock(mine)
        holder.kill()
        waits.join(60)
        assert [one.pid for one in lock_holders(mine.fileno())] == [os.getpid()]


def test_a_lock_that_is_free_is_held_by_nobody_and_waited_for_without_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes: list[str] = []
    monkeypatch.setattr(heartbeat, "_HEART", heartbeat._Heart())
    heartbeat.listen_to_notes(notes.append)
    with (tmp_path / "lock").open("w") as file:
        with locked(file):
            pass
        assert lock_holders(file.fileno()) == []
    assert notes == []


def test_a_lock_by_lockf_has_its_holder_too(tmp_path: Path) -> None:
    with held_lock(tmp_path / "lock", BY_LOCKF) as process, (tmp_path / "lock").open("w") as file:
        assert [one.pid for one in lock_holders(file.fileno())] == [process.pid]
