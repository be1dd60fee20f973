"""The cache of decoded images survives damage of any of its files, and a full disk."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import pytest
from PIL import Image

from effv2_tune.data import load_dataset
from effv2_tune.data.store import SizeRecord
from effv2_tune.errors import EXIT_FAILED, TuneError
from effv2_tune.files import block_store
from effv2_tune.files.cache import CACHE_VARIABLE
from effv2_tune.study.recipe import DataSpec

if TYPE_CHECKING:
    from collections.abc import Callable
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


def _flipped(content: bytes, part: int) -> bytes:
    place = len(content) * part // 8
    return content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :]


SMALL_FILE_DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "zeroed": lambda content: b"\0" * len(content),
    "cut by a byte": lambda content: content[:-1],
    **{
        f"cut at {part}/8": lambda content, part=part: content[: len(content) * part // 8]
        for part in (1, 2, 3, 4, 6, 7)
    },
    **{
        f"flipped at {part}/8": lambda content, part=part: _flipped(content, part)
        for part in range(8)
    },
}


@pytest.mark.parametrize("how", SMALL_FILE_DAMAGE)
@pytest.mark.parametrize("pattern", ["?" * 32 + ".json", "*.sizes.json"])
def test_a_small_file_of_the_cache_damaged_anywhere_costs_only_computing(
    photos: Path, pattern: str, how: str
) -> None:
    expected = _load(photos)
    (path,) = (photos / "cache/decoded").glob(pattern)
    content = path.read_bytes()
    path.write_bytes(SMALL_FILE_DAMAGE[how](content))
    assert path.read_bytes() != content

    dataset = _load(photos)

    assert dataset.digest == expected.digest
    np.testing.assert_array_equal(dataset.train.images, expected.train.images)
    assert path.read_bytes() == content


#: Fills a small disk up to some bytes as soon as the first block is decoded, then empties it.
FILL_THE_DISK = """
import json, sys
from pathlib import Path
from effv2_tune.data import load_dataset
from effv2_tune.errors import TuneError
from effv2_tune.study.recipe import DataSpec

base, disk, left = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
spec = DataSpec(name="folder", path="photos", test=0.2, validation=0.2, storage_size=16)
ballast = disk / "ballast"

def fill(progress):
    if progress.activity == "decoding images" and not ballast.exists():
        with ballast.open("wb", buffering=0) as file:
            try:
                while file.write(bytes(4096)):
                    pass
            except OSError:
                file.truncate(max(0, file.tell() - left))

def load():
    try:
        return load_dataset(
            spec, base=base, cache=disk / "cache", memory_limit=0, on_progress=fill
        ).digest
    except TuneError as error:
        return [str(error), error.exit_code]

first = load()
assert ballast.exists()
ballast.write_bytes(b"")
print(json.dumps([first, load()]))
"""


def may_mount() -> bool:
    """Whether this user may mount a file system in a namespace; some systems forbid it."""
    command = ["unshare", "--user", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "none"]
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*command, "/mnt"], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not may_mount(), reason="needs to mount a file system in a user namespace")
@pytest.mark.parametrize("left", [0, 4096, 65536])
def test_a_disk_that_is_filled_by_others_is_reported_without_a_signal(
    photos: Path, left: int
) -> None:
    for path in list((photos / "photos").glob("*/*.png")):
        for copy in range(12):  # 2,080 images in 33 blocks: some are written after the filling
            path.with_name(f"{copy}-{path.name}").hardlink_to(path)
    disk = photos / "disk"
    disk.mkdir()
    # A memory file system in a namespace of its own: it ends with the process.
    script = 'mount -t tmpfs -o size=4m none "$3" && exec "$0" -c "$1" "$2" "$3" "$4"'
    unshared = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script]
    done = subprocess.run(
        [*unshared, sys.executable, FILL_THE_DISK, photos, disk, str(left)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 0, (done.returncode, done.stderr)
    first, second = json.loads(done.stdout)
    message, code = first
    assert f"decoded images cannot be written to {disk}/cache/decoded: No space left" in message
    assert CACHE_VARIABLE in message
    assert code == EXIT_FAILED
    assert second == _load(photos).digest


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


def test_images_in_memory_are_shared_by_processes_as_one_memory_map(tmp_path: Path) -> None:
    spec = DataSpec(name="digits", train=300, validation=100)
    alone = load_dataset(spec, base=tmp_path, cache=tmp_path)

    first, second = (
        load_dataset(spec, base=tmp_path, cache=tmp_path, shared=True) for _ in range(2)
    )

    assert first.digest == second.digest == alone.digest
    (file,) = (tmp_path / "shared").glob("*.npy")
    for name in ("train", "validation", "test"):
        mapped = getattr(second, name).images
        assert isinstance(mapped, np.memmap)
        assert str(mapped.filename) == str(file)
        np.testing.assert_array_equal(mapped, getattr(alone, name).images)
