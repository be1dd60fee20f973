"""Order of images, scores, checkpoints, clock: what training rests on, without a framework."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from effv2_tune.files.checkpoint import (
    Checkpoint,
    CheckpointFolder,
    DamagedError,
    read_checkpoint,
    write_checkpoint,
)

# --- checkpoints ----------------------------------------------------------------------------------

CHECKPOINT = Checkpoint(
    {
        "weights": np.arange(6, dtype=np.float32).reshape(2, 3),
        "step": np.int32(7),
        "random_state": np.array([1, 2], np.uint32),
        "nothing": np.zeros((0, 4), np.float32),
    },
    {"epoch": 3, "curve": ["{}"], "seconds": 0.1},
)


def _same(one: Checkpoint, other: Checkpoint) -> bool:
    return (
        dict(one.facts) == dict(other.facts)
        and one.arrays.keys() == other.arrays.keys()
        and all(
            np.array_equal(array, other.arrays[name])
            and np.asarray(array).dtype == other.arrays[name].dtype
            and np.shape(array) == np.shape(other.arrays[name])
            for name, array in one.arrays.items()
        )
    )


def test_a_checkpoint_reads_back_equal(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "one", CHECKPOINT)

    assert _same(CHECKPOINT, read_checkpoint(tmp_path / "one"))
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


@given(st.data())
def test_any_changed_bit_and_any_torn_end_is_noticed(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "one"
        write_checkpoint(path, CHECKPOINT)
        content = bytearray(path.read_bytes())
        if data.draw(st.booleans()):
            bit = data.draw(st.integers(0, 8 * len(content) - 1))
            content[bit // 8] ^= 1 << bit % 8
        else:
            del content[data.draw(st.integers(0, len(content) - 1)) :]
        path.write_bytes(content)
        with pytest.raises(DamagedError, match="is damaged"):
            read_checkpoint(path)


def test_the_last_two_checkpoints_are_kept_and_a_damaged_one_gives_way_to_the_one_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = CheckpointFolder(tmp_path / "trial")
    assert folder.latest() is None
    for step in (5, 10, 15):
        newest = folder.save(step, Checkpoint({}, {"step": step}))
    assert len(list((tmp_path / "trial").iterdir())) == 2

    newest.write_bytes(newest.read_bytes()[:-1])
    with caplog.at_level(logging.WARNING):
        found = folder.latest()

    assert found is not None
    assert found.facts == {"step": 10}
    assert f"The checkpoint {newest} is damaged; going back" in caplog.text
    folder.clear()
    assert folder.latest() is None


def test_a_file_that_was_being_written_when_the_process_died_is_no_checkpoint(
    tmp_path: Path,
) -> None:
    folder = CheckpointFolder(tmp_path)
    folder.save(1, CHECKPOINT)
    torn = tmp_path / "step-000000002.checkpoint.writing"
    torn.write_bytes(b"half")

    found = folder.latest()
    folder.save(3, CHECKPOINT)

    assert found is not None
    assert not torn.exists()
