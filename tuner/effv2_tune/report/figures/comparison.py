"""Draws the fronts of several studies over each other, and the growth of their hypervolumes."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Literal, NamedTuple

from effv2_tune.report.analysis import network_of, seconds_of
from effv2_tune.report.figures.front import quality_bounds
from effv2_tune.report.figures.palette import INK, PAPER, VARIANT_COLOURS
from effv2_tune.report.figures.theme import TimeScale, new_figure
from effv2_tune.report.quantities import human_seconds, label_of, time_unit

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from effv2_tune.pareto import Objective
    from effv2_tune.report.comparison.studies import Comparison, DeviceComparison, Member


class Look(NamedTuple):
    """How the front of a study is drawn.

    Attributes:
        colour: Of line and points.
        dash: Of the line.
        symbol: Of the points, one of ``palette.SYMBOLS``.
    """

    colour: str
    dash: str
    symbol: str


LOOKS = (
    Look(VARIANT_COLOURS["b0"], "solid", "circle"),
    Look(VARIANT_COLOURS["b3"], "dash", "square"),
    Look(VARIANT_COLOURS["b2"], "dot", "diamond"),
    Look(VARIANT_COLOURS["s"], "dashdot", "triangle-up"),
    Look(VARIANT_COLOURS["b1"], "longdash", "pentagon"),
    Look(VARIANT_COLOURS["t"], "longdashdot", "triangle-down"),
)


def look_of(comparison: Comparison, label: str) -> Look:
    """The look of a study, the same in every figure."""
    return LOOKS[comparison.labels.index(label)]


def fronts_figure(
    comparison: Comparison, device: DeviceComparison, *, near_fronts: bool = False
) -> go.Figure:
    """The fronts of the studies on one kind of device, on the same axes.

    Args:
        comparison: Of the studies.
        device: The device.
        near_fronts: Show only the range of qualities near the fronts.
    """
    quality = label_of(comparison.quality)
    seconds = [seconds_of(trial) for one in device.members for trial in one.device.complete]
    scale = TimeScale([*seconds, device.reference.train_seconds])
    figure = new_figure(height=500)
    for one in device.members:
        _draw_member(figure, one, look_of(comparison, one.label), scale, quality)
    figure.add_scatter(
        name="reference point of the hypervolumes",
        x=[scale(device.reference.train_seconds)],
        y=[device.reference.quality],
        mode="markers+text",
        marker={"symbol": "cross-thin", "size": 14, "line": {"width": 2, "color": INK}},
        text=["reference "],
        textposition="middle left",
        textfont={"color": INK, "size": 12},
        hoverinfo="skip",
        cliponaxis=False,
    )
    figure.update_xaxes(title=f"training time{scale.suffix}", **scale.axis)
    figure.update_yaxes(title=f"validation {quality}")
    bounds = bounds_of_fronts(device, comparison.objective)
    if near_fronts and bounds is not None:
        figure.update_yaxes(range=bounds)
    return figure


def bounds_of_fronts(device: DeviceComparison, objective: Objective) -> tuple[float, float] | None:
    """The range of qualities near all fronts; None where nothing would be left out."""
    bounds = [quality_bounds(one.device, objective) for one in device.members]
    if all(each is None for each in bounds):
        return None
    ends = [end for each in bounds if each is not None for end in each]
    for one, each in zip(device.members, bounds, strict=True):
        if each is None:
            ends += one.device.qualities.values()
    ends.append(device.reference.quality)
    margin = 0.03 * (max(ends) - min(ends))
    return min(ends) - margin, max(ends) + margin


def hypervolume_figure(
    comparison: Comparison, device: DeviceComparison, over: Literal["trials", "time"]
) -> go.Figure:
    """The hypervolume of each study over its search, as a share of that of all trials together.

    Args:
        comparison: Of the studies.
        device: The device.
        over: Count ended trials, or the time since the study began.
    """
    by_trials = over == "trials"
    longest = max((one.growth[-1].seconds for one in device.members if one.growth), default=0.0)
    unit = time_unit(longest)
    figure = new_figure(height=340)
    for one in device.members:
        look = look_of(comparison, one.label)
        label = html.escape(one.label)
        figure.add_scatter(
            name=label,
            x=[each.ended if by_trials else each.seconds / unit.seconds for each in one.growth],
            y=[each.share for each in one.growth],
            mode="lines",
            line={"shape": "hv", "color": look.colour, "width": 2.4, "dash": look.dash},
            hovertemplate=f"{label}: %{{y:.1%}} after %{{x:.4~g}}<extra></extra>",
        )
    figure.update_xaxes(
        title="trials ended" if by_trials else f"time since the start ({unit.name})",
        rangemode="tozero",
    )
    figure.update_yaxes(title="share of the hypervolume", tickformat=".0%", range=[0, 1.04])
    return figure


def _draw_member(
    figure: go.Figure, one: Member, look: Look, scale: TimeScale, quality: str
) -> None:
    device, label = one.device, html.escape(one.label)
    on_front = {trial.number for trial in device.front}
    figure.add_scatter(
        name=f"{label}: Pareto front",
        x=[scale(seconds_of(trial)) for trial in device.front],
        y=[device.qualities[trial.number] for trial in device.front],
        mode="lines",
        line={"shape": "hv", "color": look.colour, "width": 2.2, "dash": look.dash},
        hoverinfo="skip",
    )
    figure.add_scatter(
        name=label,
        x=[scale(seconds_of(trial)) for trial in device.complete],
        y=[device.qualities[trial.number] for trial in device.complete],
        mode="markers",
        marker={
            "color": look.colour,
            "symbol": look.symbol,
            "size": [12 if trial.number in on_front else 7 for trial in device.complete],
            "opacity": [1.0 if trial.number in on_front else 0.35 for trial in device.complete],
            "line": {
                "color": [INK if trial.number in on_front else PAPER for trial in device.complete],
                "width": 1,
            },
        },
        text=[
            f"{label}, trial {trial.number}, {html.escape(network_of(trial))}<br>{quality} "
            f"{device.qualities[trial.number]:.4f} in {human_seconds(seconds_of(trial))}"
            for trial in device.complete
        ],
        hoverinfo="text",
        cliponaxis=False,
    )
