"""Draws the course of a search as Plotly figures: growth of the front, and time spent."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Literal

from effv2_tune.report.figures.palette import PAPER, TIME_COLOURS, variant_colour
from effv2_tune.report.figures.theme import BARS, POINTS, new_figure
from effv2_tune.report.quantities import human_seconds, time_unit

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import plotly.graph_objects as go

    from effv2_tune.report.growth import GrowthPoint


def growth_figure(points: Sequence[GrowthPoint], over: Literal["trials", "time"]) -> go.Figure:
    """The hypervolume of the front over the search.

    Args:
        points: One for each trial that ended, in the order of their ends.
        over: Count ended trials, or the time since the search began.
    """
    figure = new_figure()
    by_trials = over == "trials"
    unit = time_unit(max((point.seconds for point in points), default=0.0))
    figure.add_scatter(
        x=[point.ended if by_trials else point.seconds / unit.seconds for point in points],
        y=[point.share for point in points],
        mode="lines+markers",
        line={"shape": "hv", "color": variant_colour("b0"), "width": 2.4},
        marker={"size": [8 if point.is_new_point else 0 for point in points]},
        customdata=[point.trial for point in points],
        meta=POINTS,
        text=[
            f"after trial {point.trial} ({point.ended} ended, {human_seconds(point.seconds)})"
            f"<br>{point.share:.1%} of the final hypervolume"
            f"{', a new point of the front' if point.is_new_point else ''}"
            for point in points
        ],
        hoverinfo="text",
    )
    figure.update_xaxes(
        title="trials ended" if by_trials else f"time since the start ({unit.name})",
        rangemode="tozero",
    )
    figure.update_yaxes(title="share of the final hypervolume", tickformat=".0%", range=[0, 1.04])
    return figure


def time_figure(shares: Iterable[tuple[str, dict[str, float]]]) -> go.Figure:
    """The wall time: one bar for each bucket, one colour for each kind of work.

    Args:
        shares: For each bar its name and the seconds of each part, parts named as in
            ``palette.TIME_COLOURS``; the first bar is drawn on top.
    """
    bars = list(shares)
    unit = time_unit(max((sum(parts.values()) for _, parts in bars), default=0.0))
    figure = new_figure(barmode="stack")
    for part, colour in TIME_COLOURS.items():
        seconds = [parts.get(part, 0.0) for _, parts in bars]
        if not any(seconds):
            continue
        figure.add_bar(
            name=part,
            orientation="h",
            y=[html.escape(name) for name, _ in bars],
            x=[amount / unit.seconds for amount in seconds],
            marker={"color": colour, "line": {"width": 1, "color": PAPER}},
            meta=BARS,
            text=[f"{part}: {human_seconds(amount)}" for amount in seconds],
            textposition="none",
            hoverinfo="text",
        )
    figure.update_xaxes(title=f"wall time ({unit.name})")
    figure.update_yaxes(autorange="reversed", showgrid=False, automargin=True)
    figure.update_layout(height=110 + 34 * max(len(bars), 1), bargap=0.35)
    return figure
