"""Image files of every make, in folders and tables, decoded to memory or disk."""

from __future__ import annotations

import csv
import os
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from effv2_tune.data import check_dataset, load_dataset
from effv2_tune.data.decode import UnreadableImageError, decode, size_of
from effv2_tune.errors import TuneError
from effv2_tune.files.cache import CACHE_VARIABLE
from effv2_tune.study.recipe import DataSpec

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from effv2_tune.data import Dataset

SEED = np.random.default_rng
FOLDER = DataSpec(name="folder", path="photos", test=0.2, validation=0.2, storage_size=16)
ON_DISK = 0  # bytes of decoded images that may stay in memory


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(SEED(seed).integers(0, 256, (height, width, 3), np.uint8))


def write_folder(root: Path, counts: dict[str, int], sizes: Iterable[tuple[int, int]]) -> None:
    sizes = list(sizes)
    for place, (name, count) in enumerate(counts.items()):
        (root / name).mkdir(parents=True)
        for number in range(count):
            size = sizes[number % len(sizes)]
            picture(*size, seed=1000 * place + number).save(root / name / f"{number:03}.png")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    write_folder(tmp_path / "photos", {"cat": 20, "dog": 20}, [(16, 16), (24, 16), (9, 31)])
    return tmp_path


def load(base: Path, spec: DataSpec = FOLDER, **settings: Any) -> Dataset:
    return load_dataset(spec, base=base, cache=base / "cache", **settings)


def assert_equal(one: Dataset, other: Dataset) -> None:
    assert one.digest == other.digest
    for mine, theirs in (
        (one.train, other.train),
        (one.validation, other.validation),
        (one.test, other.test),
    ):
        np.testing.assert_array_equal(mine.images, theirs.images)
        np.testing.assert_array_equal(mine.labels, theirs.labels)


RED = (255, 0, 0)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.new("L", (16, 16), 100), (100, 100, 100)),
        (Image.new("1", (16, 16), 1), (255, 255, 255)),
        (Image.new("RGB", (16, 16), RED).convert("P"), RED),
        (Image.new("RGBA", (16, 16), (*RED, 255)), RED),
        (Image.new("RGBA", (16, 16), (*RED, 0)), (255, 255, 255)),
        (Image.new("RGBA", (16, 16), (0, 0, 0, 51)), (204, 204, 204)),
        (Image.new("LA", (16, 16), (0, 0)), (255, 255, 255)),
        (Image.fromarray(np.full((16, 16), 25700, np.uint16)), (100, 100, 100)),
        (Image.fromarray(np.full((16, 16), 65535, np.uint16)), (255, 255, 255)),
    ],
    ids=["grey", "bilevel", "palette", "opaque", "clear", "veil", "clear grey", "16 bit", "white"],
)
def test_every_mode_of_a_png_becomes_rgb(
    tmp_path: Path, image: Image.Image, expected: tuple[int, int, int]
) -> None:
    image.save(tmp_path / "one.png")

    decoded = decode(tmp_path / "one.png", 16, "crop")

    assert decoded.shape == (16, 16, 3)
    assert decoded.dtype == np.uint8
    assert (decoded == expected).all()


def test_a_transparent_palette_lies_on_white(tmp_path: Path) -> None:
    image = Image.new("P", (16, 16), 0)
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.save(tmp_path / "one.gif", transparency=0)

    assert (decode(tmp_path / "one.gif", 16, "crop") == 255).all()


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    Image.new("RGB", (16, 16), RED).convert("CMYK").save(tmp_path / "one.jpg", quality=100)

    decoded = decode(tmp_path / "one.jpg", 16, "crop").astype(int)

    assert np.abs(decoded - RED).max() <= 3


