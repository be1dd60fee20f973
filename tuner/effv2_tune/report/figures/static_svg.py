"""The front as a small SVG without scripts, for notebooks, print and browsers without JavaScript.

Colab shows outputs in a sandbox and many viewers strip scripts; plain SVG appears everywhere.
Text takes the colour of its surroundings, so that it is read on light and dark.
"""

from __future__ import annotations

import html
import math
from typing import TYPE_CHECKING

from effv2_tune.report.analysis import network_of, pixels_of, quality_of, seconds_of, variant_of
from effv2_tune.report.figures.palette import UNKNOWN_COLOUR, resolution_symbols, variant_colour
from effv2_tune.report.quantities import (
    human_seconds,
    label_of,
    ladder_ticks,
    spans_decades,
    time_unit,
)

if TYPE_CHECKING:
    from effv2_tune.report.analysis import Analysis, DeviceAnalysis
    from effv2_tune.study.trial import Trial

LEFT, RIGHT, TOP, BOTTOM = 64, 18, 14, 46
#: Corners of each symbol: angles in degrees clockwise from the top, radii relative to the size.
CORNERS = {
    "square": [(45 + 90 * k, 1.15) for k in range(4)],
    "diamond": [(90 * k, 1.25) for k in range(4)],
    "triangle-up": [(120 * k, 1.3) for k in range(3)],
    "triangle-down": [(180 + 120 * k, 1.3) for k in range(3)],
    "pentagon": [(72 * k, 1.15) for k in range(5)],
    "hexagram": [(30 * k, 1.35 if k % 2 == 0 else 0.75) for k in range(12)],
}


def symbol_svg(symbol: str, x: float, y: float, radius: float, attributes: str) -> str:
    """One symbol of ``palette.SYMBOLS`` around a point, as an SVG element."""
    if symbol not in CORNERS:
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" {attributes}/>'
    points = " ".join(
        f"{x + radius * reach * math.sin(math.radians(angle)):.1f},"
        f"{y - radius * reach * math.cos(math.radians(angle)):.1f}"
        for angle, reach in CORNERS[symbol]
    )
    return f'<polygon points="{points}" {attributes}/>'


def front_drawing(
    findings: Analysis, device: DeviceAnalysis, *, width: int = 640, height: int = 340
) -> str:
    """The complete trials of one device, the front as a staircase, the knee named.

    Returns:
        One ``<svg>`` element, or an empty text where no trial is complete.
    """
    if not device.complete:
        return ""
    plane = _Plane(device, width, height)
    symbols = resolution_symbols({pixels_of(trial) for trial in device.trials})
    # Front trials last: they are drawn on top of the others.
    trials = sorted(device.complete, key=lambda trial: trial.number in findings.front)
    marks = [_mark(trial, plane, symbols, findings) for trial in trials]
    label = html.escape(
        f"Validation {label_of(findings.given.quality)} against training time on {device.device}: "
        f"{len(device.complete)} complete trials, {len(device.front)} on the Pareto front"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{label}" style="width:100%;max-width:{width}px;height:auto;'
        'font:12px system-ui,sans-serif;color:inherit" fill="currentColor">'
        f"<title>{label}</title>{plane.axes(findings.given.quality)}"
        f"{_staircase(device, plane)}{''.join(marks)}{_knee(device, plane)}</svg>"
    )


def legend_svg(symbol: str, colour: str | None) -> str:
    """A symbol for a legend; without a colour it is drawn in the colour of the text."""
    paint = f'fill="{colour}"' if colour else 'fill="none" stroke="currentColor" stroke-width="1.6"'
    return (
        '<svg width="16" height="16" viewBox="0 0 16 16" aria-hidden="true">'
        f"{symbol_svg(symbol, 8, 8, 5.5, paint)}</svg>"
    )


