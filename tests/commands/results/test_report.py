"""The command ``report``: where the file is written."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    Tune = Callable[..., Any]


def test_a_report_goes_where_it_is_told_and_says_so(tune: Tune, study: Path) -> None:
    there = tune("report", str(study))
    elsewhere = tune("report", str(study), "-o", "new/front.html")

    assert there.out == "runs/small/report.html\n"
    assert elsewhere.out == "new/front.html\n"
    assert "effv2-tune export runs/small" in Path("new/front.html").read_text()


def test_a_page_is_not_written_under_the_name_of_a_picture(tune: Tune, study: Path) -> None:
    done = tune("report", str(study), "-o", "front.png")

    assert done.code == 2
    assert "--picture front.png" in done.err
    assert not Path("front.png").exists()


def test_the_table_of_networks_has_the_test_accuracy_of_final_trainings(
    tune: Tune, study: Path
) -> None:
    scores = {"accuracy": 0.5, "balanced_accuracy": 0.5, "macro_f1": 0.5, "top5": 1, "loss": 1}
    final = study.parent / "small-trial-2"
    final.mkdir()
    (final / "recipe.json").write_text("{}")
    (final / "metrics.json").write_text(
        json.dumps({"test": scores, "trial": {"study": "small", "number": 2}})
    )

    markdown = tune("report", str(study), "--table", "networks.md")
    comma_separated = tune("report", str(study), "--table", "new/networks.csv")

    assert (markdown.code, markdown.out) == (0, "networks.md\n")
    assert comma_separated.out == "new/networks.csv\n"
    rows = list(csv.DictReader(Path("new/networks.csv").read_text().splitlines()))
    assert [row["test_accuracy"] for row in rows if row["trial"] == "2"] == ["0.5000"]
    assert len(Path("networks.md").read_text().splitlines()) == 2 + len(rows)


def test_a_table_is_markdown_or_csv(tune: Tune, study: Path) -> None:
    done = tune("report", str(study), "--table", "networks.html")

    assert done.code == 2
    assert "a table is a .md or a .csv file" in done.err


def test_two_studies_are_compared_on_one_page(tune: Tune, study: Path) -> None:
    shutil.copytree(study, study.parent / "other")

    there = tune("report", str(study), "runs/other")
    elsewhere = tune("report", str(study), "runs/other", "-o", "new/both.html")

    assert (there.code, there.out) == (0, "runs/small/comparison.html\n")
    assert elsewhere.out == "new/both.html\n"
    assert "small (small) and small (other)" in Path("new/both.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("runs/nothing",), "There is no study in runs/nothing"),
        (("runs/small",), "runs/small is named twice"),
        (("runs/other", "--picture", "front.svg"), "name one FOLDER"),
        (("runs/other", "--name", "small"), "--name cannot tell several studies apart"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    tune: Tune, study: Path, arguments: tuple[str, ...], words: str
) -> None:
    shutil.copytree(study, study.parent / "other")

    done = tune("report", str(study), *arguments)

    assert done.code == 2
    assert words in done.err
    assert not Path("runs/small/comparison.html").exists()
