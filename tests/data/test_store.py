"""The cache of decoded images survives damage of any of its files, and a full disk."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import pytest
from PIL import Image

from effv2_tune.data import load_dataset
from effv2_tune.data.store import SizeRecord
from effv2_tune.errors import TuneError
from effv2_tune.files import block_store
from effv2_tune.files.cache import CACHE_VARIABLE
from effv2_tune.study.recipe import DataSpec

if TYPE_CHECKING:
    from pathlib import Path

    from effv2_tune.data import Dataset

SPEC = DataSpec(name="folder", path="photos", test=0.2, validation=0.2, storage_size=16)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for seed, name in enumerate(("cat", "dog")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(80):
            pixels = np.random.default_rng([seed, number]).integers(0, 256, (16, 20, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / f"photos/{name}/{number:03}.png")
    return tmp_path


def _load(base: Path, **settings: Any) -> Dataset:
    return load_dataset(SPEC, base=base, cache=base / "cache", memory_limit=0, **settings)


@pytest.mark.parametrize("how", ["cut", "zeroed", "empty", "flipped", "text"])
@pytest.mark.parametrize("ending", [".json", ".sizes.json", ".npy"])
def test_a_damaged_file_of_the_cache_costs_only_computing(
    photos: Path, ending: str, how: str
) -> None:
    digest = _load(photos).digest
    (path,) = (
        path
        for path in (photos / "cache/decoded").iterdir()
        if path.name.removeprefix(path.name.split(".")[0]) == ending
    )
    content = path.read_bytes()
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    damaged = {
        "cut": content[:middle],
        "zeroed": b"\0" * len(content),
        "empty": b"",
        "flipped": flipped,
        "text": b"[[16, 50]]",
    }
    path.write_bytes(damaged[how])

    assert _load(photos).digest == digest
    assert path.read_bytes() == content


def test_a_harmed_block_is_decoded_alone(photos: Path) -> None:
    digest = _load(photos).digest
    (path,) = (photos / "cache/decoded").glob("*.npy")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    seen: list[Any] = []

    assert _load(photos, on_progress=seen.append).digest == digest
    assert [at.done for at in seen if at.activity == "decoding images"] == [160]


def test_a_disk_that_fills_up_is_reported_and_keeps_the_blocks_that_were_decoded(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = block_store.BlockWriter.put

    def put(writer: Any, start: int, rows: Any) -> str:
        if start == 128:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(writer, start, rows)

    with monkeypatch.context() as disk:
        disk.setattr(block_store.BlockWriter, "put", put)
        with pytest.raises(TuneError, match=r"decoded images cannot be written.*No space") as error:
            _load(photos)
    assert CACHE_VARIABLE in str(error.value.hint)
    seen: list[Any] = []

    _load(photos, on_progress=seen.append)

    assert [at.done for at in seen if at.activity == "decoding images"] == [160]


def test_images_that_the_disk_has_no_space_for_are_not_begun(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def usage(_: Path) -> Any:
        return type("Usage", (), {"free": 1000})

    def refuse(*_: Any) -> NoReturn:
        raise AssertionError

    monkeypatch.setattr("shutil.disk_usage", usage)
    monkeypatch.setattr(block_store.BlockWriter, "put", refuse)

    with pytest.raises(TuneError, match=r"decoded images need 0\.0 GB; the disk of .* has 0\.0"):
        _load(photos)


def test_sizes_read_back_as_a_set_of_pairs(tmp_path: Path) -> None:
    record = SizeRecord.of(tmp_path, key=["a"])
    assert record.read() is None

    record.write({(30, 40), (3, 4)})

    assert record.read() == {(30, 40), (3, 4)}
    assert SizeRecord.of(tmp_path, key=["b"]).read() is None
