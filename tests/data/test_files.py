"""Image files are decoded to memory or disk with the same result."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from effv2_tune.errors import TuneError
from effv2_tune.files.cache import CACHE_VARIABLE

if TYPE_CHECKING:
    from pathlib import Path


from tests.data.examples import FOLDER, ON_DISK, assert_equal, load, write_folder


def test_a_folder_of_mixed_sizes_has_the_stated_size_or_the_largest_resolution(
    photos: Path,
) -> None:
    unstated = FOLDER.model_copy(update={"storage_size": None})

    assert load(photos).train.images.shape == (25, 16, 16, 3)
    assert load(photos, unstated, storage_size=20).train.images.shape == (25, 20, 20, 3)
    with pytest.raises(TuneError, match=r"3 different sizes \(up to 24 x 16\)") as refused:
        load(photos, unstated)
    assert "storage_size:" in str(refused.value.hint)


def test_squares_of_one_size_are_stored_as_they_are(tmp_path: Path) -> None:
    write_folder(tmp_path / "photos", {"cat": 10, "dog": 10}, [(12, 12)])
    unstated = FOLDER.model_copy(update={"storage_size": None})

    assert load(tmp_path, unstated, storage_size=32).facts().image_shape == (12, 12, 3)


def test_memory_and_disk_one_core_and_many_give_the_same(photos: Path) -> None:
    in_memory = load(photos, cores=1)
    on_disk = load(photos, memory_limit=ON_DISK, cores=3)

    assert_equal(in_memory, on_disk)
    assert isinstance(on_disk.train.images, np.memmap)
    assert not isinstance(in_memory.train.images, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        on_disk.train.images[0] = 0


def test_the_order_of_files_on_disk_does_not_matter(photos: Path) -> None:
    files = sorted((photos / "photos").rglob("*.png"), reverse=True)
    for path in files:
        (photos / "copy/photos" / path.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, photos / "copy/photos" / path.parent.name / path.name)

    assert_equal(load(photos), load(photos / "copy"))


def test_a_finished_store_is_opened_again_without_reading_an_image(photos: Path) -> None:
    first = load(photos, memory_limit=ON_DISK)
    for path in (photos / "photos").rglob("*.png"):
        times = path.stat().st_atime_ns, path.stat().st_mtime_ns
        path.write_bytes(b"\0" * path.stat().st_size)
        os.utime(path, ns=times)

    assert_equal(first, load(photos, memory_limit=ON_DISK))


@pytest.mark.parametrize("harm", ["flip", "cut", "lose"])
def test_a_harmed_store_is_decoded_anew(photos: Path, harm: str) -> None:
    first = load(photos, memory_limit=ON_DISK)
    copies = [split.images.copy() for split in (first.train, first.validation, first.test)]
    digest = first.digest
    del first
    (store,) = (photos / "cache/decoded").glob("*.npy")
    if harm == "flip":
        content = bytearray(store.read_bytes())
        content[1000] ^= 1
        store.write_bytes(content)
    elif harm == "cut":
        with store.open("r+b") as file:
            file.truncate(1000)
    else:
        store.unlink()

    again = load(photos, memory_limit=ON_DISK)

    assert again.digest == digest
    for mine, theirs in zip(copies, (again.train, again.validation, again.test), strict=True):
        np.testing.assert_array_equal(mine, theirs.images)


class Interrupted(Exception):  # noqa: N818 - stands for Ctrl-C
    pass


def test_an_interrupted_decoding_goes_on_where_it_stopped(tmp_path: Path) -> None:
    write_folder(tmp_path / "photos", {"cat": 120, "dog": 120}, [(16, 16)])
    seen = []

    def interrupt(progress: Any) -> None:
        seen.append(progress)
        if progress.activity == "decoding images" and progress.done >= 128:
            raise Interrupted

    with pytest.raises(Interrupted):
        load(tmp_path, memory_limit=ON_DISK, on_progress=interrupt, cores=1)
    assert not list((tmp_path / "cache/decoded").glob("????????????????????????????????.json"))
    seen.clear()
    resumed = load(tmp_path, memory_limit=ON_DISK, on_progress=seen.append, cores=1)

    decoding = [progress.done for progress in seen if progress.activity == "decoding images"]
    assert decoding == [192, 240]
    assert_equal(resumed, load(tmp_path))


def test_a_block_that_was_harmed_by_the_interruption_is_decoded_again(tmp_path: Path) -> None:
    write_folder(tmp_path / "photos", {"cat": 120, "dog": 120}, [(16, 16)])

    def interrupt(progress: Any) -> None:
        if progress.activity == "decoding images" and progress.done >= 128:
            raise Interrupted

    with pytest.raises(Interrupted):
        load(tmp_path, memory_limit=ON_DISK, on_progress=interrupt, cores=1)
    (pixels,) = (tmp_path / "cache/decoded").glob("*.npy.part")
    with pixels.open("r+b") as file:
        file.seek(1000)  # behind the header
        file.write(b"\0" * 1000)
    (record,) = (tmp_path / "cache/decoded").glob("*.journal")
    record.write_text(record.read_text() + "192 cut sho")

    assert_equal(load(tmp_path, memory_limit=ON_DISK), load(tmp_path))


def test_broken_images_are_named_up_to_ten_and_leave_nothing(photos: Path) -> None:
    whole = (photos / "photos/cat/000.png").read_bytes()
    for number in range(12):
        (photos / f"photos/cat/cut{number:02}.png").write_bytes(whole[: len(whole) // 2])
    (photos / "photos/dog/text.jpg").write_text("not an image")

    for memory_limit in (ON_DISK, 10**9):
        with pytest.raises(TuneError) as refused:
            load(photos, memory_limit=memory_limit)
        # Headers are looked at first.
        assert "1 of 53 images cannot be read" in refused.value.message
        assert f"{photos}/photos/dog/text.jpg: not an image" in refused.value.message
    (photos / "photos/dog/text.jpg").unlink()
    for memory_limit in (ON_DISK, 10**9):
        with pytest.raises(TuneError) as refused:
            load(photos, memory_limit=memory_limit)
        assert "12 of 52 images cannot be read" in refused.value.message
        assert "cut09.png" in refused.value.message
        assert "cut10.png" not in refused.value.message
        assert "and 2 more" in refused.value.message
        left = [path for path in (photos / "cache").rglob("*.*") if path.suffix != ".lock"]
        assert left == []


def test_a_cache_that_cannot_be_written_is_refused(photos: Path) -> None:
    (photos / "cache").write_text("a file where a folder should be")

    with pytest.raises(TuneError, match="cannot be written") as refused:
        load(photos, memory_limit=ON_DISK)
    assert CACHE_VARIABLE in str(refused.value.hint)
