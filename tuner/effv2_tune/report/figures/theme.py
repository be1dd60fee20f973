"""What every figure shares: paper, fonts, axes, and a time axis in units that people read."""

from __future__ import annotations

from typing import Any

from effv2_tune.report.figures.palette import INK, LINE, PAPER, QUIET
from effv2_tune.report.quantities import human_seconds, ladder_ticks, spans_decades, time_unit

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"


class TimeScale:
    """A time axis: seconds to its unit, logarithmic where times span more than a decade.

    Args:
        seconds: All times that the axis must hold.

    Attributes:
        logarithmic: Whether it is.
        suffix: What the axis title says of its unit.
        axis: Plotly's settings of the axis.
    """

    def __init__(self, seconds: list[float]) -> None:
        longest, shortest = max(seconds, default=1.0), min(seconds, default=0.0)
        self.logarithmic = spans_decades(seconds)
        unit = time_unit(longest)
        self.divisor = 1.0 if self.logarithmic else unit.seconds
        self.suffix = "" if self.logarithmic else f" ({unit.name})"
        self.axis: dict[str, Any] = {"rangemode": "tozero"}
        if self.logarithmic:
            ticks = ladder_ticks(shortest, longest)
            self.suffix = " (logarithmic)"
            self.axis = {
                "type": "log",
                "tickvals": ticks,
                "ticktext": [human_seconds(tick) for tick in ticks],
            }

    def __call__(self, seconds: float) -> float:
        """Where a time lies on the axis."""
        return seconds / self.divisor


def layout(**more: Any) -> dict[str, Any]:
    """Plotly's layout of every figure, with what one of them needs besides."""
    axis = {
        "gridcolor": LINE,
        "linecolor": QUIET,
        "zeroline": False,
        "ticks": "outside",
        "tickcolor": LINE,
        "automargin": True,
        "showline": True,
    }
    return {
        "template": "none",
        "font": {"family": FONT, "size": 13, "color": INK},
        "paper_bgcolor": PAPER,
        "plot_bgcolor": PAPER,
        "margin": {"l": 62, "r": 44, "t": 36, "b": 56},
        "xaxis": dict(axis),
        "yaxis": dict(axis),
        "height": 460,
        "showlegend": False,
        "hoverlabel": {
            "align": "left",
            "bgcolor": PAPER,
            "bordercolor": QUIET,
            "font": {"family": FONT, "color": INK, "size": 12},
        },
        **more,
    }
