"""An atomic write leaves the old file or the new one, and nothing else."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import signal
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, NoReturn

import pytest

from effv2_tune.files.atomic import (
    durable_replace,
    replacing,
    sync,
    write_bytes,
    write_json,
    write_text,
)

if TYPE_CHECKING:
    from multiprocessing.synchronize import Event
    from pathlib import Path


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_bytes_text_and_json_are_written_whole(tmp_path: Path) -> None:
    write_bytes(tmp_path / "bytes", b"\0\xff")
    write_text(tmp_path / "text", "ä\n")
    write_json(tmp_path / "json", {"a": [1, None]})
    write_text(tmp_path / "text", "b")

    assert (tmp_path / "bytes").read_bytes() == b"\0\xff"
    assert (tmp_path / "text").read_text(encoding="utf-8") == "b"
    assert json.loads((tmp_path / "json").read_text()) == {"a": [1, None]}
    assert _names(tmp_path) == ["bytes", "json", "text"]


def test_a_file_may_be_written_by_its_name(tmp_path: Path) -> None:
    with replacing(tmp_path / "one.db", suffix=".db") as file:
        assert file.name.endswith(".db")
        with closing(sqlite3.connect(file.name)) as database:
            database.execute("create table t (x)")
        assert not (tmp_path / "one.db").exists()

    assert (tmp_path / "one.db").stat().st_size > 0
    assert _names(tmp_path) == ["one.db"]


def test_an_error_leaves_the_old_file_alone(tmp_path: Path) -> None:
    write_text(tmp_path / "one", "old")

    def fail() -> NoReturn:
        with replacing(tmp_path / "one") as file:
            file.write(b"new")
            file.flush()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()

    assert (tmp_path / "one").read_text() == "old"
    assert _names(tmp_path) == ["one"]


def test_a_full_disk_leaves_the_old_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_text(tmp_path / "one", "old")

    def full(_: int) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as disk:
        disk.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            write_text(tmp_path / "one", "new")

    assert (tmp_path / "one").read_text() == "old"
    assert _names(tmp_path) == ["one"]


def test_contents_are_on_disk_before_the_name_and_the_name_before_the_return(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = []
    real_fsync, real_replace = os.fsync, os.replace

    def fsync(descriptor: int) -> None:
        events.append(os.fstat(descriptor).st_ino)
        real_fsync(descriptor)

    def replace(source: Path, target: Path) -> None:
        events.append(0)
        real_replace(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    write_text(tmp_path / "one", "new")

    assert events == [(tmp_path / "one").stat().st_ino, 0, tmp_path.stat().st_ino]


def test_a_file_that_is_complete_already_may_be_renamed_durably(tmp_path: Path) -> None:
    (tmp_path / "part").write_text("whole")

    durable_replace(tmp_path / "part", tmp_path / "one")
    sync(tmp_path)

    assert (tmp_path / "one").read_text() == "whole"
    assert _names(tmp_path) == ["one"]


def test_writers_of_one_file_at_the_same_time_do_not_meet(tmp_path: Path) -> None:
    with replacing(tmp_path / "one") as first:
        first.write(b"first")
        with replacing(tmp_path / "one") as second:
            second.write(b"second")
        assert (tmp_path / "one").read_text() == "second"

    assert (tmp_path / "one").read_text() == "first"
    assert _names(tmp_path) == ["one"]


def _write_slowly(path: Path, begun: Event) -> None:
    with replacing(path) as file:
        file.write(b"half")
        file.flush()
        begun.set()
        time.sleep(60)


def test_what_a_killed_writer_leaves_is_removed_but_not_what_a_living_one_writes(
    tmp_path: Path,
) -> None:
    context = multiprocessing.get_context("spawn")
    begun = context.Event()
    writer = context.Process(target=_write_slowly, args=(tmp_path / "one", begun))
    writer.start()
    try:
        assert begun.wait(60)
        write_text(tmp_path / "two", "new")
        assert len(_names(tmp_path)) == 2
    finally:
        os.kill(writer.pid or 0, signal.SIGKILL)
        writer.join()
    assert len(_names(tmp_path)) == 2
    (tmp_path / "mine.writing").touch()  # not one of ours

    write_text(tmp_path / "two", "newer")

    assert _names(tmp_path) == ["mine.writing", "two"]


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_text(tmp_path / "gone/one", "new")


def test_a_symbolic_link_stays_one(tmp_path: Path) -> None:
    target, link = tmp_path / "elsewhere.txt", tmp_path / "link.txt"
    target.write_text("old")
    link.symlink_to(target)

    write_text(link, "new")

    assert link.is_symlink()
    assert target.read_text() == "new"


def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as reader:
        text = reader.submit(pipe.read_text)
        write_text(pipe, "page")

        assert text.result(timeout=60) == "page"
    assert pipe.is_fifo()
