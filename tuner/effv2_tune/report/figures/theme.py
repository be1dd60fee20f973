"""Defines the theme of all figures: paper, fonts, axes, and the scale of time axes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from effv2_tune.report.figures.palette import INK, LINE, PAPER, QUIET
from effv2_tune.report.quantities import human_seconds, ladder_ticks, spans_decades, time_unit

if TYPE_CHECKING:
    import plotly.graph_objects as go

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"

#: What a trace draws of the trials that its ``customdata`` numbers, for the page to select: a point
#: each; curves of several points each; spans of time; bars of buckets, by their names.
POINTS, CURVES, SPANS, BARS = "points", "curves", "spans", "bars"


class TimeScale:
    """A time axis: seconds to its unit, logarithmic where times span more than a decade.

    Args:
        seconds: All times that the axis must hold.

    Attributes:
        shortest: Of ``seconds``.
        longest: Likewise.
        logarithmic: Whether the axis is logarithmic.
        suffix: The unit, for the title of the axis.
        ticks: In seconds, of a logarithmic axis.
    """

    def __init__(self, seconds: list[float]) -> None:
        self.shortest, self.longest = min(seconds, default=0.0), max(seconds, default=1.0)
        self.logarithmic = spans_decades(seconds)
        unit = time_unit(self.longest)
        self.divisor = 1.0 if self.logarithmic else unit.seconds
        self.suffix = " (logarithmic)" if self.logarithmic else f" ({unit.name})"
        self.ticks = ladder_ticks(self.shortest, self.longest) if self.logarithmic else []

    @property
    def axis(self) -> dict[str, Any]:
        """Plotly's settings of the axis."""
        if not self.logarithmic:
            return {"rangemode": "tozero"}
        texts = [human_seconds(tick) for tick in self.ticks]
        return {"type": "log", "tickvals": self.ticks, "ticktext": texts}

    def __call__(self, seconds: float) -> float:
        """The position of a time on the axis."""
        return seconds / self.divisor


def new_figure(**more: Any) -> go.Figure:
    """An empty figure with the layout of all figures, and further settings of it."""
    import plotly.graph_objects as go

    axis = {
        "gridcolor": LINE,
        "linecolor": QUIET,
        "zeroline": False,
        "ticks": "outside",
        "tickcolor": LINE,
        "automargin": True,
        "showline": True,
    }
    layout = {
        "template": "none",
        "font": {"family": FONT, "size": 13, "color": INK},
        "paper_bgcolor": PAPER,
        "plot_bgcolor": PAPER,
        "margin": {"l": 62, "r": 44, "t": 36, "b": 56},
        "xaxis": dict(axis),
        "yaxis": dict(axis),
        "height": 460,
        "hovermode": "closest",
        "showlegend": False,
        "hoverlabel": {
            "align": "left",
            "bgcolor": PAPER,
            "bordercolor": QUIET,
            "font": {"family": FONT, "color": INK, "size": 12},
        },
        **more,
    }
    return go.Figure(layout=layout)
