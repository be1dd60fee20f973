"""The page that compares studies."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from effv2_tune.errors import TuneError
from effv2_tune.report.analysis import analyse
from effv2_tune.report.comparison.studies import compare
from effv2_tune.report.figures.comparison import LOOKS, fronts_figure
from effv2_tune.report.html.comparison import comparison_html, write_comparison

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from effv2_tune.report.comparison.studies import Comparison
    from effv2_tune.report.input import ReportInput
    from effv2_tune.study.trial import Trial


@pytest.fixture
def compared(
    study_maker: Callable[..., ReportInput], trial_maker: Callable[..., Trial]
) -> Comparison:
    trials = tuple(trial_maker(number, seed=2) for number in range(30))
    studies = [study_maker(40, name="a"), study_maker(trials=trials, name="<b> & co")]
    return compare([analyse(study) for study in studies])


def test_the_page_has_fronts_hypervolumes_and_the_picks_of_both(compared: Comparison) -> None:
    text = comparison_html(compared, written="now")

    assert "<h1>a and &lt;b&gt; &amp; co</h1>" in text
    assert "down to one reference for all studies: accuracy 0." in text
    assert "effv2-tune export runs/a --pick trial=" in text
    assert "--pick trial=" in text.split("runs/&lt;b&gt; &amp; co")[1]
    assert "<b>" not in text.split('<script type="application/json"')[0]
    assert len(re.findall(r"plotly\.js v\d", text)) == 1


def test_studies_are_told_apart_by_symbol_and_dash_not_by_colour_alone(
    compared: Comparison,
) -> None:
    figure = fronts_figure(compared, compared.devices[0])

    lines = [trace for trace in figure.data if trace.mode == "lines"]
    points = [trace for trace in figure.data if trace.mode == "markers"]
    assert len({trace.line.dash for trace in lines}) == 2
    assert len({trace.marker.symbol for trace in points}) == 2
    assert len({look.dash for look in LOOKS}) == len({look.symbol for look in LOOKS}) == len(LOOKS)


def test_a_page_that_cannot_be_written_is_an_error_message(
    compared: Comparison, tmp_path: Path
) -> None:
    (tmp_path / "taken").write_text("a file")

    with pytest.raises(TuneError, match="cannot be written"):
        write_comparison(compared, tmp_path / "taken" / "page.html")
