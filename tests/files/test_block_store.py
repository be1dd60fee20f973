"""Blocks on disk: no damage and no kill costs more than the blocks it touched."""

from __future__ import annotations

import errno
import os
import re
import sys
import tempfile
import threading
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from effv2_tune.data.store import ImageStore
from effv2_tune.errors import TuneError
from effv2_tune.files import atomic, block_store, checked_json
from effv2_tune.files.block_store import BlockStore
from effv2_tune.training.features.files import FeatureFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    MakeStore = Callable[[Path], BlockStore]

#: The middle one of three blocks: rows 64 to 127.
HURT = 64


def _features(folder: Path) -> BlockStore:
    return FeatureFile(folder, "train", count=150, width=8, block=64)


def _images(folder: Path) -> BlockStore:
    return ImageStore(folder, "train", "|u1", (150, 2, 2, 3), 64)


BOTH = pytest.mark.parametrize("make", [_features, _images])


def _rows(file: BlockStore) -> np.ndarray:
    size = int(np.prod(file.shape))
    return np.arange(size).astype(file.dtype).reshape(file.shape)


def _fill(file: BlockStore) -> None:
    """Write what is missing, as an extraction or a decoding does once it has the lock."""
    gaps = file.missing()
    with file.writing() as writer:
        for start in gaps:
            writer.write(start, _rows(file)[start : start + 64], 0.25)
    file.finish()


def _flip(path: Path, place: int, change: int = 1) -> None:
    content = bytearray(path.read_bytes())
    content[place % len(content)] ^= change
    path.write_bytes(content)


def _hurt(file: BlockStore) -> None:
    _flip(file.folder / "train.npy", file.position(HURT) + 5)


@contextmanager
def _finished(make: MakeStore) -> Iterator[BlockStore]:
    with tempfile.TemporaryDirectory() as folder:
        file = make(Path(folder))
        _fill(file)
        yield file


@BOTH
@given(place=st.integers(0, 400), change=st.integers(1, 255))
@example(place=0, change=1)
@example(place=-3, change=0x80)
def test_no_damage_of_a_manifest_raises_or_passes_other_numbers(
    make: MakeStore, place: int, change: int
) -> None:
    with _finished(make) as file:
        _flip(file.folder / "train.json", place, change)

        read = file.read()

        assert read is None or np.array_equal(read, _rows(file))
        assert file.is_finished()  # so that what is computed anew is called damaged
        took = {block.seconds for block in file.recorded().values()}
        assert took == (set() if read is None else {0.25})
        assert file.missing() == ([0, 64, 128] if read is None else [])
        assert not file.is_finished()


@BOTH
@pytest.mark.parametrize(
    "said",
    [
        "",
        "7",
        "[]",
        "{}",
        '{"count": 150, "width": 8, "block": 64}',
        '{"count": 150, "width": 8, "block": 64, "blocks": 1, "seal": ""}',
        '{"count": 150, "width": 8, "block": 64, "blocks": [["0", 1, "-"]], "seal": ""}',
        '{"count": 150, "width": 8, "block": 64, "blocks": [[0, "xy", 0.1]], "seal": ""}',
        '{"count": 150, "width": 8, "block": 64, "blocks": [[0, "xy", 0.1]], "digest": ""}',
    ],
)
def test_a_manifest_of_any_other_form_is_a_damaged_one(make: MakeStore, said: str) -> None:
    with _finished(make) as file:
        (file.folder / "train.json").write_text(said)

        assert file.is_finished()
        assert file.read() is None
        assert file.digest() is None
        _fill(file)
        assert np.array_equal(np.load(file.folder / "train.npy"), _rows(file))


@BOTH
@given(place=st.integers(0, 400), change=st.integers(1, 255))
@example(place=70, change=0x80)
def test_damage_of_a_journal_costs_the_blocks_of_its_lines(
    make: MakeStore, place: int, change: int
) -> None:
    with _finished(make) as file:
        _hurt(file)
        assert file.missing() == [HURT]
        _flip(file.folder / "train.journal", place, change)

        # Two where the end of a line is gone.
        assert HURT in file.missing()
        _fill(file)
        assert np.array_equal(np.load(file.folder / "train.npy"), _rows(file))


#: The modules that write.
SOURCES = {module.__file__ for module in (atomic, block_store, checked_json)}


class _KilledError(BaseException):
    """Nothing in the store catches it."""


def _is_killed(file: BlockStore, moment: int) -> bool:
    """Mend a file, killed before a line of the store; False if it ends before that."""
    lines = count()

    def trace(frame: Any, event: str, _: Any) -> Any:
        if frame.f_code.co_filename not in SOURCES:
            return None
        if event == "line" and next(lines) == moment:
            raise _KilledError
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        _fill(file)
    except _KilledError:
        return True
    finally:
        sys.settrace(before)
    return False


