"""Reads a CSV table of images: path, label and, optionally, split and group."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from effv2_tune.data.files import SHOWN, FileImages, require_file, shortened
from effv2_tune.data.folder import SPLIT_FOLDERS
from effv2_tune.data.pool import SPLIT_NAMES, Pool
from effv2_tune.errors import TuneError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

_NEEDED = ("path", "label")
_POSSIBLE = ("split", "group")


@dataclass(frozen=True)
class Row:
    """One image of the table.

    Attributes:
        line: Line of the file, from 1.
        path: The image.
        label: Name of its class.
        split: Code of its split; training if the table has no such column.
        group: Name of its group, which stays in one split, or None.
    """

    line: int
    path: Path
    label: str
    split: int
    group: str | None


def read_table(file: Path, columns: Mapping[str, str] | None = None) -> Pool:
    """The images of a csv file, in the order of its rows, as files that are decoded later.

    Paths are relative to the csv file. Labels are names; they are numbered in alphabetical
    order, or by value if all are whole numbers. A split is train, val (valid, validation) or
    test.

    Args:
        file: UTF-8 text with a first row of column names.
        columns: Names of the columns path, label, split and group.

    Raises:
        TuneError: If columns, files or labels are missing, an image is listed twice, or a group
            has images in two splits.
    """
    rows = read_rows(file, columns)
    classes = _in_order({row.label for row in rows})
    number = {name: label for label, name in enumerate(classes)}
    groups = None
    if rows[0].group is not None:
        groups = np.unique([row.group for row in rows], return_inverse=True)[1].astype(np.int64)
    return Pool(
        images=FileImages(tuple(row.path for row in rows)),
        labels=np.array([number[row.label] for row in rows], np.int32),
        origin=np.array([row.split for row in rows], np.int8),
        classes=classes,
        groups=groups,
    )


def read_rows(file: Path, columns: Mapping[str, str] | None = None) -> list[Row]:
    """The rows of a csv file, checked against each other and against the files on disk.

    Raises:
        TuneError: As :func:`read_table`.
    """
    require_file(file)
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            table = csv.DictReader(text, strict=True)
            names = _column_names(file, table.fieldnames or (), columns or {})
            rows = [_row(file, table.line_num, cells, names) for cells in table]
    except (UnicodeDecodeError, csv.Error) as error:
        raise TuneError(
            f"{file} cannot be read as a table ({error}).", hint="Save it as CSV in UTF-8."
        ) from error
    if not rows:
        raise TuneError(f"{file} has no rows.", hint="List one image in each row.")
    _refuse_repeated(file, rows)
    _refuse_missing(file, rows)
    _refuse_straddling(file, rows)
    return rows


def _column_names(
    file: Path, found: Sequence[str], columns: Mapping[str, str]
) -> dict[str, str | None]:
    """The name of the column for each meaning, None for one that is not there."""
    for meaning in (*_NEEDED, *columns):
        name = columns.get(meaning, meaning)
        if name not in found:
            raise TuneError(
                f"{file} has no column {name!r}{did_you_mean(name, found)}; it has "
                f"{', '.join(found) or 'none'}.",
                hint="Name the columns in the study's data, such as "
                "'columns: {path: file, label: species}'.",
            )
    named = {meaning: columns.get(meaning, meaning) for meaning in (*_NEEDED, *_POSSIBLE)}
    return {meaning: name if name in found else None for meaning, name in named.items()}


def _row(
    file: Path, line: int, cells: Mapping[str, str | None], names: Mapping[str, str | None]
) -> Row:
    values = {
        meaning: (cells[name] or "").strip() for meaning, name in names.items() if name is not None
    }
    for meaning, value in values.items():
        if not value:
            raise TuneError(
                f"{file}:{line}: the row has no {meaning}.",
                hint=f"Fill in the column {names[meaning]!r} in every row, or remove it.",
            )
    split = values.get("split", "train")
    if split.lower() not in SPLIT_FOLDERS:
        raise TuneError(
            f"{file}:{line}: {split!r} is not a split{did_you_mean(split, SPLIT_FOLDERS) or '.'}",
            hint="A split is train, val or test.",
        )
    return Row(
        line=line,
        path=file.parent / values["path"],
        label=values["label"],
        split=SPLIT_FOLDERS[split.lower()],
        group=values.get("group"),
    )


def _in_order(labels: Iterable[str]) -> tuple[str, ...]:
    names = list(labels)
    if all(name.isdecimal() for name in names):
        return tuple(sorted(names, key=int))
    return tuple(sorted(names))


def _refuse_repeated(file: Path, rows: Sequence[Row]) -> None:
    path, count = Counter(row.path for row in rows).most_common(1)[0]
    if count > 1:
        lines = [str(row.line) for row in rows if row.path == path]
        raise TuneError(
            f"{file} lists {path} in lines {', '.join(lines[:SHOWN])}.",
            hint="List every image once: one in two splits would be trained on and tested on.",
        )


def _refuse_missing(file: Path, rows: Sequence[Row]) -> None:
    missing = [row for row in rows if not row.path.is_file()]
    if missing:
        listed = shortened([f"line {row.line}: {row.path}" for row in missing])
        raise TuneError(
            f"{len(missing):,} of the {len(rows):,} images in {file} do not exist:\n{listed}",
            hint="Paths are read relative to the csv file.",
        )


def _refuse_straddling(file: Path, rows: Sequence[Row]) -> None:
    if rows[0].group is None:
        return
    first: dict[str | None, Row] = {}
    for row in rows:
        other = first.setdefault(row.group, row)
        if other.split != row.split:
            raise TuneError(
                f"{file}: the group {row.group!r} is in the {SPLIT_NAMES[other.split]} split (line "
                f"{other.line}) and in the {SPLIT_NAMES[row.split]} split (line {row.line}).",
                hint="A group never straddles a split: put all its images into one.",
            )
