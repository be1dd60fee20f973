"""Draws the quality over two hyperparameters as a Plotly figure."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from effv2_tune.report.figures.palette import INK, PAPER, QUIET
from effv2_tune.report.figures.theme import POINTS, new_figure
from effv2_tune.report.quantities import label_of

if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Any

    import plotly.graph_objects as go

    from effv2_tune.report.landscape.contours import Contour
    from effv2_tune.report.parallel import Axis

#: Its lightness rises evenly, so it can be read without colours.
SCALE = "Cividis"
#: The colours begin at this quantile of the qualities: a few failures would take the whole scale.
_LEAST_QUANTILE = 0.1
_MARGIN = 0.05


def contour_figure(contour: Contour, quality: str, front: Collection[int]) -> go.Figure:
    """The estimated quality as contours, where there is an estimate, and each trial as a point.

    Args:
        contour: The two hyperparameters.
        quality: The score of the study.
        front: Numbers of the trials on the Pareto front, which are larger and outlined.
    """
    figure = new_figure(height=480)
    ordered = sorted(contour.qualities, reverse=quality == "loss")
    ends = sorted((ordered[int(_LEAST_QUANTILE * len(ordered))], ordered[-1]))
    colours = {"cmin": ends[0], "cmax": ends[1]}
    bar = {
        "title": {"text": f"validation<br>{label_of(quality)}"},
        "thickness": 14,
        "outlinewidth": 0,
        "tickformat": ".4~g",
    }
    if contour.surface:
        places = [place / (len(contour.surface) - 1) for place in range(len(contour.surface))]
        figure.add_contour(
            z=contour.surface,
            x=places,
            y=places,
            zmin=ends[0],
            zmax=ends[1],
            colorscale=SCALE,
            reversescale=quality == "loss",
            line={"width": 0.6, "color": PAPER},
            ncontours=12,
            opacity=0.85,
            showscale=False,
            connectgaps=False,
            hoverinfo="skip",
        )
    on_front = [number in front for number in contour.trials]
    first, second = contour.axes
    figure.add_scatter(
        name="trials",
        x=first.positions,
        y=second.positions,
        mode="markers",
        marker={
            "color": contour.qualities,
            "colorscale": SCALE,
            "reversescale": quality == "loss",
            **colours,
            "colorbar": bar,
            "symbol": ["diamond" if front else "circle" for front in on_front],
            "size": [13 if front else 8 for front in on_front],
            "line": {
                "color": [INK if front else QUIET for front in on_front],
                "width": [2 if front else 1 for front in on_front],
            },
        },
        customdata=contour.trials,
        meta=POINTS,
        hoverinfo="text",
        cliponaxis=False,
    )
    figure.update_xaxes(**_axis(first))
    figure.update_yaxes(**_axis(second))
    return figure


def _axis(axis: Axis) -> dict[str, Any]:
    """Plotly's settings of an axis of positions."""
    return {
        "title": html.escape(axis.label),
        "range": [-_MARGIN, 1 + _MARGIN],
        "tickvals": [place for place, _ in axis.ticks],
        "ticktext": [html.escape(text) for _, text in axis.ticks],
    }
