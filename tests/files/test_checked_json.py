"""A JSON file with a checksum reads as what was written, or as nothing."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from effv2_tune.files.checked_json import read_checked, write_checked

VALUE = {"b": [1, 0.1, None, "ä"], "a": {"1": True}}


def test_a_value_reads_back_equal(tmp_path: Path) -> None:
    write_checked(tmp_path / "one.json", VALUE)

    assert read_checked(tmp_path / "one.json") == VALUE
    assert read_checked(tmp_path / "two.json") is None


@given(place=st.integers(0, 300), change=st.integers(1, 255))
def test_a_changed_byte_is_noticed_or_changes_nothing(place: int, change: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "one.json"
        write_checked(path, VALUE)
        content = bytearray(path.read_bytes())
        content[place % len(content)] ^= change
        path.write_bytes(content)

        assert read_checked(path) in (VALUE, None)


@pytest.mark.parametrize("content", [b"", b"\0" * 90, b"7", b"[]", b"{}", b'{"value": 1', b"\xff"])
def test_anything_else_reads_as_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "one.json").write_bytes(content)

    assert read_checked(tmp_path / "one.json") is None
