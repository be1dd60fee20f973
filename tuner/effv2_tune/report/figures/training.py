"""Draws a final training: learning curves, learning rate, confusion matrix."""

from __future__ import annotations

import html
import math
from typing import TYPE_CHECKING, NamedTuple

from effv2_tune.report.figures.palette import INK, LINE, PAPER, QUIET
from effv2_tune.report.figures.theme import new_figure
from effv2_tune.report.quantities import label_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import plotly.graph_objects as go

    from effv2_tune.report.tables.classes import Confusion

#: Colour, dash (Plotly's name) and symbol of the images that a curve is of.
CURVE_LOOKS = {
    "training": ("#0072B2", "solid", "circle"),
    "validation": ("#D55E00", "dash", "square"),
}
_SCALE = [[0.0, PAPER], [1.0, "#0072B2"]]
#: Classes whose cells have their counts written in them.
_MOST_WRITTEN = 20
_LONGEST = 16  # characters of a class's name at an axis
#: Height of a cell in CSS pixels, and of one of few classes.
_CELL, _FEW_CELL, _FEW = 24, 42, 10
_AROUND = 220  # likewise: axes, their titles and their names


class History(NamedTuple):
    """The learning curve of a training.

    Attributes:
        epochs: From 1.
        training: ``loss`` and ``accuracy`` of each epoch, while the weights were changing.
        validation: Each score after the epoch; empty where no epoch was validated.
    """

    epochs: Sequence[int]
    training: Mapping[str, Sequence[float]]
    validation: Mapping[str, Sequence[float]]


def history_figure(history: History, score: str, *, selected: int) -> go.Figure:
    """One score of the training and the validation images over the epochs.

    Args:
        history: The learning curve.
        score: Its name.
        selected: The epoch of the weights that are kept, which is marked.
    """
    figure = new_figure(height=380)
    for images, curves in (("training", history.training), ("validation", history.validation)):
        if score not in curves:
            continue
        colour, dash, symbol = CURVE_LOOKS[images]
        figure.add_scatter(
            name=images,
            x=list(history.epochs),
            y=list(curves[score]),
            mode="lines+markers",
            line={"color": colour, "width": 2.4, "dash": dash},
            marker={"size": 6, "symbol": symbol, "color": colour},
            hovertemplate=f"{images}, epoch %{{x}}: %{{y:.4f}}<extra></extra>",
            cliponaxis=False,
        )
    figure.add_vline(x=selected, line={"color": QUIET, "width": 1, "dash": "dot"})
    figure.add_annotation(
        x=selected,
        y=0.45,  # accuracies rise above it, and losses fall below
        yref="paper",
        xanchor="right" if selected > history.epochs[-1] / 2 else "left",
        text=f" epoch {selected} is kept ",
        showarrow=False,
        font={"color": INK, "size": 12},
    )
    last = history.epochs[-1]
    figure.update_xaxes(title="epoch", tickformat=",d", range=[0, last * 1.02])
    if last <= _FEW:  # no ticks between epochs
        figure.update_xaxes(dtick=1)
    figure.update_yaxes(title=_beside(label_of(score)))
    return figure


def learning_rate_figure(epochs: Sequence[float], rates: Sequence[float]) -> go.Figure:
    """The learning rate over the epochs, which are counted as they pass."""
    figure = new_figure(height=300)
    figure.add_scatter(
        name="learning rate",
        x=list(epochs),
        y=list(rates),
        mode="lines",
        line={"color": CURVE_LOOKS["training"][0], "width": 2},
        hovertemplate="after %{x:.2f} epochs: %{y:.3e}<extra></extra>",
    )
    figure.update_xaxes(title="epochs trained", rangemode="tozero")
    figure.update_yaxes(title=_beside("learning rate"), rangemode="tozero", exponentformat="power")
    return figure


def confusion_figure(confusion: Confusion) -> go.Figure:
    """The confusion matrix as shares of the images of each class, with their counts.

    Colours are those of the root of the share, so that single images are seen beside the diagonal.
    """
    counts = confusion.matrix()
    roots = [[math.sqrt(count / max(1, sum(row))) for count in row] for row in counts]
    names = [html.escape(_shortened(name)) for name in confusion.classes]
    numbers = list(range(len(names)))
    figure = new_figure(height=confusion_height(len(names)))
    is_written = len(names) <= _MOST_WRITTEN
    figure.add_heatmap(
        x=numbers,
        y=numbers,
        z=roots,
        zmin=0,
        zmax=1,
        colorscale=_SCALE,
        showscale=False,
        xgap=1,
        ygap=1,
        text=[[f"{count:,}" if count else "" for count in row] for row in counts],
        texttemplate="%{text}" if is_written else None,
        textfont={"size": 11},
        customdata=[
            [
                f"{html.escape(actual)}, predicted as {html.escape(predicted)}: {count:,} of "
                f"{sum(row):,} images"
                for predicted, count in zip(confusion.classes, row, strict=True)
            ]
            for actual, row in zip(confusion.classes, counts, strict=True)
        ],
        hovertemplate="%{customdata}<extra></extra>",
    )
    ticks = {"tickvals": numbers, "ticktext": names, "gridcolor": LINE, "showgrid": False}
    figure.update_xaxes(title=_beside("predicted class"), tickangle=-60, **ticks)
    figure.update_yaxes(title=_beside("class"), autorange="reversed", **ticks)
    return figure


def confusion_height(classes: int) -> int:
    """Of the figure, in CSS pixels."""
    return _AROUND + classes * (_FEW_CELL if classes <= _FEW else _CELL)


def _beside(title: str) -> dict[str, object]:
    """A title that the names at its axis do not reach."""
    return {"text": title, "standoff": 14}


def _shortened(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"
