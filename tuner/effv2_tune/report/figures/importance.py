"""Draws the importance of hyperparameters as a Plotly figure."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from effv2_tune.report.figures.palette import QUIET, variant_colour
from effv2_tune.report.figures.theme import new_figure
from effv2_tune.report.quantities import label_of, percent

if TYPE_CHECKING:
    from collections.abc import Sequence

    import plotly.graph_objects as go

    from effv2_tune.report.importance import Importance


def importance_figure(found: Sequence[Importance], complete: int) -> go.Figure:
    """The share of each hyperparameter as a bar, with its 90 % interval.

    Args:
        found: The largest first, which is drawn on top.
        complete: Complete trials; hyperparameters that fewer have are marked as conditional.
    """
    figure = new_figure()
    figure.add_bar(
        orientation="h",
        x=[one.share for one in found],
        y=[html.escape(_label(one, complete)) for one in found],
        error_x={
            "array": [max(one.high - one.share, 0.0) for one in found],
            "arrayminus": [max(one.share - one.low, 0.0) for one in found],
            "color": QUIET,
            "thickness": 1.4,
            "width": 5,
        },
        marker={"color": variant_colour("b0"), "opacity": 0.85},
        text=[
            f"{html.escape(label_of(one.parameter))}: {percent(one.share)}"
            f"<br>90 % interval {percent(one.low)} to {percent(one.high)}"
            f"<br>{one.trials} of {complete} complete trials have it"
            for one in found
        ],
        textposition="none",
        hoverinfo="text",
    )
    figure.update_xaxes(title="share of the importance", tickformat=".0%", rangemode="tozero")
    figure.update_yaxes(autorange="reversed", showgrid=False, automargin=True)
    figure.update_layout(height=110 + 34 * max(len(found), 1), bargap=0.35)
    return figure


def _label(one: Importance, complete: int) -> str:
    name = label_of(one.parameter)
    return name if one.trials == complete else f"{name} (conditional, {one.trials} trials)"
