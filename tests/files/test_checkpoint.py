"""Checkpoints are safetensors files, of which no changed byte goes unnoticed."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file

from effv2_tune.files.checkpoint import (
    Checkpoint,
    CheckpointFolder,
    DamagedError,
    read_checkpoint,
    write_checkpoint,
)

CHECKPOINT = Checkpoint(
    {
        "weights": np.arange(6, dtype=np.float32).reshape(2, 3),
        "step": np.int32(7),
        "random_state": np.array([1, 2], np.uint32),
        "nothing": np.zeros((0, 4), np.float32),
        "half": np.arange(6, dtype=ml_dtypes.bfloat16).reshape(2, 3),
        "scalar of half": np.array(1.5, ml_dtypes.bfloat16),
        "flags": np.array([True, False]),
        "large": np.array([2**62, -1]),
        "strided": np.arange(12.0).reshape(3, 4)[:, ::2].T,
        "big-endian": np.arange(3, dtype=">i4"),
    },
    {"epoch": 3, "curve": ["{}"], "seconds": 0.1},
)


def _same(one: Checkpoint, other: Checkpoint) -> bool:
    return (
        dict(one.facts) == dict(other.facts)
        and one.arrays.keys() == other.arrays.keys()
        and all(
            np.array_equal(array, other.arrays[name])
            and np.asarray(array).dtype.newbyteorder("=") == other.arrays[name].dtype
            and np.shape(array) == np.shape(other.arrays[name])
            for name, array in one.arrays.items()
        )
    )


def test_a_checkpoint_reads_back_equal(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "one", CHECKPOINT)

    assert _same(CHECKPOINT, read_checkpoint(tmp_path / "one"))
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_a_checkpoint_opens_with_the_tools_of_safetensors(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "one", CHECKPOINT)
    write_checkpoint(tmp_path / "empty", Checkpoint({}, {}))

    assert _same(CHECKPOINT, Checkpoint(load_file(tmp_path / "one"), CHECKPOINT.facts))
    assert load_file(tmp_path / "empty") == {}


def test_an_array_that_safetensors_cannot_hold_is_refused_and_leaves_no_file(
    tmp_path: Path,
) -> None:
    with pytest.raises(KeyError, match="c16"):
        write_checkpoint(tmp_path / "one", Checkpoint({"x": np.array([1j])}, {}))

    assert list(tmp_path.iterdir()) == []


def test_facts_of_any_json_survive(tmp_path: Path) -> None:
    facts: dict[str, Any] = {"name": 'Zürich "x"', "loss": float("inf"), "none": None, "n": [[]]}
    write_checkpoint(tmp_path / "one", Checkpoint({}, facts))

    assert read_checkpoint(tmp_path / "one").facts == facts


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
    torn = tmp_path / "step-000000002.safetensors.1-0123abcd.writing"
    torn.write_bytes(b"half")

    found = folder.latest()
    folder.save(3, CHECKPOINT)

    assert found is not None
    assert not torn.exists()


def test_the_newest_step_is_that_of_the_largest_number(tmp_path: Path) -> None:
    assert CheckpointFolder(tmp_path).newest_step() == 0
    assert CheckpointFolder(tmp_path / "missing").newest_step() == 0
    for step in (7, 1234567890):
        CheckpointFolder(tmp_path).save(step, Checkpoint({}, {}))
    (tmp_path / "step-9999999999.safetensors.1-0123abcd.writing").touch()

    assert CheckpointFolder(tmp_path).newest_step() == 1234567890


def test_checkpoints_of_the_old_format_are_reported_then_removed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "step-000000007.checkpoint").write_bytes(b"effv2-tune checkpoint 1\n")
    folder = CheckpointFolder(tmp_path)

    assert folder.newest_step() == 0
    with caplog.at_level(logging.WARNING):
        assert folder.latest() is None
    assert f"The checkpoints in {tmp_path} are from an earlier version" in caplog.text
    assert "the trial starts over" in caplog.text

    folder.save(3, CHECKPOINT)
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000003.safetensors"]
