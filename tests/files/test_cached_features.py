"""Feature sets are copied between the caches of two machines."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from effv2_tune.files import cached_features
from effv2_tune.files.cache import CACHE_VARIABLE
from effv2_tune.files.cached_features import copy_features, finished_features, read_feature

if TYPE_CHECKING:
    from pathlib import Path

DIGEST = "0" * 32


@pytest.fixture
def sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """The files of a set in the cache `there`; the present cache is `here`."""
    folder = tmp_path / "there" / "features" / DIGEST
    folder.mkdir(parents=True)
    (folder / "features.json").write_text(json.dumps({"key": {"data": "d"}}))
    (folder / "train.npy").write_bytes(b"0123456789")
    (folder / "train.json").write_bytes(b"manifest")
    monkeypatch.setattr(cached_features, "_PART_BYTES", 4)
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "there"))
    found = {path: file.stat().st_size for path, file in finished_features("d").items()}
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "here"))
    return found


def contents(cache: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (cache / "features" / DIGEST).iterdir()}


def test_a_set_is_copied_part_by_part_and_the_mark_of_an_array_after_it(
    tmp_path: Path, sizes: dict[str, int]
) -> None:
    asked = []

    def read(path: str, offset: int) -> bytes:
        asked.append((path.rpartition("/")[2], offset))
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(CACHE_VARIABLE, str(tmp_path / "there"))
            return read_feature(path, offset)

    copy_features(sizes, read)

    assert contents(tmp_path / "here") == contents(tmp_path / "there")
    assert asked[:3] == [("train.npy", 0), ("train.npy", 4), ("train.npy", 8)]
    assert asked.index(("train.json", 0)) > 2


def test_what_is_there_is_not_copied(tmp_path: Path, sizes: dict[str, int]) -> None:
    folder = tmp_path / "here" / "features" / DIGEST
    folder.mkdir(parents=True)
    for name in ("features.json", "train.npy", "train.json"):
        (folder / name).write_bytes(b"own")

    copy_features(sizes, lambda *_: pytest.fail("was copied"))

    assert set(contents(tmp_path / "here").values()) == {b"own"}


def test_a_file_that_has_become_shorter_is_left_out(tmp_path: Path, sizes: dict[str, int]) -> None:
    with pytest.raises(OSError, match="is shorter than it was"):
        copy_features(sizes, lambda *_: b"")

    assert contents(tmp_path / "here") == {}


@pytest.mark.parametrize("path", ["features/x", f"features/{DIGEST}/../x", "/etc/passwd"])
def test_no_other_file_is_read_for_another_machine(path: str) -> None:
    with pytest.raises(ValueError, match="is no file of a feature set"):
        read_feature(path, 0)
