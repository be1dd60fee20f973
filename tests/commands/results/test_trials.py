"""The command ``trials``: every digit, and one line for each trial."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

from effv2_tune.search import read_study

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Tune = Callable[..., Any]


def test_json_and_csv_keep_every_digit(tune: Tune, study: Path) -> None:
    trials = {trial.number: trial for trial in read_study(study).trials}

    rows = json.loads(tune("trials", str(study), "--format", "json").out)
    table = list(csv.DictReader(io.StringIO(tune("trials", str(study), "--format", "csv").out)))

    assert len(rows) == len(table) == 4
    for row, line in zip(rows, table, strict=True):
        exact = trials[row["trial"]].config["weight_decay"]
        assert row["weight_decay"] == float(line["weight_decay"]) == exact
    assert rows[0]["started"].startswith("20")


def test_the_table_of_trials_has_one_line_each(tune: Tune, study: Path) -> None:
    lines = tune("trials", str(study)).out.splitlines()

    assert len(lines) == 2 + 4
    assert lines[0].split() == [
        *("on_front", "state", "quality", "standard_error", "expected_quality"),
        *("on_front_probability", "train_seconds", "epochs_trained", "bucket"),
        *("weight_decay", "resolution"),
    ]