# A kill between opening a file and the block that closes it.
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@BOTH
def test_a_kill_at_any_moment_of_mending_costs_no_block_that_is_whole(
    make: MakeStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A kill leaves the disk's own memory alone, and waiting for the disk takes most of the time.
    monkeypatch.setattr(os, "fsync", lambda _: None)
    moment = 0
    states = set()
    while True:
        with _finished(make) as file:
            _hurt(file)
            if not _is_killed(file, moment):
                break
            states.add(frozenset(path.name for path in file.folder.iterdir()))

            read = file.read()
            assert read is None or np.array_equal(read, _rows(file)), moment
            assert file.missing() in ([HURT], []), moment
            _fill(file)
            read = file.read()
            assert read is not None
            assert np.array_equal(read, _rows(file)), moment
        moment += 1

    whole, part = {"train.npy"}, {"train.npy.part"}
    assert {
        frozenset(whole | {"train.json", "train.journal"}),
        frozenset(whole | {"train.journal"}),
        frozenset(part | {"train.journal"}),
    } <= states
    assert frozenset(part | {"train.json"}) not in states


@BOTH
def test_a_part_beside_a_manifest_keeps_its_blocks(make: MakeStore) -> None:
    # No kill leaves these two, but a power failure may.
    with _finished(make) as file:
        _hurt(file)
        (file.folder / "train.npy").rename(file.folder / "train.npy.part")

        assert file.read() is None
        assert file.missing() == [HURT]


@BOTH
def test_a_disk_that_takes_no_journal_leaves_a_hurt_file_as_it_was(
    make: MakeStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with _finished(make) as file:
        _hurt(file)
        with monkeypatch.context() as full:
            full.setattr(os, "fsync", refuse)
            with pytest.raises(TuneError, match="No space left on device"):
                file.missing()

        assert file.is_finished()
        assert file.missing() == [HURT]


@BOTH
@pytest.mark.parametrize("ending", ["npy", "json"])
@pytest.mark.parametrize("how", ["cut", "zeroed", "empty", "lost"])
def test_files_that_are_cut_zeroed_empty_or_lost_cost_only_computing(
    make: MakeStore, ending: str, how: str
) -> None:
    with _finished(make) as file:
        path = file.folder / f"train.{ending}"
        content = path.read_bytes()
        if how == "lost":
            path.unlink()
        else:
            half = len(content) // 2
            new = {"cut": content[:half], "zeroed": b"\0" * len(content), "empty": b""}
            path.write_bytes(new[how])

        assert file.read() is None
        _fill(file)
        read = file.read()
        assert read is not None
        assert np.array_equal(read, _rows(file))


@BOTH
def test_a_cut_array_keeps_the_blocks_before_the_cut(make: MakeStore) -> None:
    with _finished(make) as file:
        os.truncate(file.folder / "train.npy", file.position(HURT) + 1)

        assert file.read() is None
        assert file.missing() == [64, 128]


@BOTH
def test_a_disk_that_is_full_is_reported_and_keeps_what_was_written(make: MakeStore) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = make(Path(folder))
        gaps = file.missing()
        message = rf"The {file.contents} cannot be written to {re.escape(folder)}: No space"
        with pytest.raises(TuneError, match=message) as error:
            _fill_disk(file)
        assert error.value.hint == file.hint
        assert gaps == [0, 64, 128]
        assert file.missing() == [64, 128]


def _fill_disk(file: BlockStore) -> None:
    with file.writing() as writer:
        writer.write(0, _rows(file)[:64])
        writer._part = _FullDisk()
        writer.write(64, _rows(file)[64:128])


class _FullDisk:
    def seek(self, _: int) -> None:
        pass

    def write(self, _: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@BOTH
def test_blocks_may_be_put_by_many_threads(make: MakeStore) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = make(Path(folder))
        checksums: dict[int, str] = {}
        gaps = file.missing()
        with file.writing() as writer:

            def put(start: int) -> None:
                checksums[start] = writer.put(start, _rows(file)[start : start + 64])

            threads = [threading.Thread(target=put, args=(start,)) for start in gaps]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            for start in reversed(gaps):
                writer.record(start, checksums[start])

        assert np.array_equal(file.finish(), _rows(file))
        assert file.read() is not None


@BOTH
def test_a_block_that_is_not_recorded_is_computed_again(make: MakeStore) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = make(Path(folder))
        file.missing()
        with file.writing() as writer:
            writer.put(0, _rows(file)[:64])
            writer.write(64, _rows(file)[64:128])

        assert file.missing() == [0, 128]
        with pytest.raises(RuntimeError, match="lacks blocks"):
            file.finish()


@BOTH
def test_a_store_of_another_layout_is_not_read(make: MakeStore) -> None:
    with _finished(make) as file:
        other = BlockStore(file.folder, "train", file.dtype, file.shape, block=32)

        assert other.read() is None
        assert other.digest() is None
        assert file.digest() is not None


@BOTH
def test_a_store_opens_with_numpy_and_can_be_discarded(make: MakeStore) -> None:
    with _finished(make) as file:
        assert np.array_equal(np.load(file.folder / "train.npy"), _rows(file))
        assert file.is_begun()

        file.discard()

        assert list(file.folder.iterdir()) == []
        assert not file.is_begun()