class _Plane:
    """Where seconds and quality lie on the paper."""

    def __init__(self, device: DeviceAnalysis, width: int, height: int) -> None:
        seconds = [seconds_of(trial) for trial in device.complete]
        qualities = [quality_of(trial) for trial in device.complete]
        self.width, self.height = width, height
        self.logarithmic = spans_decades(seconds)
        self.unit = time_unit(max(seconds))
        low = min(seconds) / 1.25 if self.logarithmic else 0.0
        high = max(max(seconds) * (1.25 if self.logarithmic else 1.06), 1e-9)
        self.shortest, self.longest = low, high
        pad = 0.08 * (max(qualities) - min(qualities)) or 0.01
        self.low, self.high = min(qualities) - pad, max(qualities) + pad

    def x(self, seconds: float) -> float:
        """Distance from the left edge."""
        if self.logarithmic:
            share = math.log(seconds / self.shortest) / math.log(self.longest / self.shortest)
        else:
            share = seconds / self.longest
        return LEFT + share * (self.width - LEFT - RIGHT)

    def y(self, quality: float) -> float:
        """Distance from the top edge."""
        share = (quality - self.low) / (self.high - self.low)
        return self.height - BOTTOM - share * (self.height - TOP - BOTTOM)

    def axes(self, quality: str) -> str:
        """Grid, ticks and titles."""
        floor = self.height - BOTTOM
        parts = []
        for tick in even_ticks(self.low, self.high):
            y = self.y(tick)
            parts.append(
                f'<line x1="{LEFT}" x2="{self.width - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" '
                'stroke="currentColor" stroke-opacity=".13"/>'
                f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{tick:.4g}</text>'
            )
        for seconds, text in self._time_ticks():
            x = self.x(seconds)
            parts.append(
                f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{floor}" y2="{floor + 5}" '
                'stroke="currentColor" stroke-opacity=".5"/>'
                f'<text x="{x:.1f}" y="{floor + 18}" text-anchor="middle">{text}</text>'
            )
        kind = "logarithmic" if self.logarithmic else self.unit.name
        middle = (LEFT + self.width - RIGHT) / 2
        return (
            "".join(parts)
            + f'<line x1="{LEFT}" x2="{self.width - RIGHT}" y1="{floor}" y2="{floor}" '
            'stroke="currentColor" stroke-opacity=".5"/>'
            f'<text x="{middle:.0f}" y="{self.height - 8}" text-anchor="middle">'
            f"training time ({kind})</text>"
            f'<text transform="translate(14 {(TOP + floor) / 2:.0f}) rotate(-90)" '
            f'text-anchor="middle">validation {html.escape(label_of(quality))}</text>'
        )

    def _time_ticks(self) -> list[tuple[float, str]]:
        if self.logarithmic:
            ticks = ladder_ticks(self.shortest, self.longest)
            inside = [tick for tick in ticks if self.shortest <= tick <= self.longest]
            every = max(1, math.ceil(len(inside) / 7))
            return [(tick, human_seconds(tick)) for tick in inside[::every]]
        return [
            (tick * self.unit.seconds, f"{tick:.4g}")
            for tick in even_ticks(0.0, self.longest / self.unit.seconds)
        ]


def even_ticks(low: float, high: float, *, most: int = 6) -> list[float]:
    """Up to ``most`` multiples of 1, 2 or 5 times a power of ten within a range."""
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10, 20) if factor * power >= rough)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [place * step for place in range(first, last + 1)]


def _mark(trial: Trial, plane: _Plane, symbols: dict[int, str], findings: Analysis) -> str:
    on_front = trial.number in findings.front
    paint = f'fill="{variant_colour(variant_of(trial))}" '
    paint += (
        'stroke="currentColor" stroke-width="1.3"'
        if on_front
        else f'fill-opacity=".55" stroke="{UNKNOWN_COLOUR}" stroke-width=".4"'
    )
    words = html.escape(
        f"trial {trial.number}, {network_of(trial)}: {label_of(findings.given.quality)} "
        f"{quality_of(trial):.4f} in {human_seconds(seconds_of(trial))}"
    )
    x, y = plane.x(seconds_of(trial)), plane.y(quality_of(trial))
    shape = symbol_svg(symbols[pixels_of(trial)], x, y, 5.5 if on_front else 4.0, paint)
    return f"<g><title>{words}</title>{shape}</g>"


def _staircase(device: DeviceAnalysis, plane: _Plane) -> str:
    steps: list[str] = []
    for trial in device.front:
        x, y = plane.x(seconds_of(trial)), plane.y(quality_of(trial))
        steps.append(f"H{x:.1f} V{y:.1f}" if steps else f"M{x:.1f} {y:.1f}")
    return (
        f'<path d="{" ".join(steps)}" fill="none" stroke="currentColor" '
        'stroke-opacity=".7" stroke-width="1.5"/>'
    )


def _knee(device: DeviceAnalysis, plane: _Plane) -> str:
    if device.knee is None:
        return ""
    x, y = plane.x(seconds_of(device.knee)), plane.y(quality_of(device.knee))
    # At the right end there is no room on the right.
    side, anchor = (-13, "end") if device.knee is device.front[-1] else (13, "start")
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="11" fill="none" stroke="currentColor" '
        f'stroke-width="1.6"/><text x="{x + side:.1f}" y="{y + 17:.1f}" text-anchor="{anchor}" '
        'font-weight="600">knee</text>'
    )
