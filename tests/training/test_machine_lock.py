"""Many processes train at once, one measures alone."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from effv2_tune.errors import EXIT_FAILED, TuneError
from effv2_tune.training.machine_lock import MachineLock

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.synchronize import Event


def _train(folder: Path, inside: Event, leave: Event) -> None:
    with MachineLock(folder).training():
        inside.set()
        leave.wait(30)


def _measure(folder: Path, inside: Event, devices: tuple[str, ...] = ()) -> None:
    with MachineLock(folder, devices).measuring():
        inside.set()
        time.sleep(30)


def test_many_train_at_once_one_measures_alone_and_new_windows_wait_for_it(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    first, second, third, measuring = (context.Event() for _ in range(4))
    leave = context.Event()

    def start(function: object, *arguments: object) -> multiprocessing.process.BaseProcess:
        process = context.Process(target=function, args=(tmp_path, *arguments), daemon=True)
        process.start()
        return process

    processes = [start(_train, first, leave), start(_train, second, leave)]
    assert first.wait(20)
    assert second.wait(20)
    measurer = start(_measure, measuring)
    assert not measuring.wait(1.5)
    # The one that waits to measure is not starved by those who come later.
    processes.append(start(_train, third, leave))
    assert not third.wait(1.5)
    leave.set()
    assert measuring.wait(20)
    assert not third.is_set()
    # A process that is killed leaves no lock behind.
    measurer.kill()
    assert third.wait(20)
    for process in (*processes, measurer):
        process.join(20)


def test_a_chip_is_measured_beside_others_and_the_whole_machine_alone(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    on_all, on_chip = context.Event(), context.Event()

    def start(inside: Event, *devices: str) -> multiprocessing.process.BaseProcess:
        process = context.Process(target=_measure, args=(tmp_path, inside, devices), daemon=True)
        process.start()
        return process

    chip, other = MachineLock(tmp_path, ["tpu-1"]), MachineLock(tmp_path, ["tpu-2/0"])
    with chip.measuring(), other.training():
        whole = start(on_all)
        assert not on_all.wait(1.5)
    assert on_all.wait(20)
    part = start(on_chip, "tpu-1")
    assert not on_chip.wait(1.5)
    whole.kill()
    assert on_chip.wait(20)
    with other.measuring():  # the chip of another process
        part.kill()
    for process in (whole, part):
        process.join(20)


@pytest.mark.parametrize("make", [Path.touch, lambda path: path.symlink_to("nowhere")])
def test_a_file_in_the_place_of_the_folder_is_a_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], None]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = tmp_path / f"effv2-tune-{os.getuid()}"
    make(folder)

    with pytest.raises(TuneError, match=f"{folder} is not a folder") as caught:
        MachineLock()

    assert caught.value.exit_code == EXIT_FAILED


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a folder to another user")
def test_a_folder_of_another_user_is_a_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = tmp_path / f"effv2-tune-{os.getuid()}"
    folder.mkdir()
    os.chown(folder, 1001, 1001)

    with pytest.raises(TuneError, match="belongs to another user"):
        MachineLock()
