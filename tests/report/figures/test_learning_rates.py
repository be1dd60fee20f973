"""The picture of range tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from effv2_tune.errors import TuneError
from effv2_tune.report.figures.learning_rates import (
    RangeCurve,
    range_figure,
    write_range_picture,
)
from effv2_tune.report.figures.static import static_style

if TYPE_CHECKING:
    from pathlib import Path

RATES = list(np.geomspace(1e-6, 10.0, 50))
LOSSES = [2.0, *np.linspace(2.0, 0.5, 39), *np.geomspace(0.6, 1e6, 9), float("nan")]
LEARNS = RangeCurve("b0@64", RATES, LOSSES, LOSSES, (1e-5, 1e-3), (1e-3, 1e-1))
IS_FLAT = RangeCurve("b1@64", RATES, [2.3] * 50, [2.3] * 50, None, None)


def test_each_bucket_has_its_axes_with_both_ranges_and_plain_labels() -> None:
    with static_style():
        figure = range_figure([LEARNS, IS_FLAT])
        figure.draw_without_rendering()

    first, second = figure.axes
    assert (first.get_title(loc="left"), second.get_title(loc="left")) == ("b0@64", "b1@64")
    assert [text.get_text() for text in first.get_legend().get_texts()] == [
        "initial_learning_rate",
        "maximal_learning_rate",
    ]
    assert second.get_legend() is None
    assert "1e-03" in [label.get_text() for label in first.get_xticklabels()]
    low, high = first.get_ylim()
    # Not up to the divergence.
    assert low < 0.5
    assert 2.0 < high < 3.0


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_a_picture_is_written_in_the_format_of_its_suffix(tmp_path: Path, suffix: str) -> None:
    path = write_range_picture([LEARNS, IS_FLAT], tmp_path / f"range.{suffix}")

    starts = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}
    assert path.read_bytes().startswith(starts[suffix])
    with pytest.raises(TuneError, match="has no suffix of a picture"):
        write_range_picture([LEARNS], tmp_path / "range.jpg")
