"""Locks exclude other holders, in this process and in others."""

from __future__ import annotations

import multiprocessing
import threading
import time
from typing import TYPE_CHECKING

from effv2_tune.files.locks import exclusive_lock, is_at, lock, locked, try_lock, unlock

if TYPE_CHECKING:
    from multiprocessing.synchronize import Event
    from pathlib import Path


def test_an_exclusive_lock_excludes_all_and_a_shared_one_only_exclusive_ones(
    tmp_path: Path,
) -> None:
    path = tmp_path / "lock"
    with path.open("w") as one, path.open("w") as two:
        lock(one)
        assert not try_lock(two)
        unlock(one)
        assert try_lock(two)
        unlock(two)

        with locked(one, shared=True):
            lock(two, shared=True)
            assert not try_lock(one)
            unlock(two)
        assert try_lock(two)


def _hold(path: Path, held: Event) -> None:
    with exclusive_lock(path):
        held.set()
        time.sleep(60)


def test_the_lock_of_a_killed_process_is_released(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    held = context.Event()
    holder = context.Process(target=_hold, args=(tmp_path / "lock", held))
    holder.start()
    assert held.wait(60)
    waited = []

    def kill() -> None:
        waited.append(True)
        holder.kill()

    with exclusive_lock(tmp_path / "lock", kill):
        pass
    holder.join()

    assert waited == [True]


def test_a_lock_file_that_its_holder_removed_is_not_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    entered, waiting = threading.Event(), threading.Event()

    def wait_for_it() -> None:
        with exclusive_lock(path, waiting.set), path.open("w") as other:
            assert not try_lock(other)
            entered.set()

    with exclusive_lock(path):
        thread = threading.Thread(target=wait_for_it)
        thread.start()
        assert waiting.wait(30)
        path.unlink()
    thread.join(30)

    assert entered.is_set()


def test_a_name_may_pass_to_another_file(tmp_path: Path) -> None:
    path = tmp_path / "one"
    with path.open("w") as file:
        assert is_at(path, file)
        path.unlink()
        assert not is_at(path, file)
        path.touch()
        (tmp_path / "other").touch()
        assert not is_at(tmp_path / "other", file)
