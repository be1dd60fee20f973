"""CSV tables of images."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from effv2_tune.data import check_dataset
from effv2_tune.data.decode import decode
from effv2_tune.errors import TuneError
from effv2_tune.study.recipe import DataSpec

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


from tests.data.examples import load

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
