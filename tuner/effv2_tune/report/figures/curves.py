"""Draws the learning curves of all trials as a Plotly figure."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Literal

from effv2_tune.report.analysis import network_of, variant_of
from effv2_tune.report.figures.palette import INK, QUIET, variant_colour
from effv2_tune.report.figures.theme import CURVES, new_figure
from effv2_tune.report.quantities import label_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import plotly.graph_objects as go

    from effv2_tune.report.analysis import Analysis
    from effv2_tune.study.trial import Trial

CROWD = 30  # curves; with more, markers hide the lines
Curve = Literal["quality", "validation_loss", "train_loss"]


def curves_figure(analysis: Analysis, curve: Curve = "quality") -> go.Figure:
    """The learning curves of all trials, those of the front on top and labelled at their ends."""
    quality = analysis.study.quality
    figure = new_figure()
    trained = [trial for trial in analysis.study.trials if trial.curve]
    front = [trial for trial in trained if trial.number in analysis.front]
    others = [trial for trial in trained if trial.number not in analysis.front]
    complete = [trial for trial in others if trial.state == "complete"]
    unfinished = [trial for trial in others if trial.state != "complete"]
    for name, members, dash in (
        ("not completed", unfinished, "dot"),
        ("complete, not on the front", complete, "solid"),
    ):
        if members:
            _draw_background(figure, name, members, curve, quality, dash=dash)
    labels = _end_labels(front, curve, quality)
    for trial in front:
        _draw_front_curve(figure, trial, curve, quality, labels.get(trial.number, ""))
    figure.update_xaxes(title="epoch", rangemode="tozero", tickformat=",d")
    figure.update_yaxes(title=curve_title(curve, quality))
    return figure


def curve_title(curve: Curve, quality: str) -> str:
    """The quantity that a learning curve shows."""
    names = {
        "quality": f"validation {label_of(quality)}",
        "validation_loss": "validation loss",
        "train_loss": "training loss",
    }
    return names[curve]


def curve_values(trial: Trial, curve: Curve, quality: str) -> list[float]:
    """One value for each epoch trained."""
    match curve:
        case "quality":
            return [epoch.scores.value_of(quality) for epoch in trial.curve]
        case "validation_loss":
            return [epoch.scores.loss for epoch in trial.curve]
        case "train_loss":
            return [epoch.train_loss for epoch in trial.curve]


def _draw_background(
    figure: go.Figure, name: str, members: Sequence[Trial], curve: Curve, quality: str, *, dash: str
) -> None:
    """Draw all of them as one trace with gaps: a thousand traces would be slow to draw."""
    epochs: list[int | None] = []
    values: list[float | None] = []
    numbers: list[int] = []
    for trial in members:
        epochs += [*(epoch.epoch for epoch in trial.curve), None]
        values += [*curve_values(trial, curve, quality), None]
        numbers += [trial.number] * (len(trial.curve) + 1)
    figure.add_scatter(
        name=name,
        x=epochs,
        y=values,
        mode="lines+markers" if len(members) < CROWD else "lines",
        line={"color": QUIET, "width": 1, "dash": dash},
        marker={"size": 3},
        opacity=0.35 if len(members) < 3 * CROWD else 0.15,
        customdata=numbers,
        meta=CURVES,
        hovertemplate="trial %{customdata}, epoch %{x}: %{y:.4f}<extra></extra>",
        connectgaps=False,
    )


def _end_labels(front: Sequence[Trial], curve: Curve, quality: str) -> dict[int, str]:
    """Trial numbers at the ends of curves; curves that end together share one label."""
    values = {trial.number: curve_values(trial, curve, quality) for trial in front}
    everything = [value for numbers in values.values() for value in numbers]
    if not everything:
        return {}
    near = 0.03 * (max(everything) - min(everything))
    labels: dict[int, str] = {}
    topmost: tuple[int, float, int] | None = None  # epochs, value and number of a label's owner
    for epochs, end, number in sorted(
        ((len(numbers), numbers[-1], number) for number, numbers in values.items()), reverse=True
    ):
        if topmost is not None and topmost[0] == epochs and topmost[1] - end < near:
            labels[topmost[2]] += f", {number}"
        else:
            topmost = (epochs, end, number)
            labels[number] = str(number)
    return labels


def _draw_front_curve(
    figure: go.Figure, trial: Trial, curve: Curve, quality: str, label_at_end: str
) -> None:
    label = html.escape(f"trial {trial.number}, {network_of(trial)}")
    figure.add_scatter(
        name=label,
        x=[epoch.epoch for epoch in trial.curve],
        y=curve_values(trial, curve, quality),
        mode="lines+markers+text",
        line={"color": variant_colour(variant_of(trial)), "width": 2.6},
        marker={"size": 5},
        text=[*[""] * (len(trial.curve) - 1), f" {label_at_end}"],
        textposition="middle right",
        textfont={"color": INK, "size": 12},
        customdata=[trial.number] * len(trial.curve),
        meta=CURVES,
        hovertemplate=f"{label}, epoch %{{x}}: %{{y:.4f}}<extra></extra>",
        cliponaxis=False,
    )
