"""The command ``trials``: every digit, and one line for each trial."""

from __future__ import annotations

import csv
import io
import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from effv2_tune.search import read_study

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Tune = Callable[..., Any]


def test_json_and_csv_keep_every_digit(tune: Tune, study: Path) -> None:
    trials = {trial.number: trial for trial in read_study(study).trials}

    rows = json.loads(tune("trials", str(study), "--json").out)
    table = list(csv.DictReader(io.StringIO(tune("trials", str(study), "--csv").out)))

    assert len(rows) == len(table) == 4
    for row, line in zip(rows, table, strict=True):
        exact = trials[row["trial"]].config["weight_decay"]
        assert row["weight_decay"] == float(line["weight_decay"]) == exact
    assert rows[0]["started"].startswith("20")


def test_the_table_of_trials_has_one_line_each(tune: Tune, study: Path) -> None:
    lines = tune("trials", str(study)).out.splitlines()

    assert len(lines) == 1 + 4
    assert lines[0].split() == [
        *("trial", "state", "accuracy", "time", "network", "epochs", "weight", "decay")
    ]
    assert lines[1].split()[1].startswith("front")


def test_columns_are_chosen_in_every_form(tune: Tune, study: Path) -> None:
    chosen = ("trials", str(study), "--columns", "trial, quality")

    rows = json.loads(tune(*chosen, "--json").out)
    table = list(csv.reader(io.StringIO(tune(*chosen, "--csv").out)))
    lines = tune(*chosen).out.splitlines()

    assert [list(row) for row in rows] == [["trial", "quality"]] * 4
    assert table[0] == lines[0].split() == ["trial", "quality"]
    assert len(table) == len(lines) == 1 + 4


def test_a_wrong_column_is_refused_with_those_there_are(tune: Tune, study: Path) -> None:
    done = tune("trials", str(study), "--columns", "quallity", "--csv")

    assert done.code == 2
    assert "did you mean 'quality'" in done.err


def test_the_option_of_the_version_before_still_works(tune: Tune, study: Path) -> None:
    assert (
        tune("trials", str(study), "--format", "csv").out
        == tune(*("trials", str(study), "--csv")).out
    )


def test_a_parquet_file_has_the_same_trials(tune: Tune, study: Path, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    path = tmp_path / "new" / "trials.parquet"

    done = tune("trials", str(study), "--parquet", str(path))

    frame, rows = pandas.read_parquet(path), json.loads(tune("trials", str(study), "--json").out)
    assert done.out == f"{path}\n"
    assert list(frame.columns) == list(rows[0])
    assert list(frame["weight_decay"]) == [row["weight_decay"] for row in rows]


def test_without_pyarrow_the_extra_is_named(
    tune: Tune, study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)

    done = tune("trials", str(study), "--parquet", str(tmp_path / "trials.parquet"))

    assert done.code == 1
    assert "pyarrow, which is not installed" in done.err
    assert "[parquet]" in done.err
    assert not (tmp_path / "trials.parquet").exists()