def test_floating_point_is_refused(tmp_path: Path) -> None:
    Image.fromarray(np.ones((16, 16), np.float32)).save(tmp_path / "one.tif")

    with pytest.raises(UnreadableImageError, match="floating point"):
        decode(tmp_path / "one.tif", 16, "crop")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_is_turned_upright_by_its_exif_orientation(
    tmp_path: Path, orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    shot = picture(24, 16)
    shot.save(tmp_path / "one.png", exif=exif)
    shot.info["exif"] = exif.tobytes()
    shot.getexif()[0x0112] = orientation
    upright = ImageOps.exif_transpose(shot)

    assert size_of(tmp_path / "one.png") == shot.size
    expected = np.asarray(upright.resize((24, 24), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(decode(tmp_path / "one.png", 24, "squash"), expected)


def test_crop_cuts_pad_adds_black_and_squash_keeps_all(tmp_path: Path) -> None:
    # Left to right: 8 columns of red, 16 of green, 8 of blue; 16 rows.
    pixels = np.zeros((16, 32, 3), np.uint8)
    pixels[:, :8, 0] = pixels[:, 8:24, 1] = pixels[:, 24:, 2] = 255
    Image.fromarray(pixels).save(tmp_path / "one.png")

    crop, pad, squash = (decode(tmp_path / "one.png", 16, fit) for fit in ("crop", "pad", "squash"))

    np.testing.assert_array_equal(crop, pixels[:, 8:24])
    assert not pad[:4].any()
    assert not pad[12:].any()
    assert pad[5:11].any(axis=-1).all()
    assert (squash[:, 0] == RED).all()
    assert (squash[:, -1] == (0, 0, 255)).all()


def test_an_image_of_the_stored_size_keeps_every_pixel(tmp_path: Path) -> None:
    for ending in ("png", "jpg"):
        picture(32, 32).save(tmp_path / f"one.{ending}")
        exact = np.asarray(Image.open(tmp_path / f"one.{ending}").convert("RGB"))

        np.testing.assert_array_equal(decode(tmp_path / f"one.{ending}", 32, "crop"), exact)


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


def test_a_folder_may_bring_its_splits(tmp_path: Path) -> None:
    for split, count in (("train", 9), ("val", 3), ("test", 4)):
        write_folder(tmp_path / "photos" / split, {"cat": count, "dog": count}, [(16, 16)])

    dataset = load(tmp_path, DataSpec(name="folder", path="photos"))

    facts = dataset.facts()
    assert (facts.train, facts.validation, facts.test) == (18, 6, 8)
    assert dataset.classes == ("cat", "dog")


def test_a_class_may_be_called_train_and_litter_is_left_out(photos: Path) -> None:
    (photos / "photos/cat").rename(photos / "photos/train")
    (photos / "photos/dog/.DS_Store").write_text("litter")
    (photos / "photos/dog/Thumbs.db").write_text("litter")
    (photos / "photos/dog/README.txt").write_text("a note")

    dataset = load(photos)

    assert dataset.classes == ("dog", "train")
    (note,) = dataset.notes
    assert note.startswith(f"1 file in {photos}/photos has no image suffix and was left out: ")
    assert note.endswith("dog/README.txt.")


def spoil(photos: Path, how: str) -> None:
    root = photos / "photos"
    if how == "missing":
        shutil.rmtree(root)
    elif how == "a file":
        shutil.rmtree(root)
        root.write_text("")
    elif how == "empty":
        shutil.rmtree(root)
        root.mkdir()
    elif how == "flat":
        for path in root.rglob("*.png"):
            path.rename(root / f"{path.parent.name}-{path.name}")
        (root / "cat").rmdir()
        (root / "dog").rmdir()
    elif how == "empty class":
        (root / "owl").mkdir()
    elif how == "one class":
        shutil.rmtree(root / "dog")
    elif how == "splits and more":
        (root / "train").mkdir()
        (root / "cat").rename(root / "train/cat")
    elif how == "unknown class":
        (root / "train").mkdir()
        (root / "test").mkdir()
        (root / "cat").rename(root / "train/cat")
        shutil.copytree(root / "dog", root / "train/dog")
        (root / "dog").rename(root / "test/dogs")


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ("missing", "There is no folder"),
        ("a file", "is a file, not a folder"),
        ("empty", "has no folders in it"),
        ("flat", "has no folders in it"),
        ("empty class", "The class folder .*owl holds no images"),
        ("one class", "has one class only, 'cat'"),
        ("splits and more", "and, beside them, 'dog'"),
        ("unknown class", "'dogs', did you mean 'dog'"),
    ],
)
def test_a_folder_that_cannot_be_learned_from_is_refused_by_check_and_load(
    photos: Path, how: str, sentence: str
) -> None:
    spoil(photos, how)

    with pytest.raises(TuneError, match=sentence) as refused:
        load(photos)
    assert refused.value.hint
    assert check_dataset(FOLDER, base=photos) == [str(refused.value).replace("\n", " ")]
    assert not (photos / "cache").exists()


TABLE = DataSpec(name="csv", path="photos.csv", test=0.2, validation=0.2, storage_size=16)


def write_table(base: Path, header: list[str], rows: Iterable[Iterable[str]]) -> None:
    with (base / "photos.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


def listed(photos: Path) -> list[tuple[str, str]]:
    paths = sorted((photos / "photos").rglob("*.png"))
    return [(str(path.relative_to(photos)), path.parent.name) for path in paths]


def test_a_table_gives_the_images_in_the_order_of_its_rows(photos: Path) -> None:
    rows = listed(photos)
    splits = ["test" if number % 4 == 0 else "train" for number in range(len(rows))]
    write_table(
        photos, ["path", "label", "split"], [(*r, s) for r, s in zip(rows, splits, strict=True)]
    )

    dataset = load(photos, TABLE.model_copy(update={"test": None}))

    assert dataset.classes == ("cat", "dog")
    for row, image, label in zip(rows[::4], dataset.test.images, dataset.test.labels, strict=True):
        assert row[1] == dataset.classes[label]
        np.testing.assert_array_equal(image, decode(photos / row[0], 16, "crop"))


def test_columns_may_have_other_names_and_labels_may_be_numbers(photos: Path) -> None:
    rows = [
        (str(photos / path), str(10 * number % 11))
        for number, (path, _) in enumerate(listed(photos))
    ]
    write_table(photos, ["species", "file"], [(label, path) for path, label in rows])
    spec = TABLE.model_copy(update={"columns": {"path": "file", "label": "species"}})

    dataset = load(photos, spec.model_copy(update={"stratify": False}))

    assert dataset.classes == tuple(str(number) for number in range(11))


def test_a_group_of_a_table_never_straddles_a_split(photos: Path) -> None:
    rows = listed(photos)
    groups = [f"animal {number // 3}" for number in range(len(rows))]
    write_table(
        photos, ["path", "label", "group"], [(*r, g) for r, g in zip(rows, groups, strict=True)]
    )

    dataset = load(photos, TABLE)

    group_of = {
        decode(photos / path, 16, "crop").tobytes(): group
        for (path, _), group in zip(rows, groups, strict=True)
    }
    assert len(group_of) == len(rows)
    train, validation, test = (
        {group_of[image.tobytes()] for image in split.images}
        for split in (dataset.train, dataset.validation, dataset.test)
    )
    assert train | validation | test == set(groups)
    assert len(train) + len(validation) + len(test) == len(set(groups))


@pytest.mark.parametrize(
    ("header", "change", "sentence"),
    [
        (["file", "label"], {}, "has no column 'path'; it has file, label"),
        (["pathh", "label"], {}, "has no column 'path', did you mean 'pathh'"),
        (["path", "label"], {1: ("photos/cat/001.png", "")}, "photos.csv:3: the row has no label"),
        (["path", "label"], {1: ("photos/cat/000.png", "dog")}, "000.png in lines 2, 3"),
        (["path", "label"], {1: ("photos/gone.png", "cat")}, "1 of the 40 images in .*line 3: "),
        (["path", "label"], None, "has no rows"),
    ],
)
def test_a_table_that_contradicts_itself_or_the_disk_is_refused(
    photos: Path, header: list[str], change: dict[int, Any] | None, sentence: str
) -> None:
    rows = [] if change is None else listed(photos)
    for place, row in (change or {}).items():
        rows[place] = row
    write_table(photos, header, rows)

    with pytest.raises(TuneError, match=f"(?s){sentence}") as refused:
        load(photos, TABLE)
    assert refused.value.hint
    assert check_dataset(TABLE, base=photos) == [str(refused.value).replace("\n", " ")]


def test_a_given_split_may_not_cut_through_a_group_nor_be_misspelt(photos: Path) -> None:
    rows = listed(photos)
    header = ["path", "label", "split", "group"]
    write_table(
        photos, header, [(*row, "train", "g") for row in rows[1:]] + [(*rows[0], "test", "g")]
    )
    with pytest.raises(
        TuneError, match=r"the group 'g' is in the train split .* in the test split"
    ):
        load(photos, TABLE)

    write_table(photos, header, [(*row, "tset", "g") for row in rows])
    with pytest.raises(TuneError, match="'tset' is not a split, did you mean 'test'"):
        load(photos, TABLE)


def test_a_table_that_is_no_text_is_refused(photos: Path) -> None:
    assert "There is no file" in check_dataset(TABLE, base=photos)[0]
    (photos / "photos.csv").write_bytes(b"path,label\n\xff\xfe,cat\n")

    assert "cannot be read as a table" in check_dataset(TABLE, base=photos)[0]
