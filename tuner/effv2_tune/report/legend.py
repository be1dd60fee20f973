"""Lists the entries of a legend: colours of variants and symbols of resolutions."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from effv2_tune.report.analysis import pixels_of, variant_of
from effv2_tune.report.figures.palette import resolution_symbols, variant_colour

if TYPE_CHECKING:
    from effv2_tune.report.analysis import DeviceAnalysis


class LegendEntry(NamedTuple):
    """One entry.

    Attributes:
        text: What the symbol means.
        symbol: One of ``palette.SYMBOLS``.
        colour: Its filling; empty for an outline in the colour of the text.
    """

    text: str
    symbol: str
    colour: str = ""


def legend_entries(device: DeviceAnalysis) -> list[LegendEntry]:
    """The variants and the resolutions of the complete trials."""
    variants = sorted({variant_of(trial) for trial in device.complete})
    symbols = resolution_symbols({pixels_of(trial) for trial in device.trials})
    sizes = sorted({pixels_of(trial) for trial in device.complete} - {0})
    return [
        *(LegendEntry(name, "circle", variant_colour(name)) for name in variants),
        *(LegendEntry(f"{pixels} px", symbols[pixels]) for pixels in sizes),
    ]
