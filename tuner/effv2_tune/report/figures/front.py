"""Draws the Pareto front as a Plotly figure."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from effv2_tune.report.analysis import (
    STATE_WORDS,
    network_of,
    pixels_of,
    seconds_of,
    variant_of,
)
from effv2_tune.report.figures.palette import (
    INK,
    PAPER,
    QUIET,
    RUNG_SYMBOLS,
    resolution_symbols,
    variant_colour,
)
from effv2_tune.report.figures.theme import POINTS, TimeScale, new_figure
from effv2_tune.report.quantities import label_of
from effv2_tune.report.step_times import interval_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    import plotly.graph_objects as go

    from effv2_tune.pareto import Objective
    from effv2_tune.report.analysis import Analysis, DeviceAnalysis
    from effv2_tune.study.trial import Trial, TrialState

FEWEST_TO_ZOOM = 4  # points; with fewer there is nothing to leave out


def front_figure(
    analysis: Analysis, device: DeviceAnalysis, *, near_front: bool = False
) -> go.Figure:
    """Quality against training time on one device, with the front as a step line.

    The page writes the texts over its points, from the details of the trials.

    Args:
        analysis: Of the whole study.
        device: The device whose trials are drawn.
        near_front: Show only the range of qualities of the front and of the better half of the
            complete trials.
    """
    study = analysis.study
    seconds = [seconds_of(trial) for trial in device.complete]
    seconds += [trial.rungs[-1].projected_seconds for trial in device.at_rungs]
    scale = TimeScale(seconds)
    figure = new_figure()
    for state in RUNG_SYMBOLS:
        _draw_at_rungs(figure, device, scale, state)
    if device.front[1:]:
        _draw_staircase(figure, device, scale)
    if device.expected:
        _draw_intervals(figure, device, scale)
    _draw_complete(figure, analysis, device, scale)
    if device.trainings:
        _draw_trainings(figure, device, scale)
    if device.knee is not None:
        _draw_knee(figure, device.knee, device, scale)
    figure.update_xaxes(title=f"training time{scale.suffix}", **scale.axis)
    figure.update_yaxes(title=f"validation {label_of(study.quality)}")
    bounds = quality_bounds(device, study.objective) if near_front else None
    bounds = bounds or _bounds_of_one_quality(device)
    if bounds is not None:
        figure.update_yaxes(range=bounds)
    return figure


def quality_bounds(device: DeviceAnalysis, objective: Objective) -> tuple[float, float] | None:
    """The range of qualities near the front, if leaving the rest out makes the front clearer.

    It holds the front and the better half of the complete trials. Nothing is returned where
    that range is more than half of the whole, or where there are too few trials to leave any out.
    """
    qualities = sorted(device.qualities.values(), key=objective.quality_cost)
    everything = [*qualities, *(trial.rungs[-1].quality for trial in device.at_rungs)]
    if len(everything) < FEWEST_TO_ZOOM or not device.front:
        return None
    best = min(everything, key=objective.quality_cost)
    front = [device.qualities[trial.number] for trial in device.front]
    near = [best, *qualities[: (len(qualities) + 1) // 2], *front]
    low, high = min(near), max(near)
    whole = max(everything) - min(everything)
    if high == low or (high - low) > 0.5 * whole:
        return None
    pad = 0.12 * (high - low)
    ends = [end for interval in intervals(device) for end in interval[1:]]
    return (min([low, *ends]) - pad, max([high, *ends]) + pad)


def intervals(device: DeviceAnalysis) -> list[tuple[Trial, float, float]]:
    """The 90 % intervals of the trials that are on the front or cannot be distinguished from it."""
    shown = [
        (trial, device.expected[trial.number].estimate)
        for trial in (*device.front, *device.possible)
        if trial.number in device.expected
    ]
    return [(trial, estimate.low, estimate.high) for trial, estimate in shown]


def _bounds_of_one_quality(device: DeviceAnalysis) -> tuple[float, float] | None:
    """A narrow range around the only quality there is: left alone, Plotly takes one of 2."""
    if device.expected:
        return None  # the interval has a height
    qualities = set(device.qualities.values())
    qualities |= {trial.rungs[-1].quality for trial in device.at_rungs}
    only = min(qualities, default=0.0)
    return (only - 0.02, only + 0.02) if len(qualities) == 1 else None


def _draw_at_rungs(
    figure: go.Figure, device: DeviceAnalysis, scale: TimeScale, state: TrialState
) -> None:
    """Draw the pruned or the paused trials, with the symbol of their state."""
    trials = [trial for trial in device.at_rungs if trial.state == state]
    if not trials:
        return
    figure.add_scatter(
        name=f"{STATE_WORDS[state]}: quality so far, projected time; not completed",
        x=[scale(trial.rungs[-1].projected_seconds) for trial in trials],
        y=[trial.rungs[-1].quality for trial in trials],
        mode="markers",
        marker={
            "symbol": RUNG_SYMBOLS[state],
            "size": 8,
            "color": QUIET,
            "line": {"width": 1.4, "color": QUIET},
        },
        opacity=0.45 if state == "pruned" else 0.9,
        customdata=[trial.number for trial in trials],
        meta=POINTS,
        hoverinfo="text",
    )


def _draw_staircase(figure: go.Figure, device: DeviceAnalysis, scale: TimeScale) -> None:
    figure.add_scatter(
        name="Pareto front",
        x=[scale(seconds_of(trial)) for trial in device.front],
        y=[device.qualities[trial.number] for trial in device.front],
        mode="lines",
        # With a trial's quality up to the next slower trial: what a time budget buys.
        line={"shape": "hv", "color": INK, "width": 1.6},
        opacity=0.75,
        hoverinfo="skip",
    )


def _draw_intervals(figure: go.Figure, device: DeviceAnalysis, scale: TimeScale) -> None:
    """Draw the 90 % intervals of the expected qualities, with a dot at the estimate."""
    shown = intervals(device)
    figure.add_scatter(
        name="90 % interval of the expected quality",
        x=[x for trial, _, _ in shown for x in (*[scale(seconds_of(trial))] * 2, None)],
        y=[y for _, low, high in shown for y in (low, high, None)],
        mode="lines",
        line={"color": INK, "width": 1.2},
        opacity=0.55,
        hoverinfo="skip",
    )
    figure.add_scatter(
        name="expected quality",
        x=[scale(seconds_of(trial)) for trial, _, _ in shown],
        y=[device.expected[trial.number].estimate.quality for trial, _, _ in shown],
        mode="markers",
        marker={"symbol": "circle", "size": 6, "color": INK},
        hoverinfo="skip",
    )


def _draw_complete(
    figure: go.Figure, analysis: Analysis, device: DeviceAnalysis, scale: TimeScale
) -> None:
    symbols = resolution_symbols({pixels_of(trial) for trial in device.trials})
    networks = sorted({(variant_of(trial), pixels_of(trial)) for trial in device.complete})
    for variant, pixels in networks:
        members = [
            trial
            for trial in device.complete
            if (variant_of(trial), pixels_of(trial)) == (variant, pixels)
        ]
        on_front = [trial.number in analysis.front for trial in members]
        outlined = [trial.number in analysis.front | analysis.possible for trial in members]
        figure.add_scatter(
            name=html.escape(network_of(members[0])),
            x=[scale(seconds_of(trial)) for trial in members],
            y=[device.qualities[trial.number] for trial in members],
            error_x=_time_errors(members, scale),
            mode="markers",
            marker={
                "color": variant_colour(variant),
                "symbol": symbols[pixels],
                "size": [13 if front else 9 for front in on_front],
                "opacity": [1.0 if front else 0.7 for front in on_front],
                "line": {
                    "color": [INK if outline else PAPER for outline in outlined],
                    "width": [1.6 if front else 0.8 for front in on_front],
                },
            },
            customdata=[trial.number for trial in members],
            meta=POINTS,
            hoverinfo="text",
            cliponaxis=False,
        )


def _draw_trainings(figure: go.Figure, device: DeviceAnalysis, scale: TimeScale) -> None:
    """Write how often a config was trained beside its trial, where that was more than once."""
    shown = [trial for trial in device.complete if trial.number in device.trainings]
    figure.add_scatter(
        name="trained with several seeds",
        x=[scale(seconds_of(trial)) for trial in shown],
        y=[device.qualities[trial.number] for trial in shown],
        mode="text",
        text=[f"\N{MULTIPLICATION SIGN}{device.trainings[trial.number]} " for trial in shown],
        # No other point is up and to the left of a point of the front.
        textposition="top left",
        textfont={"color": INK, "size": 12},
        hoverinfo="skip",
        cliponaxis=False,
    )


def _time_errors(trials: Sequence[Trial], scale: TimeScale) -> dict[str, Any] | None:
    """Plotly's error bars for the 90 % intervals of the training times; None without any."""
    found = [interval_of(trial) or (seconds_of(trial),) * 2 for trial in trials]
    pairs = list(zip(map(seconds_of, trials), found, strict=True))
    if all(low == high for _, (low, high) in pairs):
        return None
    return {
        "array": [scale(high - seconds) for seconds, (_, high) in pairs],
        "arrayminus": [scale(seconds - low) for seconds, (low, _) in pairs],
        "thickness": 1,
        "width": 0,
    }


def _draw_knee(figure: go.Figure, knee: Trial, device: DeviceAnalysis, scale: TimeScale) -> None:
    figure.add_scatter(
        name="knee",
        x=[scale(seconds_of(knee))],
        y=[device.qualities[knee.number]],
        mode="markers+text",
        marker={"symbol": "circle-open", "size": 24, "color": INK, "line": {"width": 2}},
        text=["knee"],
        # To the right of the right end there is no space.
        textposition="bottom left" if knee is device.front[-1] else "bottom right",
        textfont={"color": INK, "size": 14},
        hoverinfo="skip",
        cliponaxis=False,
    )
