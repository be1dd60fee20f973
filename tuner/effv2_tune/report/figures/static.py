"""Draws the Pareto front as a Matplotlib figure, for pictures, notebooks and print.

Matplotlib takes half a second to import, so each function imports it when it is called.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from effv2_tune.report.analysis import STATE_WORDS, pixels_of, seconds_of, variant_of
from effv2_tune.report.figures.front import intervals
from effv2_tune.report.figures.palette import (
    INK,
    QUIET,
    UNKNOWN_COLOUR,
    resolution_symbols,
    variant_colour,
)
from effv2_tune.report.figures.theme import TimeScale
from effv2_tune.report.legend import legend_entries
from effv2_tune.report.quantities import human_seconds, label_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    from effv2_tune.report.analysis import Analysis, DeviceAnalysis
    from effv2_tune.study.trial import Trial, TrialState

#: Matplotlib's marker for each symbol of ``palette.SYMBOLS``, and its size relative to a circle.
MARKERS: dict[str, tuple[Any, float]] = {
    "circle": ("o", 1.0),
    "square": ("s", 0.85),
    "diamond": ("D", 0.85),
    "triangle-up": ("^", 1.1),
    "pentagon": ("p", 1.15),
    "hexagram": ((6, 1, 0), 1.35),
    "triangle-down": ("v", 1.1),
}
#: Those of trials at rungs, by their state; the second is an hourglass.
RUNG_MARKERS: dict[TrialState, Any] = {
    "pruned": "x",
    "paused": ((-1, -1), (1, -1), (-1, 1), (1, 1), (-1, -1)),
}
DOTS_PER_INCH = 72  # so that a point, Matplotlib's unit of lengths, is a CSS pixel
STYLE = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # shipped with Matplotlib
    "font.size": 12,
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.labelpad": 6,
    "xtick.color": INK,
    "ytick.color": INK,
    "svg.hashsalt": "effv2-tune",  # the same ids in every run
}
PIXELS_PER_TICK = 90  # the labels of ticks are narrower
#: Share of a logarithmic time axis left of the fastest trial, for its label.
LABEL_MARGIN = 0.13


def static_style(**settings: Any) -> AbstractContextManager[None]:
    """Matplotlib's settings while a figure is drawn and written, whatever the user's are.

    Args:
        settings: Further settings, with underscores for dots.
    """
    from matplotlib import style

    more = {name.replace("_", "."): value for name, value in settings.items()}
    return style.context(["default", STYLE | more])


def static_front(
    analysis: Analysis,
    device: DeviceAnalysis,
    *,
    width: int,
    height: int,
    bounds: tuple[float, float] | None = None,
    at_rungs: Sequence[Trial] = (),
) -> Figure:
    """Quality against training time on one device: trials, Pareto front, and its chosen points.

    Call it within :func:`static_style`.

    Args:
        analysis: Of the whole study.
        device: The device whose complete trials are drawn; there must be one.
        width: In CSS pixels.
        height: Likewise.
        bounds: The range of qualities to show; all complete trials if left out.
        at_rungs: Pruned and paused trials to mark, at their last rung and projected time.
    """
    from matplotlib.figure import Figure

    size = (width / DOTS_PER_INCH, height / DOTS_PER_INCH)
    figure = Figure(figsize=size, dpi=DOTS_PER_INCH, layout="constrained")
    axes = figure.add_subplot()
    ends = [end for interval in intervals(device) for end in interval[1:]]
    low, high = bounds or _padded([*device.qualities.values(), *ends])
    shown = [trial for trial in device.complete if low <= device.qualities[trial.number] <= high]
    crosses = [
        (trial.rungs[-1], trial.state)
        for trial in at_rungs
        if low <= trial.rungs[-1].quality <= high
    ]
    scale = TimeScale([*map(seconds_of, shown), *(rung.projected_seconds for rung, _ in crosses)])
    axes.set_ylim(low, high)
    axes.set_ylabel(f"validation {label_of(analysis.study.quality)}")
    axes.set_xlabel(f"training time{scale.suffix}")
    _scale_time(axes, scale, width)
    _style(axes)
    for state, marker in RUNG_MARKERS.items():
        marked = [rung for rung, its in crosses if its == state]
        if not marked:
            continue
        axes.plot(
            [scale(rung.projected_seconds) for rung in marked],
            [rung.quality for rung in marked],
            linestyle="none",
            marker=marker,
            markerfacecolor="none",
            color=QUIET,
            alpha=0.45 if state == "pruned" else 0.9,
        )
    _draw_intervals(axes, scale, device)
    _draw_trials(axes, scale, shown, device)
    _draw_front(axes, scale, device)
    return figure


def legend_handles(device: DeviceAnalysis, at_rungs: Sequence[Trial] = ()) -> list[Line2D]:
    """The entries of a legend: front, variants, resolutions, and the marks of ``at_rungs``."""
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=INK, alpha=0.7, linewidth=1.5, label="Pareto front")]
    for entry in legend_entries(device):
        look = _marker(entry.symbol, 10, entry.colour or "none")
        edge = entry.colour or INK
        handles.append(Line2D([], [], **look, markeredgecolor=edge, label=entry.text))
    if device.expected:
        look = {"linestyle": "none", "marker": "|", "markersize": 12, "color": INK}
        handles.append(Line2D([], [], **look, alpha=0.55, label="90 % interval"))
    states = {trial.state for trial in at_rungs}
    for state, marker in RUNG_MARKERS.items():
        if state in states:
            look = {"linestyle": "none", "marker": marker, "color": QUIET}
            label = STATE_WORDS[state]
            handles.append(Line2D([], [], **look, markerfacecolor="none", label=label))
    return handles


def _scale_time(axes: Axes, scale: TimeScale, width: int) -> None:
    """Scale the time axis, with a margin for the label of the fastest trial."""
    from matplotlib.ticker import MaxNLocator, NullLocator

    most = max(2, width // PIXELS_PER_TICK)
    if not scale.logarithmic:
        axes.set_xlim(0, 1.06 * scale(scale.longest) or 1.0)
        axes.xaxis.set_major_locator(MaxNLocator(most, steps=[1, 2, 5, 10]))
        axes.xaxis.set_major_formatter("{x:.4g}")
        return
    span = scale.longest / scale.shortest
    low, high = scale.shortest / span**LABEL_MARGIN, scale.longest * span**0.04
    ticks = [tick for tick in scale.ticks if low <= tick <= high]
    ticks = ticks[:: math.ceil(len(ticks) / most)]
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.set_xticks(ticks, [human_seconds(tick) for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())


def _style(axes: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter("{x:.4g}")
    axes.set_facecolor("none")
    axes.grid(axis="y", color=INK, alpha=0.13, linewidth=1)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", length=5, color=INK)
    axes.spines[["left", "top", "right"]].set_visible(False)
    axes.spines["bottom"].set(color=INK, alpha=0.5)


def _draw_trials(
    axes: Axes, scale: TimeScale, trials: Sequence[Trial], device: DeviceAnalysis
) -> None:
    """Draw each trial as a line of one point, which makes it a group in SVG."""
    symbols = resolution_symbols({pixels_of(trial) for trial in device.trials})
    front = {trial.number for trial in device.front}
    # Trials of the front last: they are drawn on top of the others.
    for trial in sorted(trials, key=lambda trial: trial.number in front):
        on_front = trial.number in front
        axes.plot(
            [scale(seconds_of(trial))],
            [device.qualities[trial.number]],
            **_marker(symbols[pixels_of(trial)], 12 if on_front else 8.5, _colour(trial)),
            markeredgecolor=INK if on_front or trial in device.possible else UNKNOWN_COLOUR,
            markeredgewidth=1.3 if on_front else 0.4,
            alpha=1.0 if on_front else 0.55,
            zorder=4 if on_front else 3,
            clip_on=False,
            gid=f"trial-{trial.number}",
        )


def _draw_intervals(axes: Axes, scale: TimeScale, device: DeviceAnalysis) -> None:
    """Draw the 90 % intervals of the expected qualities, with a dot at the estimate."""
    line: dict[str, Any] = {"color": INK, "alpha": 0.55, "linewidth": 1.2, "zorder": 2.5}
    for trial, low, high in intervals(device):
        at, expected = scale(seconds_of(trial)), device.expected[trial.number].estimate.quality
        axes.plot([at, at], [low, high], **line)
        axes.plot([at], [expected], marker="o", markersize=4, color=INK, zorder=2.5)


def _draw_front(axes: Axes, scale: TimeScale, device: DeviceAnalysis) -> None:
    """Draw the front as a step line: the best quality within each time budget; label its points."""
    points = [(scale(seconds_of(trial)), device.qualities[trial.number]) for trial in device.front]
    axes.step(*zip(*points, strict=True), where="post", color=INK, alpha=0.7, linewidth=1.5)
    for trial, point in zip(device.front, points, strict=True):
        remark = device.remark(trial)
        if trial is device.knee:
            axes.plot(
                *point,
                marker="o",
                markersize=22,
                markerfacecolor="none",
                markeredgecolor=INK,
                markeredgewidth=1.6,
                clip_on=False,
            )
        if trial.number in device.trainings:
            times = f"\N{MULTIPLICATION SIGN}{device.trainings[trial.number]}"
            axes.annotate(times, point, (10, -4), textcoords="offset points")
        if remark:
            # No other point is up and to the left of a point of the front.
            axes.annotate(
                remark,
                point,
                (-9, 8),
                textcoords="offset points",
                ha="right",
                va="bottom",
                weight="bold",
            )


def _marker(symbol: str, size: float, colour: str) -> dict[str, Any]:
    marker, factor = MARKERS[symbol]
    look = {"marker": marker, "markersize": size * factor, "markerfacecolor": colour}
    return {"linestyle": "none", **look}


def _colour(trial: Trial) -> str:
    return variant_colour(variant_of(trial))


def _padded(qualities: Sequence[float]) -> tuple[float, float]:
    low, high = min(qualities), max(qualities)
    margin = (high - low) or 0.1
    return low - 0.08 * margin, high + 0.12 * margin
