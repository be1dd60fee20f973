"""Lists the entries of a legend: colours of variants, symbols of resolutions and states."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from effv2_tune.report.analysis import STATE_WORDS, pixels_of, variant_of
from effv2_tune.report.figures.palette import RUNG_SYMBOLS, resolution_symbols, variant_colour

if TYPE_CHECKING:
    from effv2_tune.report.analysis import DeviceAnalysis


class LegendEntry(NamedTuple):
    """One entry.

    Attributes:
        text: What the symbol means.
        symbol: One of ``palette.SYMBOLS`` or of ``palette.RUNG_SYMBOLS``; empty for text alone.
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


def state_entries(device: DeviceAnalysis) -> list[LegendEntry]:
    """The marks of pruned and paused trials, and of those trained with several seeds."""
    states = {trial.state for trial in device.at_rungs}
    entries = [
        LegendEntry(STATE_WORDS[state], symbol)
        for state, symbol in RUNG_SYMBOLS.items()
        if state in states
    ]
    if device.trainings:
        entries.append(
            LegendEntry("\N{MULTIPLICATION SIGN}2, \N{MULTIPLICATION SIGN}3: trainings", "")
        )
    return entries
