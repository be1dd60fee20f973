"""The command ``report``: where the file is written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

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
