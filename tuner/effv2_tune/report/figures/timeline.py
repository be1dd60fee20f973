"""Draws the timeline of workers as a Plotly figure."""

from __future__ import annotations

import html
from types import MappingProxyType
from typing import TYPE_CHECKING

from effv2_tune.report.figures.palette import QUIET, TIME_COLOURS
from effv2_tune.report.figures.theme import SPANS, new_figure
from effv2_tune.report.quantities import time_unit

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from effv2_tune.report.timeline import Timeline, Work

#: Colour and height in pixels of each kind of work: the heights tell them apart without colours.
LOOKS: MappingProxyType[Work, tuple[str, int]] = MappingProxyType(
    {
        "training": (TIME_COLOURS["training, complete trials"], 20),
        "evaluation": (TIME_COLOURS["evaluation"], 14),
        "compilation": (TIME_COLOURS["compilation"], 9),
        "starting": (TIME_COLOURS["building networks"], 5),
        "idle": (TIME_COLOURS["waiting and the rest"], 2),
    }
)
ROW = 34  # pixels
_ROUND = 4  # digits of an axis of at most some hundreds of units


def timeline_figure(timeline: Timeline) -> go.Figure:
    """What each worker did: a row for each, the time of all runs without the pauses between them.

    All spans of a kind are one line with gaps: thousands of bars would be slow to draw.
    """
    workers = timeline.workers
    rows = {worker: row for row, worker in enumerate(workers)}
    unit = time_unit(timeline.seconds)
    figure = new_figure(height=timeline_height(timeline), hoverdistance=12)
    for work, (colour, height) in LOOKS.items():
        spans = [span for span in timeline.spans if span.work == work]
        if not spans:
            continue
        has_trials = work not in ("starting", "idle")
        figure.add_scatter(
            name=work,
            x=[
                x
                for span in spans
                for x in (*_ends(timeline, span.start, span.end, unit.seconds), None)
            ],
            y=[rows[span.worker] for span in spans for _ in range(3)],
            mode="lines",
            line={"color": colour, "width": height},
            connectgaps=False,
            customdata=[span.trial for span in spans for _ in range(3)] if has_trials else None,
            meta=SPANS if has_trials else None,
            hovertemplate=f"{work}{' of trial %{customdata}' if has_trials else ''}<extra></extra>",
        )
    for _, end in timeline.runs[:-1]:
        at = round(timeline.at(end) / unit.seconds, _ROUND)
        figure.add_vline(at, line={"color": QUIET, "width": 1.5, "dash": "dash"})
    pauses = ", without the pauses between runs" if timeline.runs[1:] else ""
    figure.update_xaxes(title=f"time since the start ({unit.name}{pauses})", rangemode="tozero")
    figure.update_yaxes(
        tickvals=list(rows.values()),
        ticktext=[html.escape(worker) for worker in workers],
        range=[len(workers) - 0.5, -0.5],
        showgrid=False,
    )
    return figure


def timeline_height(timeline: Timeline) -> int:
    """The height of the figure, in CSS pixels."""
    return 100 + ROW * max(len(timeline.workers), 1)


def _ends(timeline: Timeline, start: float, end: float, unit: float) -> tuple[float, float]:
    return round(timeline.at(start) / unit, _ROUND), round(timeline.at(end) / unit, _ROUND)
