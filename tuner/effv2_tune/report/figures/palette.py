"""Defines the colours and symbols of figures, distinguishable with colour blindness.

Okabe and Ito, "Color Universal Design" (2008), without its black; its yellow is darkened to be
visible on white; the largest variants have two of Paul Tol's colours (grey, wine).
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from effv2_tune.study.trial import TrialState

PALETTE_NAME = "Okabe-Ito"

#: A variant has the same colour in every report.
VARIANT_COLOURS = MappingProxyType(
    {
        "b0": "#0072B2",  # blue
        "b1": "#E69F00",  # orange
        "b2": "#009E73",  # bluish green
        "b3": "#D55E00",  # vermilion
        "t": "#56B4E9",  # sky blue
        "s": "#CC79A7",  # reddish purple
        "m": "#C9B400",  # yellow, darkened
        "l": "#8C8C8C",  # grey
        "xl": "#AA4466",  # wine
    }
)
UNKNOWN_COLOUR = "#8C8C8C"

#: One symbol for each resolution, smallest first; Plotly's names.
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "pentagon", "hexagram", "triangle-down")

#: The symbols of trials at rungs, by their state; no resolution has one of them.
RUNG_SYMBOLS: MappingProxyType[TrialState, str] = MappingProxyType(
    {"pruned": "x-thin", "paused": "hourglass-open"}
)

#: Colours that do not encode data; the page exchanges them in dark mode.
INK = "#1b2430"
QUIET = "#5b6776"
LINE = "#dfe4ea"
PAPER = "#ffffff"

#: Their counterparts in dark mode.
DARK = MappingProxyType({INK: "#e8edf3", QUIET: "#a3afbd", LINE: "#303a47", PAPER: "#151b23"})

#: The colour of each part of a trial's wall time.
TIME_COLOURS = MappingProxyType(
    {
        "training, complete trials": "#0072B2",
        "training, other trials": "#56B4E9",
        "evaluation": "#009E73",
        "compilation": "#D55E00",
        "extracting features": "#AA4466",
        "measuring step times": "#E69F00",
        "building networks": "#CC79A7",
        "checkpoints": "#C9B400",
        "waiting and the rest": "#8C8C8C",
    }
)


def variant_colour(variant: str) -> str:
    """The colour of a variant; grey for one that the catalog does not know."""
    return VARIANT_COLOURS.get(variant, UNKNOWN_COLOUR)


def resolution_symbols(resolutions: set[int]) -> dict[int, str]:
    """A symbol for each resolution, by size; they repeat from the eighth on."""
    return {
        resolution: SYMBOLS[place % len(SYMBOLS)]
        for place, resolution in enumerate(sorted(resolutions))
    }
