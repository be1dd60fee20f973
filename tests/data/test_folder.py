"""Folders of images, with and without splits."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from pydantic import ValidationError

from effv2_tune.data import check_dataset, count_images
from effv2_tune.errors import TuneError
from effv2_tune.study.recipe import DataSpec

if TYPE_CHECKING:
    from pathlib import Path


from tests.data.examples import FOLDER, assert_equal, load, write_folder


def test_a_folder_may_bring_its_splits(tmp_path: Path) -> None:
    for split, count in (("train", 9), ("val", 3), ("test", 4)):
        write_folder(tmp_path / "photos" / split, {"cat": count, "dog": count}, [(16, 16)])

    dataset = load(tmp_path, DataSpec(name="folder", path="photos"))

    facts = dataset.facts()
    assert (facts.train, facts.validation, facts.test) == (18, 6, 8)
    assert dataset.classes == ("cat", "dog")


def test_a_folder_at_a_url_has_the_images_of_the_same_one_on_disk(tmp_path: Path) -> None:
    write_folder(tmp_path / "photos", {"cat": 12, "dog": 12}, [(16, 16)])
    remote = FOLDER.model_copy(update={"path": f"file://{tmp_path}/photos"})

    there = load(tmp_path, remote)

    assert_equal(there, load(tmp_path))
    assert len(there.train) == 15
    assert check_dataset(remote, base=tmp_path) == []
    assert count_images(remote, base=tmp_path) is None


def test_a_url_without_files_is_a_failure_of_the_place(tmp_path: Path) -> None:
    remote = FOLDER.model_copy(update={"path": f"file://{tmp_path}/photos"})

    with pytest.raises(TuneError, match=r"photos cannot be read: there are no files") as caught:
        load(tmp_path, remote)

    assert caught.value.exit_code == 1


def test_a_csv_cannot_be_at_a_url() -> None:
    with pytest.raises(ValidationError, match="its images are beside it"):
        DataSpec(name="csv", path="s3://bucket/table.csv")


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
