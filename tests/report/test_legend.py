"""The entries of a legend."""

from __future__ import annotations

from typing import TYPE_CHECKING

from effv2_tune.report.analysis import analyse
from effv2_tune.report.figures.palette import VARIANT_COLOURS
from effv2_tune.report.legend import LegendEntry, legend_entries

if TYPE_CHECKING:
    from collections.abc import Callable

    from effv2_tune.report.input import ReportInput


def test_it_has_the_variants_with_their_colours_and_the_resolutions_with_their_symbols(
    study_maker: Callable[..., ReportInput],
) -> None:
    (device,) = analyse(study_maker(60)).devices

    assert legend_entries(device) == [
        *(LegendEntry(name, "circle", VARIANT_COLOURS[name]) for name in ("b0", "b1", "b2", "b3")),
        LegendEntry("64 px", "circle"),
        LegendEntry("96 px", "square"),
        LegendEntry("128 px", "diamond"),
    ]
